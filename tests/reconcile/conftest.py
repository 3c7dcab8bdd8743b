import os
import uuid
from collections.abc import Callable, Iterator

import pytest
from pyspark.sql import SparkSession
from tests.reconcile.harness import Pipeline
from tests.spark.services import HDFS_USER, JARS_DIR, Hdfs, Kafka, running

from windows import versions


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Hdfs]]:
    with running(tmp_path_factory.mktemp("reconcile")) as both:
        yield both


@pytest.fixture(scope="session")
def spark(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    from logpipe.settings import parse
    from reconciliation import session
    from reconciliation.options import from_arguments

    os.environ["SPARK_LOCAL_DIRS"] = str(tmp_path_factory.mktemp("spark"))
    options = from_arguments(
        [
            "--date",
            "2026-03-10",
            "--hdfs-url",
            "hdfs://localhost:1",
            "--hdfs-user",
            HDFS_USER,
            "--jars-dir",
            str(JARS_DIR / "spark"),
        ],
        parse(),
    )
    started = session.start(options, versions.check(JARS_DIR / "spark"))
    yield started
    started.stop()


@pytest.fixture
def pipeline(services: tuple[Kafka, Hdfs], spark: SparkSession) -> Callable[[], Pipeline]:
    kafka, hdfs = services
    return lambda: Pipeline(f"logs-{uuid.uuid4().hex[:8]}", kafka, hdfs, spark)
