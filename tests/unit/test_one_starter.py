"""Kafka, HDFS, agents and process hosts are those of the product's own table, in tests and benchmarks too."""

from pathlib import Path

import pytest

from logpipe.settings import PROJECT_DIR

OWN_MAINS = (
    "kafka.Kafka",
    "kafka.tools",
    "server.namenode.NameNode",
    "server.datanode",
    "flume.node",
    "server.properties",
    "supervisor.supervisord",
    "supervisord.conf",
)
FILES = [
    path
    for folder in ("tests", "benchmarks")
    for path in sorted((PROJECT_DIR / folder).rglob("*.py"))
    if path != Path(__file__)
]


@pytest.mark.parametrize("main", OWN_MAINS)
def test_no_suite_brings_a_starter_of_its_own(main):
    assert [str(path.relative_to(PROJECT_DIR)) for path in FILES if main in path.read_text()] == []
