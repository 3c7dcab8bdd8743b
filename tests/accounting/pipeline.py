"""A topic, chains, commits and a ledger, written as replayer, agent 2 and windows job would."""

import io
import json
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from confluent_kafka import Producer, TopicCollection

from logpipe import settings as project_settings
from logpipe.accounting.chain import own
from logpipe.accounting.judge import Accounting
from logpipe.accounting.verify import verify
from logpipe.clients.hdfs import Hdfs as HdfsClient
from logpipe.clients.hdfs import dumps
from logpipe.contracts.chain import (
    LINK_ATTRIBUTE,
    Link,
    Mark,
    Totals,
    in_use_name,
    java_id,
)
from logpipe.contracts.sealed import Member, Part, SealedDay, SealedFile
from logpipe.digest import Digest
from logpipe.identity import Identities, Verdict, parse_key, partition_of
from logpipe.replayer.feed import Place
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.windows.commit import FOOTER_KEY, Commit, DateFile, step_name
from tests.machine import HDFS_USER, Hdfs, Kafka
from tests.ports import free_port

PARTITIONS = 3
DAY = "26-03-10"
NOON_MS = 1_773_144_000_000  # 2026-03-10 12:00 UTC
SCHEMA = pa.schema(
    [("window_start", pa.timestamp("us", "UTC")), ("dimension", pa.string()), ("key", pa.string())]
    + [(name, pa.int64()) for name in ("lines", "sent_bytes", "line_bytes", "hash_sum")]
)


def nasa_lines(count: int, seed: int = 0) -> list[bytes]:
    """Lines of an access log, no two alike."""
    return [
        b'host%d.example.org - - [01/Jul/1995:00:00:01 -0400] "GET /shuttle/%d/%d HTTP/1.0" %d %d'
        % (number % 97, seed, number, (200, 200, 304, 404)[number % 4], number)
        for number in range(count)
    ]


@dataclass
class Record:
    """A record of the topic."""

    key: bytes | None
    line: bytes


