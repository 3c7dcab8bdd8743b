import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chain.harness import World
from tests.machine import Hdfs, Kafka


@pytest.fixture
def world(kafka: Kafka, hdfs: Hdfs, tmp_path: Path) -> Iterator[World]:
    made = World(f"logs{uuid.uuid4().hex[:8]}", kafka, hdfs, tmp_path)
    yield made
    made.stop()
