"""A topic of its own, and a writer that makes links as decision 7 says; tests put faults between."""

import json
import os
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition

from logpipe.accounting.topic import describe, records
from logpipe.clients.hdfs import Hdfs, dumps
from logpipe.contracts.chain import (
    LINK_ATTRIBUTE,
    Layout,
    Link,
    Mark,
    Totals,
    in_use_name,
    link_name,
)
from logpipe.contracts.days import day_name
from logpipe.digest import Digest
from logpipe.identity import Identities, Verdict, parse_key
from logpipe.replayer.feed import Place
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.replayer.sources import SourceVersion
from logpipe.sealing import place as day_place
from logpipe.settings import parse, zone_of
from tests.machine import Hdfs as HdfsService
from tests.machine import Kafka
from tests.ports import free_port

DAY = date(2026, 3, 10)
ATTRIBUTE_BYTES = 12 * 1024
DYING_REPAIR = """
import os, signal, sys
from datetime import date
from logpipe.sealing.repair import repair
from logpipe.settings import load
def reached(step):
    if step == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
repair(load(), None if step_is_lost else date.fromisoformat(sys.argv[2]), lambda *_: None, reached=reached)
""".replace("step_is_lost", "sys.argv[1].startswith('lost')")


def instant_ms(day: date, hour: int = 12, zone: str = "UTC") -> int:
    return int(datetime.combine(day, time(hour), zone_of(zone)).timestamp() * 1000)