@dataclass
class Pipeline:
    """One pipeline's state."""

    name: str
    kafka: Kafka
    hdfs_service: Hdfs
    folder: Path
    links: list[Link] = field(default_factory=list)
    at_ms: int = 0  # the time of what is produced, where the topic takes its word; 0: now
    topic_config: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        root = f"/user/{HDFS_USER}/{self.name}"
        self.settings = project_settings.parse(
            topic=self.name,
            kafka_bootstrap=self.kafka.bootstrap,
            webhdfs_url=self.hdfs_service.webhdfs_url,
            hdfs_url=self.hdfs_service.url,
            hdfs_logs_dir=f"{root}/logs",
            hdfs_checkpoint_dir=f"{root}/checkpoint",
            hdfs_windows_dir=f"{root}/windows",
            hdfs_ledger_dir=f"{root}/ledger",
            consumer_group=f"group-{self.name}",
            state_dir=self.folder / "state",
            agent1_metrics_port=free_port(),
            agent2_metrics_port=free_port(),
            replayer_port=free_port(),
            page_port=free_port(),
            supervisor_port=free_port(),
        )
        self.logs = self.settings.hdfs_logs_dir
        self.hdfs = HdfsClient.of(self.settings)
        (self.settings.state_dir / "replays").mkdir(parents=True)
        self.topics = 0
        self.make_topic()

    # ------------------------------------------------------------------ Kafka

    def make_topic(self) -> None:
        """The topic; made anew when it was there."""
        if self.topics:
            self.kafka.delete_topic(self.name)
        self.topics += 1
        self.kafka.create_topic(self.name, PARTITIONS, **self.topic_config)
        self.topic: list[list[Record]] = [[] for _ in range(PARTITIONS)]
        admin = self.kafka.admin()
        described = admin.describe_topics(TopicCollection([self.name]))[self.name].result(20)
        self.topic_id = java_id(described.topic_id)

    def produce(self, records: list[tuple[int, bytes | None, bytes]]) -> None:
        """Partition, key and line of each."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap, "acks": "all", "linger.ms": 20})
        for partition, key, line in records:
            producer.produce(self.name, line, key=key, partition=partition, timestamp=self.at_ms)
            producer.poll(0)
            self.topic[partition].append(Record(key, line))
        assert producer.flush(30) == 0

    def send(self, replay: str, lines: list[bytes], first: int = 1) -> None:
        """Lines of a replay, from a number on."""
        self.produce(
            [
                (partition_of(number, PARTITIONS), f"{replay}:{number}".encode(), line)
                for number, line in enumerate(lines, first)
            ]
        )

    # ------------------------------------------------------------------ the ledger

    def record(
        self,
        replay: str,
        lines: list[bytes],
        state: str = "done",
        profile: str = "durable",
        *,
        sealed_at: str | None = None,
        url: str = "",
    ) -> ReplayRecord:
        """Say that a replay has had these lines acknowledged."""
        path = self.folder / f"{replay}.log"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        made = ReplayRecord(
            spec=ReplaySpec(replay, url or path.as_uri(), "max", profile, None),
            state=state,  # type: ignore[arg-type]
            digest=Digest.of(lines),
            place=Place(len(lines)),
            partitions=PARTITIONS,
            finished_at="2026-03-10T12:00:00+00:00",
            sealed_at=sealed_at,
        )
        target = self.settings.state_dir / "replays" / f"{replay}.json"
        target.write_text(json.dumps(made.to_file()))
        return made

    # ------------------------------------------------------------------ agent 2

    def head(self, partition: int) -> Link | None:
        """The partition's newest link."""
        mine = [link for link in self.links if link.partition == partition]
        return mine[-1] if mine else None

    def write(self, *, until: list[int] | None = None, is_open: bool = False, **more: Any) -> list[Link]:
        """Bring what is in the topic to HDFS: a range a partition, final or only flushed."""
        written = []
        for partition in range(PARTITIONS):
            end = until[partition] if until else len(self.topic[partition])
            link = self._range(partition, end, **more)
            if link is not None:
                self.put(link, is_open=is_open)
                written.append(link)
        return written

    def _range(self, partition: int, end: int, *, day: str = DAY, kind: str = "lines") -> Link | None:
        before = self.head(partition)
        epoch, first = (before.next_epoch, before.next) if before else (0, 0)
        marks = dict(before.marks) if before else {}
        identities = Identities({(partition, replay): mark.number for replay, mark in marks.items()})
        kept: list[bytes] = []
        anonymous: list[bytes] = []
        repeats = foreign = 0
        replays: dict[str, list[bytes]] = {}
        for record in self.topic[partition][first:end]:
            verdict = identities.judge(partition, record.key)
            if verdict is Verdict.REPEAT:
                repeats += 1
                continue
            kept.append(record.line)
            if verdict is Verdict.NEW:
                assert record.key is not None
                identity = parse_key(record.key)
                assert identity is not None
                replays.setdefault(identity[0], []).append(record.line)
            else:
                anonymous.append(record.line)
                foreign += verdict is Verdict.FOREIGN
        if end <= first:
            return None
        for replay, lines in replays.items():
            number = identities.marks[partition, replay]
            marks[replay] = Mark(
                number, NOON_MS, Digest.of(lines) + (marks[replay].digest if replay in marks else Digest())
            )
        self._written = kept
        link = Link(
            kind=kind,  # type: ignore[arg-type]
            topic=self.name,
            topic_id=self.topic_id,
            partition=partition,
            epoch=epoch,
            first=first,
            next_epoch=epoch,
            next=end,
            day=day,
            attempt=uuid.uuid4().hex[:8],
            first_arrival_ms=NOON_MS,
            last_arrival_ms=NOON_MS,
            digest=Digest.of(kept),
            anonymous=Digest.of(anonymous),
            repeats=repeats,
            foreign=foreign,
            text=Digest.of(kept),
            replays={replay: Digest.of(lines) for replay, lines in replays.items()},
            marks=marks,
        )
        return replace(link, totals=(before.totals if before else Totals()) + own(link))

    def put(self, link: Link, *, is_open: bool = False) -> None:
        """Write a link, and the file of its lines if it has one."""
        chain = f"{self.logs}/_chain/{link.partition}"
        name = f"_open-{link.name}-{link.day}-{link.attempt}" if is_open else link.name
        self.hdfs.write(f"{chain}/{name}", b"", overwrite=True)
        text = dumps(link.to_json())
        if len(text) > 12 << 10:
            self.hdfs.write(f"{chain}/side-{link.attempt}-0", text, overwrite=True)
            text = dumps({"side": f"side-{link.attempt}-0"})
        self.hdfs.set_attribute(f"{chain}/{name}", LINK_ATTRIBUTE, text)
        if link.kind == "lines":
            in_use = in_use_name(link.partition, link.epoch, link.first, link.attempt)
            target = in_use if is_open else link.file_name
            self.hdfs.write(
                f"{self.logs}/{link.day}/{target}",
                b"".join(line + b"\n" for line in self._written),
                overwrite=True,
            )
        if not is_open:
            self.links.append(link)

    def seal(
        self, day: str, digest: Digest, files: tuple[SealedFile, ...] = (), *, forgotten_at: str = ""
    ) -> None:
        """The sums of a sealed day; its members are the links that there are of it."""
        parts = tuple(
            Part(link.partition, link.topic_id, link.epoch, {}, (Member(link.first, link.next, link.digest),))
            for link in self.links
            if link.day == day
        )
        sums = SealedDay(
            day=day, attempt="0" * 8, digest=digest, anonymous=Digest(), replays={}, repeats=0, foreign=0,
            expired=0, files=files, parts=parts, sealed_at="2026-03-11T00:30:00+00:00",
            forgotten_at=forgotten_at,
        )  # fmt: skip
        self.hdfs.write(f"{self.logs}/_sealed/{day}.json", dumps(sums.to_json()), overwrite=True)

    def path(self, link: Link) -> str:
        """Where a link's lines stand."""
        return f"{self.logs}/{link.day}/{link.file_name}"

    # ------------------------------------------------------------------ the windows job

    def count(self, until: list[int] | None = None, **changes: Any) -> None:
        """Commit as the windows job does that it has counted what is in the topic."""
        marks: dict[tuple[int, str], list[bytes]] = {}
        lines: list[bytes] = []
        anonymous: list[bytes] = []
        repeats = foreign = 0
        identities = Identities()
        offsets = {}
        for partition, records in enumerate(self.topic):
            end = until[partition] if until else len(records)
            offsets[partition] = end
            for record in records[:end]:
                verdict = identities.judge(partition, record.key)
                if verdict is Verdict.REPEAT:
                    repeats += 1
                    continue
                lines.append(record.line)
                if verdict is Verdict.NEW:
                    assert record.key is not None
                    identity = parse_key(record.key)
                    assert identity is not None
                    marks.setdefault((partition, identity[0]), []).append(record.line)
                else:
                    anonymous.append(record.line)
                    foreign += verdict is Verdict.FOREIGN
        digest = Digest.of(lines)
        commit = Commit(
            step=1, kind="fold", parameters={"window_s": 60}, topic_id=self.topic_id, folded=1,
            offsets=offsets,
            marks={
                (partition, replay): Mark(identities.marks[partition, replay], NOON_MS, Digest.of(some))
                for (partition, replay), some in marks.items()
            },
            lines=digest.lines, line_bytes=digest.size_bytes, hash_sum=digest.hash_sum, repeats=repeats,
            anonymous=Digest.of(anonymous), foreign=foreign, committed_at="2026-03-10T12:00:00+00:00",
        )  # fmt: skip
        content = parquet([], {FOOTER_KEY: replace(commit, **changes).to_json()})
        path = f"{self.settings.hdfs_checkpoint_dir}/windows/commits.1/{step_name(1)}"
        self.hdfs.write(path, content, overwrite=True)

    def write_windows(self, until: list[int] | None = None, **changes: int) -> None:
        """The closed windows of what `count` committed, as rows of one Parquet file.

        Args:
            until: as in `count`.
            changes: lines more or less of a dimension and key, as ``status_404=1``.
        """
        lines = [
            record.line
            for partition, records in enumerate(self.topic)
            for record in records[: until[partition] if until else None]
        ]
        digest = Digest.of(lines)
        keys = Counter[tuple[str, str]]()
        for line in lines:
            found = re.search(rb'"(GET) [^"]*" ([0-9]{3}) ', line)
            if found is None:
                keys["malformed", "format"] += 1
            else:
                keys["method", found[1].decode()] += 1
                keys["status", found[2].decode()] += 1
        for name, number in changes.items():
            dimension, _, key = name.partition("_")
            keys[dimension, key] += number
        start = datetime(2026, 3, 10, 12, tzinfo=UTC)
        signed = digest.hash_sum - (1 << 64) if digest.hash_sum >= 1 << 63 else digest.hash_sum
        rows = [(start, "total", "", digest.lines, 0, digest.size_bytes, signed)]
        rows += [(start, dimension, key, number, 0, 0, 0) for (dimension, key), number in keys.items()]
        path = f"{self.settings.hdfs_windows_dir}/{DateFile('2026-03-10', 1, 1, 0).path}"
        self.hdfs.write(path, parquet(rows), overwrite=True)

    # ------------------------------------------------------------------ the verdict

    def verify(self) -> Accounting:
        """As `make verify`."""
        return verify(self.settings)

    def exact(self) -> Accounting:
        """As `make verify`, which must be content."""
        found = self.verify()
        assert found.ok, found
        return found


def parquet(rows: list[tuple[Any, ...]], metadata: dict[bytes, str] | None = None) -> bytes:
    """A file of the windows."""
    columns = [list(column) for column in zip(*rows, strict=True)] or [[]] * len(SCHEMA)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=SCHEMA.with_metadata(metadata)), buffer)
    return buffer.getvalue()


__all__ = ["DAY", "NOON_MS", "PARTITIONS", "Pipeline", "nasa_lines"]
