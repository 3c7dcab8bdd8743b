"""What the control plane's tests start for real."""

import json
import socket
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from logpipe.hosts.layout import USER, Layout
from logpipe.hosts.machine.process_host import Supervisord
from logpipe.settings import Settings

# A service of the tests: an HTTP server whose answers stand in files of its folder, so that a test can
# change them while it runs.
SMALL_SERVICE = """
import http.server, pathlib, sys
folder = pathlib.Path(sys.argv[2])
class Answer(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        file = folder / self.path.strip("/").replace("/", "_")
        self.send_response(200 if file.exists() else 503)
        self.end_headers()
        self.wfile.write(file.read_bytes() if file.exists() else b"")
    def log_message(self, *_):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer)
print("listening", flush=True)
server.serve_forever()
"""


# The metrics of an agent that has drained all it took.
METRICS = """\
flume_channel_ChannelCapacity{component="memory"} 100000.0
flume_channel_ChannelFillPercentage{component="memory"} 0.0
flume_channel_EventPutSuccessCount{component="memory"} 7.0
flume_channel_EventTakeSuccessCount{component="memory"} 7.0
"""


def accepts(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port)):
            return True
    except OSError:
        return False


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str, **fields: object) -> None:
    """Define an Airflow connection for the time of a test."""
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps({"conn_type": "http", **fields}))


def connect_stores(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Define the connections to Kafka and HDFS that these settings name."""
    extra = settings.kafka_client("airflow")
    connect(monkeypatch, "kafka_default", conn_type="kafka", extra=extra)
    address = urlsplit(settings.webhdfs_url)
    connect(
        monkeypatch, "webhdfs_default", conn_type="webhdfs", host=address.hostname, port=address.port,
        login=settings.hdfs_user,
    )  # fmt: skip


def connect_process_host(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    """Define the connection to the process host of a copy."""
    password = Layout.of(settings).secrets()["process_host_password"]
    connect(monkeypatch, "process_host_default", host=settings.process_host, login=USER, password=password)


@dataclass(frozen=True)
class SmallService:
    """A program under the process host; what it answers to GET /NAME stands in ``folder``/NAME."""

    port: int
    folder: Path

    def answer(self, name: str, text: str) -> None:
        fresh = self.folder / f".{name}"
        fresh.write_text(text)
        fresh.replace(self.folder / name)


@dataclass(frozen=True)
class ProcessHostUnderTest:
    """A process host of the product's, with small programs.

    Attributes:
        folder: what the programs read.
    """

    settings: Settings
    folder: Path
    services: dict[str, SmallService]
    daemon: Supervisord

    @property
    def secrets(self) -> dict[str, str]:
        return Layout.of(self.settings).secrets()

    def log(self, name: str) -> Path:
        return Layout.of(self.settings).logs_dir / f"{name}.log"

    def start(self) -> None:
        self.daemon.start()

    def end(self) -> None:
        """End supervisord and all that it keeps."""
        if self.daemon.is_running():
            self.daemon.shut_down()
