"""Two NameNodes: each client finds the one that is active, also when that was the other one a moment ago."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logpipe import settings as project_settings
from logpipe.accounting.audit import audit
from logpipe.clients.hdfs import Hdfs, HdfsExistsError, HdfsUnreachableError, storage
from logpipe.page import sql
from logpipe.sealing.seal import seal
from tests.accounting.pipeline import Pipeline, nasa_lines
from tests.hdfs_access.streaming import await_exact, streaming
from tests.hdfs_access.two_namenodes import TwoNameNodes
from tests.machine import Kafka

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1800)]

LINES = nasa_lines(2_000)
MORE = nasa_lines(1_000, seed=1)
ARRIVE_S = 600  # a busy machine starts a JVM slowly


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNameNodes]:
    made = TwoNameNodes.made(tmp_path_factory.mktemp("two"))
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture
def pipeline(
    kafka: Kafka, two: TwoNameNodes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Pipeline]:
    """Its agent 2 and windows job run; HDFS is somebody else's to them."""
    monkeypatch.setenv("LOGPIPE_HADOOP_CONF_DIR", str(two.conf_dir))
    project_settings.load.cache_clear()
    try:
        with streaming("two-namenodes", kafka, two, tmp_path) as made:
            yield made
    finally:
        project_settings.load.cache_clear()


def test_each_question_finds_the_active_one(two: TwoNameNodes) -> None:
    hdfs, file = Hdfs.of(two.settings), f"{two.settings.hdfs_logs_dir}/26-03-10/apache_logs-1.log"
    hdfs.write(file, b"a line\n")
    connection, _ = sql.connect(two.settings)
    ask = "SELECT line FROM lines WHERE day = '26-03-10'"
    assert connection.execute(ask).fetchall() == [("a line",)]
    two.deactivate()
    with pytest.raises(HdfsUnreachableError, match="StandbyException"):
        hdfs.status(file)
    two.activate(two.other())
    assert connection.execute(ask).fetchall() == [("a line",)]
    assert storage(two.settings).capacity_bytes > 0
    hdfs.write(f"{file}.new", b"another\n")
    with pytest.raises(HdfsExistsError):
        hdfs.rename(f"{file}.new", file)
    hdfs.delete(two.settings.hdfs_logs_dir)


def test_every_line_arrives_though_the_active_one_is_killed(pipeline: Pipeline, two: TwoNameNodes) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    pipeline.at_ms = int(yesterday.timestamp() * 1000)
    pipeline.send("first", LINES)
    pipeline.record("first", LINES)
    await_exact(pipeline, ARRIVE_S)
    killed = two.kill_active()
    pipeline.send("second", MORE)
    pipeline.record("second", MORE)
    two.activate(two.other())
    await_exact(pipeline, ARRIVE_S)
    two.namenodes[killed].start()
    assert audit(pipeline.settings).ok
    sealed = seal(pipeline.settings, yesterday.date())
    assert sealed is not None
    assert sealed.digest.lines == len(LINES) + len(MORE)
    assert pipeline.exact().hdfs == len(LINES) + len(MORE)
