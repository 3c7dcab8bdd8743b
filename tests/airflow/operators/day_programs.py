"""A pipeline whose process host keeps programs of a day, and their tasks through the triggerer."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from logpipe import settings
from logpipe.airflow.operators.host_program import HostProgramOperator
from logpipe.hosts.services import named
from tests import machine
from tests.airflow.real_parts import connect_process_host
from tests.machine import Hdfs, Kafka
from tests.ports import free_port
from tests.sealing.chain_writer import Pipeline


@contextmanager
def pipeline_with(
    programs: tuple[str, ...], kafka: Kafka, hdfs: Hdfs, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """A pipeline with a process host that keeps some programs, and settings that are its own."""
    made = Pipeline(kafka, hdfs, folder)
    made.settings = made.settings.model_copy(update={"supervisor_port": free_port()})
    host = machine.process_host(made.settings, *map(named, programs))
    for name, value in made.environment().items():
        if name.startswith("LOGPIPE_"):
            monkeypatch.setenv(name, value)
    settings.load.cache_clear()
    connect_process_host(monkeypatch, made.settings)
    try:
        host.start()
        yield made
    finally:
        settings.load.cache_clear()
        made.hdfs.close()
        host.shut_down()


def run(operator: HostProgramOperator, context: Any, methods: list[str] | None = None) -> dict[str, Any]:
    """Run a task to its end; the methods that it goes on with are noted."""
    method, arguments = operator.execute, [context]
    while True:
        try:
            return method(*arguments)
        except TaskDeferred as deferral:
            if methods is not None:
                methods.append(deferral.method_name)
            event = asyncio.run(anext(aiter(deferral.trigger.run())))
            method, arguments = getattr(operator, deferral.method_name), [context, event.payload]
