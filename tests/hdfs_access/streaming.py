"""Agent 2 and the windows job over an HDFS that is somebody else's to them."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from logpipe.clients.errors import ClientError
from logpipe.windows.commit import WindowsError
from tests.accounting.pipeline import Pipeline
from tests.machine import Addressed, Kafka, Service, agent
from tests.waiting import wait_until


@contextmanager
def streaming(name: str, kafka: Kafka, hdfs: Addressed, folder: Path) -> Iterator[Pipeline]:
    """A pipeline whose agent 2 and windows job run."""
    config = {"message_timestamp_type": "CreateTime"}
    made = Pipeline(name, kafka, hdfs, folder / "one", topic_config=config)
    running = made.settings.model_copy(update={"roll_interval_s": 2})
    services = [
        agent(2, running, folder / "agent2.log"),
        Service.of("analytics", running, folder / "analytics.log"),
    ]
    try:
        for service in services:
            service.start(wait=False)
        yield made
    finally:
        for service in services:
            service.end()


def await_exact(pipeline: Pipeline, deadline_s: float) -> None:
    """Until all lines are everywhere."""

    def is_exact() -> bool:
        with suppress(ClientError, WindowsError, OSError):
            found = pipeline.verify()
            return found.ok and not found.in_flight
        return False

    wait_until(is_exact, deadline_s, "all lines to be everywhere", 1.0)
