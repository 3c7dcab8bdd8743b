"""Real parts for the control plane's tests: a process host with small programs, the broker of all suites."""

import json
import sys
import xmlrpc.client
from collections.abc import Iterator

import pytest

from tests.airflow.real_parts import (
    SMALL_SERVICE,
    ProcessHostUnderTest,
    SmallService,
    connect,
    free_port,
)
from tests.machine import Kafka


@pytest.fixture(scope="session")
def process_host_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessHostUnderTest]:
    """Run supervisord with a service, one in two variants, one that ends at once and a plain sleeper."""
    folder = tmp_path_factory.mktemp("process-host")
    (folder / "service.py").write_text(SMALL_SERVICE)
    port = free_port()
    services = {name: SmallService(free_port(), folder / name) for name in ("web", "agent")}
    for service in services.values():
        service.folder.mkdir()

    ports = {name: free_port() for name in ("replayer", "netcat", "thrift")}
    (folder / "secrets.json").write_text('{"replayer_password": "for-tests"}')
    replayer = f'LOGPIPE_STATE_DIR="{folder}",' + ",".join(
        f'LOGPIPE_{name.upper()}_PORT="{number}"' for name, number in ports.items()
    )

    def program(section: str, name: str, command: str, **more: object) -> str:
        options = {
            "command": command,
            "process_name": name,
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 1,
            "startretries": 1000000,
            "stopwaitsecs": 2,
            "redirect_stderr": "true",
            "stdout_logfile": folder / f"{section}.log",
            **more,
        }
        return f"[program:{section}]\n" + "".join(f"{key}={value}\n" for key, value in options.items())

    def serve(name: str) -> str:
        return f"{sys.executable} {folder}/service.py {services[name].port} {services[name].folder}"

    (folder / "broken.py").write_text("print('no such file: conf.xml \\x01'); raise SystemExit(3)")
    (folder / "chore.py").write_text(
        f"import json, os, pathlib; failed = json.loads(pathlib.Path('{folder}/failed').read_text())\n"
        "print(json.dumps({'pid': os.getpid(), 'failed': failed}))"
    )
    (folder / "supervisord.conf").write_text(
        f"[supervisord]\nnodaemon=true\nlogfile={folder}/supervisord.log\npidfile={folder}/supervisord.pid\n"
        f"[inet_http_server]\nport=127.0.0.1:{port}\nusername=logpipe\npassword=right-password\n"
        "[rpcinterface:supervisor]\n"
        "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface\n"
        + program("web", "web", serve("web"))
        + program("agent-memory", "memory", serve("agent"))
        + program("agent-durable", "durable", serve("agent"))
        + program("broken", "broken", f"{sys.executable} {folder}/broken.py")
        + program("split", "split", serve("web"), redirect_stderr="false")
        + program("chore", "chore", f"{sys.executable} {folder}/chore.py", autorestart="false", startsecs=0)
        + program("replayer", "replayer", f"{sys.executable} -m logpipe.replayer", environment=replayer)
        + "[group:agent]\nprograms=agent-memory,agent-durable\n"
    )
    host = ProcessHostUnderTest(port, folder, services, ports)
    try:
        host.start()
        yield host
    finally:
        host.end()


@pytest.fixture
def process_host(
    process_host_daemon: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProcessHostUnderTest]:
    """Connect to the process host; afterwards every service is stopped and answers nothing."""
    connect(
        monkeypatch,
        "process_host_default",
        host="127.0.0.1",
        port=process_host_daemon.port,
        login="logpipe",
        password="right-password",
    )
    yield process_host_daemon
    url = f"http://logpipe:right-password@127.0.0.1:{process_host_daemon.port}/RPC2"
    with xmlrpc.client.ServerProxy(url) as server:
        server.supervisor.stopAllProcesses()
    for service in process_host_daemon.services.values():
        for file in service.folder.iterdir():
            file.unlink()


@pytest.fixture
def kafka(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """The broker, and the connection to it."""
    extra = {"bootstrap.servers": kafka.bootstrap}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": extra}))
    return kafka
