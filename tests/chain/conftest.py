import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.chain.harness import World
from tests.spark.services import Hdfs, Kafka, running


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Hdfs]]:
    with running(tmp_path_factory.mktemp("chain")) as both:
        yield both


@pytest.fixture
def world(services: tuple[Kafka, Hdfs], tmp_path: Path) -> Iterator[World]:
    made = World(f"logs{uuid.uuid4().hex[:8]}", *services, tmp_path)
    yield made
    made.stop()


@pytest.fixture
def make_world(tmp_path: Path) -> Iterator[Callable[[Kafka, Hdfs], World]]:
    """For tests that break a broker or HDFS, and so bring their own."""
    worlds: list[World] = []

    def make(kafka: Kafka, hdfs: Hdfs) -> World:
        worlds.append(World(f"logs{uuid.uuid4().hex[:8]}", kafka, hdfs, tmp_path))
        return worlds[-1]

    yield make
    for made in worlds:
        made.stop()
