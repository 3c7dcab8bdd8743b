"""One Spark session for all of these tests."""

import logging
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from logpipe.hosts.layout import BUILD_DIR
from tests.machine import HDFS_USER


@pytest.fixture(scope="package")
def spark() -> Iterator[SparkSession]:
    """A local Spark, set as the job sets it where results depend on it."""
    own = {
        "PYSPARK_PYTHON": sys.executable,
        "SPARK_LOCAL_IP": "127.0.0.1",
        "HADOOP_USER_NAME": HDFS_USER,  # of its JVM alone: other programs are who runs the tests
    }
    with pytest.MonkeyPatch.context() as environment:
        for name, value in own.items():
            environment.setenv(name, value)
        session = _session()
    session.sparkContext.setLogLevel("ERROR")
    logging.getLogger("py4j").setLevel(logging.WARNING)  # it tells of its end when nothing is open any more
    yield session
    session.stop()


def _session() -> SparkSession:
    return (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.jars", ",".join(map(str, (BUILD_DIR / "jars" / "spark").glob("*.jar"))))
        .config("spark.driver.memory", "512m")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.ansi.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.catalogImplementation", "in-memory")
        .getOrCreate()
    )


@pytest.fixture(scope="session")
def nasa_lines() -> list[bytes]:
    """Real lines of 1995, the irregular ones first."""
    return (Path(__file__).parent / "data" / "nasa_1995.log").read_bytes().splitlines()
