from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.sealing.chain_writer import Pipeline
from tests.spark.services import Hdfs, Kafka, running


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Hdfs]]:
    with running(tmp_path_factory.mktemp("sealing")) as both:
        yield both


@pytest.fixture
def pipeline(services: tuple[Kafka, Hdfs], tmp_path: Path) -> Iterator[Pipeline]:
    kafka, hdfs = services
    made = Pipeline(kafka, hdfs, tmp_path)
    yield made
    made.hdfs.close()


@pytest.fixture
def pipeline_in(services: tuple[Kafka, Hdfs], tmp_path: Path) -> Callable[[str], Pipeline]:
    """A pipeline whose days are those of a zone."""
    return lambda zone: Pipeline(*services, tmp_path, zone)