class Pipeline:
    """One topic, one folder of logs, one state folder."""

    def __init__(
        self, kafka: Kafka, hdfs: HdfsService, folder: Path, zone: str = "UTC", partitions: int = 2
    ) -> None:
        name = f"logs-{uuid.uuid4().hex[:8]}"
        self.kafka = kafka
        self.settings = parse(
            topic=name,
            kafka_bootstrap=kafka.bootstrap,
            webhdfs_url=hdfs.webhdfs_url,
            hdfs_logs_dir=f"/user/bigdata/{name}",
            hdfs_ledger_dir=f"/user/bigdata/{name}-ledger",
            state_dir=folder / "state",
            consumer_group=f"group-{name}",
            agent1_metrics_port=free_port(),
            timezone=zone,
            topic_partitions=partitions,
        )
        self.root = self.settings.hdfs_logs_dir
        self.hdfs = Hdfs.of(self.settings)
        self.zone = zone
        self.make_topic()
        self.heads: dict[int, Link] = {}
        self.identities = Identities()

    # ------------------------------------------------------------------ the topic

    def make_topic(self) -> None:
        """Its records' times are the tests': days of the past."""
        self.kafka.create_topic(
            self.settings.topic,
            self.settings.topic_partitions,
            retention_ms="-1",
            message_timestamp_type="CreateTime",
        )

    def send(
        self,
        lines: list[bytes],
        day: date = DAY,
        hour: int = 12,
        partition: int = 0,
        replay: str = "",
        first_number: int = 1,
        keys: list[bytes] | None = None,
    ) -> None:
        """Records of a day; with a replay they are its lines from ``first_number`` on."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "acks": "all"})
        for at, line in enumerate(lines):
            key = f"{replay}:{first_number + at}".encode() if replay else None
            producer.produce(
                self.settings.topic,
                line,
                key=keys[at] if keys else key,
                partition=partition,
                timestamp=instant_ms(day, hour, self.zone) + at,
                on_delivery=_raise,
            )
        assert producer.flush(30) == 0

    def forget_before(self, partition: int, offset: int) -> None:
        """What retention does: the records before the offset are gone."""
        self.kafka.forget_before(self.settings.topic, partition, offset)

    # ------------------------------------------------------------------ agent 2

    def chain_folder(self, partition: int) -> str:
        return Layout(self.root).chain(partition)

    def link(
        self, next_: int, partition: int = 0, *, kind: str = "lines", stop_at: str = "", side: bool = False
    ) -> Link:
        """Write the range up to an offset as a link; ``stop_at`` is where the writer dies."""
        head = self.heads.get(partition)
        epoch, first = (head.next_epoch, head.next) if head else (0, 0)
        attempt = uuid.uuid4().hex[:8]
        lines: list[bytes] = []
        marks = dict(head.marks) if head else {}
        replays: dict[str, Digest] = {}
        anonymous, repeats, foreign = Digest(), 0, 0
        arrivals: list[int] = []
        if kind != "expired":
            for record in records(self.settings, {partition: (first, next_)}):
                arrivals.append(record.timestamp_ms)
                verdict = self.identities.judge(partition, record.key)
                if verdict is Verdict.REPEAT:
                    repeats += 1
                    continue
                own = Digest.of([record.value])
                lines.append(record.value)
                identity = parse_key(record.key) if record.key and verdict is Verdict.NEW else None
                if identity:
                    replay, number = identity
                    replays[replay] = replays.get(replay, Digest()) + own
                    before = marks[replay].digest if replay in marks else Digest()
                    marks[replay] = Mark(number, record.timestamp_ms, before + own)
                else:
                    anonymous += own
                    foreign += verdict is Verdict.FOREIGN
        digest = Digest.of(lines)
        content = b"".join(line + b"\n" for line in lines)
        day = day_name(arrivals[0], self.zone) if arrivals else ""
        is_expired = kind == "expired"
        totals = (head.totals if head else Totals()) + Totals(
            0 if is_expired else next_ - first, digest, anonymous,
            digest if kind == "memory" else Digest(), repeats, foreign, next_ - first if is_expired else 0,
        )  # fmt: skip
        made = Link(
            kind=kind,  # type: ignore[arg-type]
            topic=self.settings.topic, topic_id=describe(self.settings).topic_id, partition=partition,
            epoch=epoch, first=first, next_epoch=epoch, next=next_, leader_epoch=0,
            day=day, attempt=attempt,
            first_arrival_ms=arrivals[0] if arrivals else 0, last_arrival_ms=arrivals[-1] if arrivals else 0,
            digest=digest, anonymous=anonymous, repeats=repeats, foreign=foreign,
            text=Digest.of(content.split(b"\n")[:-1]), replays=replays, marks=marks, totals=totals,
        )  # fmt: skip
        folder = self.chain_folder(partition)
        opened = f"{folder}/_open-{made.name}-{day or '00-00-00'}-{attempt}"
        self.hdfs.write(opened, b"")
        value = dumps(made.to_json())
        if side or len(value) > ATTRIBUTE_BYTES:
            name = f"side-{attempt}-{uuid.uuid4().hex[:8]}"
            self.hdfs.write(f"{folder}/{name}", value)
            value = dumps({"side": name})
        self.hdfs.set_attribute(opened, LINK_ATTRIBUTE, value)
        in_use = f"{self.root}/{day}/{in_use_name(partition, epoch, first, attempt)}"
        if kind == "lines":
            self.hdfs.write(in_use, content)
        if stop_at == "commit":
            return made
        self.hdfs.rename(opened, f"{folder}/{link_name(epoch, first)}")
        self.heads[partition] = made
        if kind == "lines" and stop_at != "rename":
            self.hdfs.rename(in_use, self.file_of(made))
        return made

    def read_as_profile_memory(self, offsets: dict[int, int]) -> None:
        """Commit as agent 2 of profile memory does."""
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": self.settings.consumer_group}
        )
        places = [TopicPartition(self.settings.topic, *place) for place in offsets.items()]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    def end(self, made: Link, **changes: Any) -> Link:
        """The link with which an epoch ends."""
        ended = replace(
            made, kind="ended", first=made.next, next_epoch=made.epoch + 1, day="", digest=Digest(),
            anonymous=Digest(), text=Digest(), replays={}, repeats=0, foreign=0, reason="a test", **changes,
        )  # fmt: skip
        path = f"{self.chain_folder(made.partition)}/{ended.name}"
        self.hdfs.write(path, b"")
        self.hdfs.set_attribute(path, LINK_ATTRIBUTE, dumps(ended.to_json()))
        self.heads[made.partition] = ended
        return ended

    def file_of(self, link: Link) -> str:
        return f"{self.root}/{link.day}/{link.file_name}"

    # ------------------------------------------------------------------ what is there

    def folder(self, day: date = DAY) -> str:
        return f"{self.root}/{day:%y-%m-%d}"

    def names(self, path: str) -> list[str]:
        return [entry.name for entry in self.hdfs.list(path)]

    def links(self, partition: int = 0) -> list[str]:
        return [name for name in self.names(self.chain_folder(partition)) if name[0].isdigit()]

    def lines(self, day: date = DAY) -> Counter[bytes]:
        """What a reader gets of a day; each file ends with a line end."""
        counts: Counter[bytes] = Counter()
        for name in self.names(self.folder(day)):
            if name.startswith("apache_logs"):
                content = self.hdfs.read(f"{self.folder(day)}/{name}") or b""
                assert not content or content.endswith(b"\n"), name
                counts.update(content.split(b"\n")[:-1])
        return counts

    def manifest(self, day: date = DAY) -> dict[str, Any]:
        return dict(json.loads(self.hdfs.read(f"{self.folder(day)}/_manifest.json") or b"{}"))

    def sealed(self, day: date = DAY) -> Any:
        return day_place.Place(self.hdfs, self.settings, day).load()

    def record(self, replay: str, lines: list[bytes], profile: str = "durable") -> None:
        """The ledger's word for it: the source has these lines, and all were acknowledged."""
        folder = self.settings.state_dir / "replays"
        source = self.settings.state_dir.parent / f"{replay}.log"
        folder.mkdir(parents=True, exist_ok=True)
        source.write_bytes(b"".join(line + b"\n" for line in lines))
        spec = ReplaySpec(replay, source.as_uri(), "max", profile, None)
        made = ReplayRecord(
            spec, state="done", digest=Digest.of(lines), place=Place(len(lines)),
            version=SourceVersion(source.stat().st_size, None),
            started_at=f"{DAY}T11:00:00+00:00", finished_at=f"{DAY}T13:00:00+00:00",
        )  # fmt: skip
        (folder / f"{replay}.json").write_text(json.dumps(made.to_file()))

    def put(self, name: str, content: bytes, day: date = DAY) -> str:
        path = f"{self.folder(day)}/{name}"
        self.hdfs.write(path, content, overwrite=True)
        return path

    def aside(self, day: date = DAY) -> list[str]:
        return self.names(f"{self.root}/_aside/{day:%y-%m-%d}")

    def environment(self) -> dict[str, str]:
        """What a process of its own needs to work on this pipeline."""
        names = (
            "topic", "kafka_bootstrap", "webhdfs_url", "hdfs_logs_dir", "hdfs_ledger_dir", "state_dir",
            "timezone", "agent1_metrics_port", "consumer_group",
        )  # fmt: skip
        values = {f"LOGPIPE_{name.upper()}": str(getattr(self.settings, name)) for name in names}
        return os.environ | values

    def run_program(self, day: date | None = DAY, *, die_at: str = "", stdin: str = "") -> Any:
        """The batch program: exit status, report, log."""
        command = [sys.executable, "-m", "logpipe.sealing", *([day.isoformat()] if day else [])]
        environment = self.environment() | {"LOGPIPE_SEALING_DIE_AT": die_at}
        done = subprocess.run(
            command, env=environment, input=stdin.encode(), capture_output=True, timeout=120, check=False
        )
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr.decode()

    def repair_and_die(self, step: str) -> int:
        """A repair in a process of its own, killed at a step; returns its exit status."""
        command = [sys.executable, "-c", DYING_REPAIR, step, DAY.isoformat()]
        return subprocess.run(command, env=self.environment(), timeout=120, check=False).returncode


def next_day(day: date = DAY) -> date:
    return day + timedelta(days=1)


def _raise(error: object, message: object) -> None:
    assert error is None, (error, message)
