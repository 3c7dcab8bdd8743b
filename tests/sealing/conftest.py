from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machine import Hdfs, Kafka
from tests.sealing.chain_writer import Pipeline


@pytest.fixture
def pipeline(kafka: Kafka, hdfs: Hdfs, tmp_path: Path) -> Iterator[Pipeline]:
    made = Pipeline(kafka, hdfs, tmp_path)
    yield made
    made.hdfs.close()


@pytest.fixture
def pipeline_in(kafka: Kafka, hdfs: Hdfs, tmp_path: Path) -> Callable[[str], Pipeline]:
    """A pipeline whose days are those of a zone."""
    return lambda zone: Pipeline(kafka, hdfs, tmp_path, zone)
