"""Spark, its Kafka connector and the Kafka client must fit together; says so before the JVM starts."""

import re
import shutil
from pathlib import Path

import pyspark

from windows.errors import WindowsError

# The Kafka client that each connector was built with: another one fails in the middle of a batch.
KAFKA_CLIENT_OF_CONNECTOR = {"4.2.0": "3.9.2"}
_CONNECTOR = "spark-sql-kafka-0-10_2.13"
_TOKENS = "spark-token-provider-kafka-0-10_2.13"
_CLIENT = "kafka-clients"
_POOL = "commons-pool2"


class VersionError(WindowsError):
    """Parts that do not fit together."""


def _version(jars_dir: Path, artifact: str) -> str:
    found = [
        match[1]
        for path in jars_dir.glob(f"{artifact}-*.jar")
        if (match := re.fullmatch(rf"{re.escape(artifact)}-([0-9][^/]*)\.jar", path.name))
    ]
    if len(found) != 1:
        what = f"{len(found)} versions ({', '.join(sorted(found))})" if found else "no jar"
        raise VersionError(
            f"{jars_dir} holds {what} of {artifact}, expected one: resolve the class path of "
            "java/spark/pom.xml into it again, or name another with --jars-dir"
        )
    return found[0]


def check(jars_dir: Path, pyspark_version: str = pyspark.__version__) -> list[Path]:
    """Check that PySpark, connector and Kafka client fit together.

    Returns:
        The jars for Spark's class path.

    Raises:
        VersionError: they don't, a jar is missing or there twice, or there is no Java.
    """
    if shutil.which("java") is None:
        raise VersionError("There is no java on PATH: install a JDK 17, or add its bin folder to PATH")
    connector, tokens, client = (_version(jars_dir, name) for name in (_CONNECTOR, _TOKENS, _CLIENT))
    _version(jars_dir, _POOL)
    if connector != pyspark_version or tokens != pyspark_version:
        raise VersionError(
            f"PySpark is {pyspark_version}, its Kafka connector {connector} (tokens {tokens}) in {jars_dir}: "
            f"they must be equal; install pyspark=={connector} or put {_CONNECTOR}:{pyspark_version} there"
        )
    expected = KAFKA_CLIENT_OF_CONNECTOR.get(connector)
    if expected is None:
        known = ", ".join(KAFKA_CLIENT_OF_CONNECTOR)
        raise VersionError(
            f"Connector {connector} was never tried with this job (known: {known}): add it with its Kafka "
            "client to KAFKA_CLIENT_OF_CONNECTOR once the tests pass with it"
        )
    if client != expected:
        raise VersionError(
            f"Connector {connector} needs {_CLIENT} {expected}, {jars_dir} holds {client}: put {expected} in"
        )
    return sorted(jars_dir.glob("*.jar"))
