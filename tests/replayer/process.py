"""The replayer as a process of its own, and a client of its HTTP interface."""

import base64
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from .stack import wait_for

PASSWORD = "for-tests"


class ReplayerProcess:
    def __init__(self, state_dir: Path, port: int, settings: dict[str, object]) -> None:
        state_dir.mkdir(parents=True, exist_ok=True)
        (state_dir / "secrets.json").write_text(json.dumps({"replayer_password": PASSWORD}))
        self.state_dir = state_dir
        self._port = port
        environment = {f"LOGPIPE_{name.upper()}": str(value) for name, value in settings.items()}
        self.log_path = state_dir / "replayer.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "logpipe.replayer"],
                env={
                    **os.environ,
                    **environment,
                    "LOGPIPE_STATE_DIR": str(state_dir),
                    "LOGPIPE_REPLAYER_PORT": str(port),
                },
                stdout=log, stderr=log, stdin=subprocess.DEVNULL,
            )  # fmt: skip
        wait_for("the replayer's /health", self._health, 20.0)

    def request(
        self, method: str, path: str, body: Any = None, *, login: str = f"logpipe:{PASSWORD}"
    ) -> tuple[int, Any]:
        """Status and JSON body of the answer."""
        token = base64.b64encode(login.encode()).decode()
        request = Request(
            f"http://localhost:{self._port}{path}",
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Basic {token}"} if login else {},
            method=method,
        )
        try:
            with urlopen(request, timeout=20) as response:
                return response.status, json.load(response)
        except HTTPError as error:
            return error.code, json.load(error)

    def submit(self, replay_id: str, url: str, **spec: Any) -> dict[str, Any]:
        body = {
            "replay_id": replay_id,
            "url": url,
            "pace": "max",
            "profile": "durable",
            "limit": None,
            **spec,
        }
        status, record = self.request("POST", "/replays", body)
        assert status in (200, 201), record
        return dict(record)

    def record(self, replay_id: str) -> dict[str, Any]:
        return dict(self.request("GET", f"/replays/{replay_id}")[1])

    def wait_state(self, replay_id: str, state: str, deadline_s: float = 30.0) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            record = self.record(replay_id)
            assert record["state"] in ("running", state), record
            return record if record["state"] == state else None

        return wait_for(f"{replay_id} {state}", probe, deadline_s)

    def wait_lines(self, replay_id: str, lines: int, deadline_s: float = 30.0) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            record = self.record(replay_id)
            return record if record["lines"] >= lines else None

        return wait_for(f"{lines} lines of {replay_id}", probe, deadline_s)

    def rss_bytes(self) -> int:
        pages = int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(10)

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(10)

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.kill()

    def _health(self) -> bool:
        assert self.process.poll() is None, self.log_path.read_text()
        try:
            return self.request("GET", "/health", login="")[0] == 200
        except (URLError, ConnectionError):
            return False
