"""A real Flume agent 2, profile durable, killed in the middle of its work."""

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.reconcile.harness import Pipeline
from tests.spark.services import HDFS_USER, JARS_DIR, wait_until

from logpipe.settings import PROJECT_DIR
from reconciliation.errors import StillOpenError
from reconciliation.topic import Topic

pytestmark = pytest.mark.integration

LINES = [b"%06d " % number + b"x" * 90 for number in range(20_000)]


def zone_at_noon() -> str:
    """A zone in which it is about noon, so that no midnight passes during the test."""
    east = 12 - datetime.now(UTC).hour
    return f"Etc/GMT{-east:+d}" if east else "UTC"


@pytest.fixture
def logs(pipeline) -> Pipeline:
    return pipeline()


class Agent:
    """Agent 2 with the project's own configuration."""

    def __init__(self, logs: Pipeline, zone: str, folder: Path) -> None:
        conf = PROJECT_DIR / "flume_conf"
        self._log = folder / "agent2.log"
        self._command = [
            "java", "-Xmx384m", f"-Dlog4j2.configurationFile={conf}/log4j2.properties",
            "-cp", f"{_hadoop_conf(folder)}:{JARS_DIR}/flume/*", "org.apache.flume.node.Application",
            "--no-reload-conf", "-f", str(conf / "durable" / "agent2.properties"), "-n", "agent2",
        ]  # fmt: skip
        self._environment = os.environ | {
            "HADOOP_USER_NAME": HDFS_USER, "LOGPIPE_KAFKA_BOOTSTRAP": logs.kafka.bootstrap,
            "LOGPIPE_TOPIC": logs.name, "LOGPIPE_CONSUMER_GROUP": logs.group,
            "LOGPIPE_HDFS_URL": logs.hdfs_service.url, "LOGPIPE_HDFS_LOGS_DIR": logs.logs_dir,
            "LOGPIPE_TIMEZONE": zone, "LOGPIPE_ROLL_INTERVAL_S": "300",
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=self._environment, stdout=log, stderr=log)

    def end(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)
            self.process.wait(60)
        self.process = None


def _hadoop_conf(folder: Path) -> Path:
    conf = folder / "hadoop"
    conf.mkdir()
    properties = {
        "dfs.replication": "1",
        "dfs.client.block.write.replace-datanode-on-failure.enable": "false",
    }
    rows = "".join(f"<property><name>{n}</name><value>{v}</value></property>" for n, v in properties.items())
    (conf / "hdfs-site.xml").write_text(f"<configuration>{rows}</configuration>")
    return conf


@pytest.fixture
def agent(logs: Pipeline, tmp_path: Path) -> Iterator[Agent]:
    agent = Agent(logs, zone_at_noon(), tmp_path)
    yield agent
    agent.end(signal.SIGKILL)


def test_a_killed_agents_day_is_made_whole_and_stays_so_when_it_goes_on(logs: Pipeline, agent: Agent) -> None:
    zone = zone_at_noon()
    now = datetime.now(ZoneInfo(zone))
    today, hour = now.date(), datetime.now(UTC).hour
    asked = {"date": today, "zone": zone}

    def send(lines: list[bytes], first_number: int) -> None:
        for partition in range(3):
            mine = lines[partition::3]
            keys = [f"replay:{first_number + at * 3 + partition}" for at in range(len(mine))]
            logs.send(mine, day=date.today(), hour=hour, partition=partition, keys=keys)

    def topic() -> Topic:
        return Topic(logs.kafka.bootstrap, logs.name, logs.group)

    def unwritten() -> int:
        return topic().unwritten(type(logs.options.day)(today, zone))

    send(LINES[:5_000], 1)
    agent.start()
    wait_until(lambda: unwritten() == 0, 120, "agent 2 to write the first lines")
    before = [(path, size) for path, size, _ in logs.snapshot()]
    with pytest.raises(StillOpenError, match="an agent may be writing"):
        logs.run(**asked)
    assert [(path, size) for path, size, _ in logs.snapshot()] == before

    send(LINES[5_000:], 5_001)
    agent.end(signal.SIGKILL)
    assert any(name.endswith(".tmp") for name in logs.names(today))

    report = logs.run(**asked, agent_stopped=True).to_json()

    assert report["repaired"]["recovered_files"] >= 1
    assert report["repaired"]["missing_written"] > 0
    assert Counter(logs.lines(today)) == Counter(LINES)

    agent.start()
    wait_until(lambda: unwritten() == 0, 120, "agent 2 to write the rest")
    agent.end(signal.SIGTERM)
    wait_until(lambda: not topic().has_agent(), 60, "the group to be empty")

    report = logs.run(**asked).to_json()

    assert report["repaired"]["surplus_removed"] > 0, "what the agent wrote again"
    assert Counter(logs.lines(today)) == Counter(LINES)
