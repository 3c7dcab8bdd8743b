import uuid
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.accounting.pipeline import Pipeline
from tests.machine import Hdfs, Kafka


@pytest.fixture
def make_pipeline(kafka: Kafka, hdfs: Hdfs, tmp_path: Path) -> Callable[[str], Pipeline]:
    return lambda folder: Pipeline(f"logs-{uuid.uuid4().hex[:8]}", kafka, hdfs, tmp_path / folder)


@pytest.fixture
def pipeline(make_pipeline: Callable[[str], Pipeline]) -> Pipeline:
    return make_pipeline("one")
