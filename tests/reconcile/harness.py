"""A reconciliation against a real topic and a real directory of its own."""

import json
import os
import signal
import subprocess
import sys
import urllib.parse
import urllib.request
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import NewTopic, OffsetSpec
from pyspark.sql import SparkSession
from tests.spark.services import HDFS_USER, JARS_DIR, Hdfs, Kafka, wait_until

from logpipe.settings import PROJECT_DIR
from reconciliation.faults import DIE_AT
from reconciliation.hdfs import LogFiles
from reconciliation.options import Options
from reconciliation.run import Report, reconcile

DAY = date(2026, 3, 10)
DAY_BEFORE = date(2026, 3, 9)
DAY_AFTER = date(2026, 3, 11)
GROUP = "flume_consumer"


def instant_ms(day: date, hour: int = 12, minute: int = 0) -> int:
    return int(datetime(day.year, day.month, day.day, hour, minute, tzinfo=UTC).timestamp() * 1000)


@dataclass
class Pipeline:
    """One topic with three partitions, its group, and one directory of logs."""

    name: str
    kafka: Kafka
    hdfs_service: Hdfs
    spark: SparkSession

    def __post_init__(self) -> None:
        admin = self.kafka.admin()
        topic = NewTopic(self.name, 3, 1, config={"retention.ms": "-1", "max.message.bytes": str(4 << 20)})
        admin.create_topics([topic])[self.name].result(20)
        wait_until(self._ends, 20, f"a leader for each partition of {self.name}")
        self.group = f"{GROUP}-{self.name}"
        self.logs_dir = f"/user/{HDFS_USER}/{self.name}"
        self.hdfs = LogFiles(self.spark, self.hdfs_service.url)
        self.hdfs.make_folder(f"{self.hdfs_service.url}{self.logs_dir}")
        self.options = Options(
            date=DAY, bootstrap=self.kafka.bootstrap, topic=self.name, group=self.group,
            hdfs_url=self.hdfs_service.url, hdfs_user=HDFS_USER, logs_dir=self.logs_dir, zone="UTC",
            roll_interval_s=300, in_use_margin_s=60, settle_s=0, wait_s=0, agent_stopped=False,
            late_records_s=3600, target_file_mb=128, merge_above_files=8, full=False, master="local[2]",
            heap_mb=1024, jars_dir=JARS_DIR / "spark", local_dir=Path(os.environ["SPARK_LOCAL_DIRS"]),
        )  # fmt: skip

    # The topic

    def send(
        self,
        lines: list[bytes],
        day: date = DAY,
        hour: int = 12,
        partition: int = 0,
        keys: list[str] | None = None,
    ) -> None:
        """Records of a day; ``keys`` their identities."""
        producer = Producer(
            {"bootstrap.servers": self.kafka.bootstrap, "acks": "all", "message.max.bytes": 4 << 20}
        )
        for at, line in enumerate(lines):
            key = keys[at].encode() if keys else None
            producer.produce(
                self.name,
                line,
                key=key,
                partition=partition,
                timestamp=instant_ms(day, hour) + at,
                on_delivery=_raise,
            )
            producer.poll(0)
        assert producer.flush(30) == 0

    def _ends(self) -> dict[int, int]:
        """End offset of each partition; empty while one has no leader."""
        places = {TopicPartition(self.name, partition): OffsetSpec.latest() for partition in range(3)}
        admin = self.kafka.admin()
        try:
            answers = {place: future.result(10) for place, future in admin.list_offsets(places).items()}
        except KafkaException:
            return {}
        return {place.partition: answer.offset for place, answer in answers.items()}

    def commit_all(self) -> None:
        """Agent 2 has written all: its group is at the end of each partition, and no member is left."""
        ends = wait_until(self._ends, 20, f"the ends of {self.name}")
        places = [TopicPartition(self.name, partition, end) for partition, end in ends.items()]
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": self.group})
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    def forget_before(self, partition: int, offset: int) -> None:
        """What retention does: the records before the offset are gone."""
        admin = self.kafka.admin()
        place = TopicPartition(self.name, partition, offset)
        admin.delete_records([place])[place].result(20)

    # HDFS

    def folder(self, day: date = DAY) -> str:
        return f"{self.options.logs_url}/{day:%y-%m-%d}"

    def put(self, name: str, content: bytes, day: date = DAY) -> None:
        """A closed file."""
        stream = self.open(name, content, day)
        stream.close()

    def put_lines(self, lines: list[bytes], name: str = "apache_logs-1.1.log", day: date = DAY) -> None:
        self.put(name, b"".join(line + b"\n" for line in lines), day)

    def open(self, name: str, content: bytes, day: date = DAY) -> Any:
        """A file that is being written: flushed, not closed."""
        path = f"{self.folder(day)}/{name}"
        stream = self.hdfs._fs.create(self.hdfs._path(path), False)
        stream.write(bytearray(content))
        stream.hflush()
        return stream

    def age(self, name: str, seconds: int, day: date = DAY) -> None:
        """Make a file that old."""
        now_ms = int(datetime.now(UTC).timestamp() * 1000)
        self.hdfs.touch(f"{self.folder(day)}/{name}", now_ms - seconds * 1000)

    def names(self, day: date = DAY) -> list[str]:
        return [entry.name for entry in self.hdfs.list(self.folder(day))]

    def log_names(self, day: date = DAY) -> list[str]:
        return [name for name in self.names(day) if name.startswith("apache_logs")]

    def content(self, day: date = DAY) -> bytes:
        """What a reader gets of a day: the bytes of its files, by name."""
        return b"".join(self._read(f"{self.folder(day)}/{name}") for name in self.log_names(day))

    def _read(self, url: str) -> bytes:
        path = urllib.parse.urlsplit(url).path
        query = urllib.parse.urlencode({"op": "OPEN", "user.name": HDFS_USER})
        url = f"{self.hdfs_service.webhdfs_url}/webhdfs/v1{urllib.parse.quote(path)}?{query}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            return bytes(answer.read())

    def lines(self, day: date = DAY) -> list[bytes]:
        content = self.content(day)
        assert not content or content.endswith(b"\n")
        return content.split(b"\n")[:-1]

    def manifest(self, day: date = DAY) -> dict[str, Any]:
        return dict(json.loads(self._read(f"{self.folder(day)}/_manifest.json")))

    def leftovers(self) -> list[str]:
        """What a run left in its working folder."""
        return [entry.name for entry in self.hdfs.list(self.options.work_dir) if entry.name != "lock"]

    def snapshot(self) -> list[tuple[str, int, int]]:
        """All files of all partitions, with size and time."""
        return [
            (entry.path, entry.size_bytes, entry.modified_ms)
            for folder in self.hdfs.list(self.options.logs_url)
            if not folder.name.startswith("_")
            for entry in self.hdfs.list(folder.path)
        ]

    # The job

    def run(self, **overrides: Any) -> Report:
        """In this process."""
        return reconcile(self.spark, replace(self.options, **overrides))

    def command(self, *more: str) -> tuple[list[str], dict[str, str]]:
        """The job's own command line and environment."""
        options = self.options
        arguments = {
            "date": options.date, "bootstrap": options.bootstrap, "topic": options.topic,
            "group": options.group, "hdfs-url": options.hdfs_url,
            "logs-dir": options.logs_dir, "settle-s": options.settle_s,
            "jars-dir": options.jars_dir,
        }  # fmt: skip
        pairs = [f"--{name}={value}" for name, value in arguments.items()]
        script = str(PROJECT_DIR / "spark_jobs" / "reconcile.py")
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PYSPARK")}
        environment |= {"PYTHONPATH": str(PROJECT_DIR / "plugins"), "HADOOP_USER_NAME": HDFS_USER}
        return [sys.executable, script, *pairs, *more], environment

    def run_process(self, *more: str, die_at: str = "") -> tuple[int, dict[str, Any], str]:
        """As a process of its own: exit status, report, log."""
        command, environment = self.command(*more)
        if die_at:
            environment[DIE_AT] = die_at
        done = subprocess.run(command, env=environment, capture_output=True, timeout=180, check=False)
        log = done.stderr.decode()
        if done.returncode == -signal.SIGKILL:
            return done.returncode, {}, log
        return done.returncode, json.loads(done.stdout.splitlines()[-1]), log


def _raise(error: object, message: object) -> None:
    assert error is None, (error, message)
