import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.accounting.pipeline import Pipeline
from tests.spark.services import Hdfs, Kafka, running


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Hdfs]]:
    """One broker and one HDFS for all tests, each of which has a topic and folders of its own."""
    with running(tmp_path_factory.mktemp("accounting")) as both:
        yield both


@pytest.fixture
def make_pipeline(services: tuple[Kafka, Hdfs], tmp_path: Path) -> Callable[[str], Pipeline]:
    kafka, hdfs = services
    return lambda folder: Pipeline(f"logs-{uuid.uuid4().hex[:8]}", kafka, hdfs, tmp_path / folder)


@pytest.fixture
def pipeline(make_pipeline: Callable[[str], Pipeline]) -> Pipeline:
    return make_pipeline("one")
