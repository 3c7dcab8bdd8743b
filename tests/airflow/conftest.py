"""Real parts for the control plane's tests: a process host with small programs, the broker of all suites."""

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

import pytest

from logpipe.hosts.services import Kind, Service, named
from tests import machine
from tests.airflow.real_parts import (
    SMALL_SERVICE,
    ProcessHostUnderTest,
    SmallService,
    connect_process_host,
)
from tests.machine import Kafka, own_settings
from tests.ports import free_port


@pytest.fixture(scope="session")
def process_host_daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessHostUnderTest]:
    """A service, one in two variants, one that ends at once, a batch program, and the product's replayer."""
    folder = tmp_path_factory.mktemp("process-host")
    (folder / "service.py").write_text(SMALL_SERVICE)
    services = {name: SmallService(free_port(), folder / name) for name in ("web", "agent")}
    for service in services.values():
        service.folder.mkdir()
    (folder / "broken.py").write_text("print('no such file: conf.xml \\x01'); raise SystemExit(3)")
    (folder / "chore.py").write_text(
        f"import json, os, pathlib; failed = json.loads(pathlib.Path('{folder}/failed').read_text())\n"
        "print(json.dumps({'pid': os.getpid(), 'failed': failed}))"
    )

    def kept(name: str, script: str, *arguments: object, kind: Kind = "stream", **more: Any) -> Service:
        command = (sys.executable, str(folder / script), *map(str, arguments))
        return Service(name=name, kind=kind, command=lambda *_: command, stop_wait_s=2, **more)

    web, agent = ((services[name].port, services[name].folder) for name in ("web", "agent"))
    settings = own_settings(folder / "state", file_roots=os.environ["LOGPIPE_FILE_ROOTS"])
    host = ProcessHostUnderTest(
        settings,
        folder,
        services,
        machine.process_host(
            settings,
            kept("web", "service.py", *web),
            kept("agent", "service.py", *agent, variants=("memory", "durable")),
            kept("broken", "broken.py"),
            kept("split", "service.py", *web, separate_stderr=True),
            kept("chore", "chore.py", kind="batch"),
            named("replayer"),
        ),
    )
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
    connect_process_host(monkeypatch, process_host_daemon.settings)
    yield process_host_daemon
    client = process_host_daemon.daemon.client
    for process in client.processes():
        client.stop(process.service, process.variant)
    for service in process_host_daemon.services.values():
        for file in service.folder.iterdir():
            file.unlink()


@pytest.fixture
def kafka(kafka: Kafka, monkeypatch: pytest.MonkeyPatch) -> Kafka:
    """The broker, and the connection to it."""
    extra = {"bootstrap.servers": kafka.bootstrap}
    monkeypatch.setenv("AIRFLOW_CONN_KAFKA_DEFAULT", json.dumps({"conn_type": "kafka", "extra": extra}))
    return kafka
