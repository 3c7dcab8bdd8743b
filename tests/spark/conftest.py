"""One Spark session, and one Kafka and HDFS, for the whole test run."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from tests.spark.services import HDFS_USER, JARS_DIR, Hdfs, Kafka, running


@pytest.fixture(scope="session")
def spark() -> Iterator[SparkSession]:
    """A local Spark, set as the job sets it where results depend on it."""
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["HADOOP_USER_NAME"] = HDFS_USER
    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    session = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.jars", ",".join(map(str, (JARS_DIR / "spark").glob("*.jar"))))
        .config("spark.driver.memory", "512m")
        .config("spark.driver.host", "127.0.0.1")
        .config("spark.sql.shuffle.partitions", "1")
        .config("spark.sql.adaptive.enabled", "false")
        .config("spark.sql.ansi.enabled", "false")
        .config("spark.sql.session.timeZone", "UTC")
        .config("spark.sql.catalogImplementation", "in-memory")
        .getOrCreate()
    )
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


@pytest.fixture(scope="session")
def nasa_lines() -> list[bytes]:
    """Real lines of 1995, the irregular ones first."""
    return (Path(__file__).parent / "data" / "nasa_1995.log").read_bytes().splitlines()


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Kafka, Hdfs]]:
    """A broker and HDFS of this test run."""
    with running(tmp_path_factory.mktemp("services")) as both:
        yield both


@pytest.fixture
def kafka(services: tuple[Kafka, Hdfs]) -> Kafka:
    return services[0]


@pytest.fixture
def hdfs(services: tuple[Kafka, Hdfs]) -> Hdfs:
    return services[1]
