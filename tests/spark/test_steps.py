"""Steps against the real Kafka and HDFS: exact whatever fails at whatever point, and in either time."""

import itertools
import json
import random
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import psutil
import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from pyspark.sql import SparkSession

from logpipe.cli import follow
from logpipe.clients.formats import FormatRegistry
from logpipe.clients.hdfs import Hdfs as WebHdfs
from logpipe.clients.kafka import Kafka as KafkaClient
from logpipe.digest import Digest
from logpipe.settings import Settings, parse
from logpipe.windows.commit import Commit, DateFile, counting, step_name
from logpipe.windows.erase import erase_keys
from logpipe.windows.reader import WindowStore, WindowTotals
from tests.machine import HDFS_USER, Hdfs, Kafka
from tests.spark.reader import followed
from tests.waiting import wait_until
from windows import folds, kafka_rows
from windows import rows as window_rows
from windows import steps as job_steps
from windows.errors import CutError, FencedError, WindowsError
from windows.hdfs import Hdfs as JvmHdfs
from windows.options import Options, from_arguments
from windows.reading import Formats
from windows.rows import KEY, added_up
from windows.source import raw_records
from windows.steps import Steps
from windows.store import CommitLog
from windows.topics import make_output

pytestmark = pytest.mark.integration
_numbers = itertools.count(1)


class Job:
    """A job without its streaming query: the test decides what a batch holds, and what fails."""

    def __init__(self, spark: SparkSession, kafka: Kafka, hdfs: Hdfs, *arguments: str) -> None:
        name = f"job{next(_numbers)}"
        self.spark, self.kafka, self.web = spark, kafka, hdfs
        self.options: Options = from_arguments(
            [
                "--bootstrap", kafka.bootstrap, "--hdfs-url", hdfs.url, "--topic", name,
                "--checkpoint-dir", f"/user/{HDFS_USER}/{name}/checkpoint",
                "--windows-dir", f"/user/{HDFS_USER}/{name}/windows", "--console-interval-s", "0", *arguments,
            ],
            Settings(),
        )  # fmt: skip
        self.make_topic()
        self.topics = KafkaClient(self.options.kafka_client)
        for topic in (self.options.windows_topic, self.options.dead_letters_topic):
            make_output(self.topics, topic, 1)
        self.hdfs = JvmHdfs(spark, hdfs.url)
        self.offsets: dict[int, dict[int, int]] = {}
        self.sent: list[bytes] = []
        self.steps = self.restart()

    def make_topic(self) -> None:
        """Its records' times are the tests'."""
        self.kafka.create_topic(self.options.topic, 2, retention_ms="-1", message_timestamp_type="CreateTime")

    def restart(self) -> Steps:
        """Begin anew from what HDFS holds, as a driver does after a crash."""
        topic_id = self.topics.existing(self.options.topic).topic_id
        first = Commit(0, "start", self.options.fixed(), topic_id)
        commits = CommitLog(self.hdfs, self.options.checkpoint_url, self.options.windows_url)
        commit = commits.take_over(lambda: first)
        self.steps = Steps(self.hdfs, commits, self.topics, self.options, commit)
        self.steps.recover()
        return self.steps

    def send(self, *records: tuple[bytes | None, str | None, int], at_ms: int = 1_795_420_800_000) -> None:
        """Send (line, key, partition); those that repeat a key are not expected to count."""
        producer = Producer({"bootstrap.servers": self.kafka.bootstrap})
        for line, key, partition in records:
            producer.produce(self.options.topic, line, key, partition, timestamp=at_ms)
        assert producer.flush(30) == 0

    def plan(self, batch_id: int) -> None:
        """Write what Spark writes before a batch: where it ends."""
        ends = self.topics.offsets(self.options.topic).ends
        self.offsets[batch_id] = ends
        text = "v1\n{}\n" + json.dumps({self.options.topic: {str(part): end for part, end in ends.items()}})
        self.hdfs.write_text(f"{self.steps.query_folder}/offsets/{batch_id}", text)

    def count(self, batch_id: int) -> None:
        """Hand a planned batch to the steps and wait until it is published."""

        def offsets(of: int) -> str:
            return json.dumps({self.options.topic: self.offsets.get(of, self.steps.starts() or {0: 0, 1: 0})})

        records = raw_records(
            self.spark.read.format("kafka")
            .option("kafka.bootstrap.servers", self.kafka.bootstrap)
            .option("subscribe", self.options.topic)
            .option("startingOffsets", offsets(batch_id - 1))
            .option("endingOffsets", offsets(batch_id))
            .load()
        )
        self.steps.count_batch(records, batch_id)
        self.steps._published()

    def batch(self, batch_id: int, *records: tuple[bytes | None, str | None, int]) -> None:
        self.send(*records)
        self.plan(batch_id)
        self.count(batch_id)

    @property
    def store(self) -> WindowStore:
        options = self.options
        files = WebHdfs(self.web.webhdfs_url, HDFS_USER)
        return WindowStore(files, options.checkpoint_dir, options.windows_dir)

    def digest(self) -> Digest:
        return self.store.totals().digest

    def rows(self) -> dict[tuple[int, str, str], int]:
        """Lines by window start (seconds), dimension and key."""
        return {
            (int(row["window_start"].timestamp()), row["dimension"], row["key"]): row["lines"]
            for row in self.store.table().to_pylist()
        }

    def totals(self) -> WindowTotals:
        """What the newest commit alone says."""
        return WindowTotals.of(self.store.commit())

    def files(self) -> list[DateFile]:
        """Those by date that count."""
        files = self.store.all_date_files()
        dates = sorted({file.date for file in files})
        folded = self.steps.commit.folded
        return [f for date in dates for f in counting([f for f in files if f.date == date], folded)]

    def followed(self) -> dict[tuple[int, str, str], int]:
        """The same as `rows` from the compacted topic."""
        return followed(list(self.read(self.options.windows_topic)))

    def read(self, topic: str) -> Iterator[tuple[bytes, bytes | None]]:
        end = self.topics.offsets(topic).ends[0]
        consumer = Consumer(
            {"bootstrap.servers": self.kafka.bootstrap, "group.id": "none", "enable.auto.commit": False}
        )
        consumer.assign([TopicPartition(topic, 0, 0)])
        read = 0
        while read < end:
            message = consumer.poll(20)
            assert message is not None
            if message.error() is None:
                read = message.offset() + 1
                yield message.key(), message.value()
        consumer.close()


@pytest.fixture
def make_job(spark: SparkSession, kafka: Kafka, hdfs: Hdfs) -> Callable[..., Job]:
    return lambda *arguments: Job(spark, kafka, hdfs, *arguments)


def keyed(lines: list[bytes], first: int = 1, replay: str = "r") -> list[tuple[bytes, str | None, int]]:
    return [(line, f"{replay}:{first + at}", at % 2) for at, line in enumerate(lines)]


class CrashError(Exception):
    """What a power cut looks like to a test."""


def arm(patch: pytest.MonkeyPatch, steps: Steps, instant: str) -> None:
    """Have the power cut ``before`` or ``after`` a call, while a step of a kind is made or shown."""
    when, name, kind = instant.split(" ")
    owner: Any = {
        "write": steps._commits, "commit": steps._commits, "prune": steps._commits,
        "send": steps._sender, "fold": steps._files, "_put": steps._files,
    }[name]  # fmt: skip
    original = getattr(owner, name)

    def call(*arguments: Any) -> Any:
        if name in ("fold", "_put"):  # its commit is not made yet
            is_meant = True
        else:
            is_meant = (arguments[0] if name in ("write", "commit") else steps.commit).kind == kind
        if is_meant and when == "before":
            raise CrashError(instant)
        result = original(*arguments)
        if is_meant:
            raise CrashError(instant)
        return result

    patch.setattr(owner, name, call)


CRASHES = (
    "before write batch", "after write batch", "before commit batch", "after commit batch",
    "before send batch", "after send batch",
    "before fold fold", "before _put fold", "after _put fold", "after fold fold", "after write fold",
    "before commit fold", "after commit fold", "before send fold", "after send fold", "before prune fold",
    "after prune fold",
)  # fmt: skip


def test_exact_whatever_crashes(
    make_job: Callable[..., Job], nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every crash comes at its own batch of one job, and each batch at a fold; windows close and open."""
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 1)
    monkeypatch.setattr(folds, "FAN_IN", 4)
    job = make_job("--time", "event", "--watermark-s", "0")
    august = [line for line in nasa_lines if b"01/Aug/1995" in line]
    lines = [line.replace(b"01/Aug", b"0%d/Aug" % (1 + at % 2)) for at, line in enumerate(august)]
    size = len(lines) // len(CRASHES)
    sent: list[bytes] = []
    for batch_id, instant in enumerate(CRASHES):
        part = lines[batch_id * size : (batch_id + 1) * size]
        job.send(*keyed(part, first=1 + len(sent)))
        job.plan(batch_id)
        sent += part
        if instant.endswith("fold") and job.steps.commit.step == job.steps.commit.folded:
            job.steps._do(job.steps._close)  # that a fold is due
        with monkeypatch.context() as patch:
            arm(patch, job.steps, instant)
            with pytest.raises(CrashError):
                job.count(batch_id)
        job.restart()
        counted = sent if job.steps.commit.batch_id == batch_id else sent[: -len(part)]
        assert job.digest() == job.totals().digest == Digest.of(counted), instant
        job.count(batch_id)
        rows = job.rows()
        assert job.followed() == rows, instant
        assert sum(count for (_, dimension, _), count in rows.items() if dimension == "method") == len(sent)
        job.steps.tidy()
    assert len({file.date for file in job.files()}) >= 2
    assert job.digest() == Digest.of(sent)
    log = [entry.name for entry in job.hdfs.list(job.steps._commits._commits)]
    assert min(log) == step_name(job.steps.commit.folded_before) > step_name(30)


def test_keys_beyond_the_most_are_folded_and_every_line_counts(
    make_job: Callable[..., Job], nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 1)
    monkeypatch.setattr(folds, "FAN_IN", 2)
    job = make_job("--max-keys", "3")
    for batch_id in range(4):
        job.batch(batch_id, *keyed(nasa_lines[batch_id * 50 : batch_id * 50 + 50], first=1 + batch_id * 50))
        job.restart()
    for _ in range(3):  # each brings a fold
        job.steps._do(job.steps._close)
        job.steps.tidy()
    by_dimension: Counter[str] = Counter()
    for (_, dimension, _), lines in job.rows().items():
        by_dimension[dimension] += lines
    assert {by_dimension[name] for name in ("total", "host", "endpoint", "method", "status")} == {200}
    assert job.digest() == Digest.of(nasa_lines[:200])
    assert any(file.tier for file in job.files()), "none was merged"
    for file in job.files():
        with job.hdfs.open(job.steps._files.path(file)) as source:
            hosts = window_rows.read(source).filter(pl.col("dimension") == "host")
        assert hosts.height == 4, "three and the rest"
        assert window_rows.OTHER in hosts["key"]


def test_a_resend_counts_once_across_batches_and_restarts(
    make_job: Callable[..., Job], nasa_lines: list[bytes]
) -> None:
    job = make_job()
    lines = nasa_lines[:60]
    job.batch(0, *keyed(lines[:40]), *keyed(lines[20:40], first=21))
    job.restart()
    job.batch(1, *keyed(lines[30:60], first=31))
    assert job.digest() == Digest.of(lines)
    assert job.store.totals().repeats == 20 + 10
    assert job.store.totals().covered_offsets == {0: 45, 1: 45}
    job.batch(2, *[(line, None, 0) for line in lines[:5]])
    assert job.digest() == Digest.of(lines + lines[:5])


def test_a_format_that_is_registered_while_the_job_runs(
    make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Several formats through one topic; what is not known of a line's format is never guessed."""
    ledger = f"/user/{HDFS_USER}/of_formats{next(_numbers)}"
    job = make_job("--ledger-dir", ledger)
    registry = FormatRegistry(WebHdfs(job.web.webhdfs_url, HDFS_USER), ledger)
    caddy = b'{"ts":8e8,"request":{"remote_ip":"%d","method":"GET","host":"v","uri":"/"},"status":200}'
    common = b'h - - [01/Aug/1995:00:00:01 -0400] "GET /a HTTP/1.0" 200 7'

    def hosts() -> dict[str, int]:
        return {key: count for (_, name, key), count in job.rows().items() if name in ("host", "malformed")}

    job.batch(0, (common, "plain:1", 0), (caddy % 1, "unknown:1", 1))
    assert hosts() == {"h": 1, "format": 1}
    registry.put("site", "site.log", "caddy")
    job.batch(1, (caddy % 2, "site.g1:1", 0), (common, "plain:2", 0), (common, "site.g1:2", 1))
    assert hosts() == {"h": 2, "2": 1, "format": 2}
    registry.put("words", "words.log", "$remote_addr at $time_iso8601")
    job.send((b"w at 1995-08-01T00:00:02-04:00", "words:1", 0), (caddy % 3, "site.g2:1", 1))
    job.plan(2)
    with monkeypatch.context() as patch:
        patch.setattr(JvmHdfs, "list", None)  # as if HDFS was away
        with pytest.raises(TypeError):
            job.count(2)
    assert job.restart().commit.batch_id == 1
    job.count(2)
    assert hosts() == {"h": 2, "2": 1, "3": 1, "w": 1, "format": 2}
    wait_until(lambda: time.monotonic() - job.steps._formats._seen_at > 0.2, 5, "the folder's time to pass")
    job.batch(3, (caddy % 4, "site.g2:2", 1))
    with monkeypatch.context() as patch:
        patch.setattr(Formats, "_load", None)  # what has not changed is not listed again
        job.batch(4, (caddy % 5, "site.g2:3", 1))
    assert hosts() == {"h": 2, "2": 1, "3": 1, "4": 1, "5": 1, "w": 1, "format": 2}
    WebHdfs(job.web.webhdfs_url, HDFS_USER).write(f"{ledger}/formats/odd.json", b'{"version": 99}')
    with pytest.raises(WindowsError, match=r"odd.json holds .* expected a format of version 1"):
        job.batch(5, (common, "plain:3", 0))


def test_event_time_against_duckdb(make_job: Callable[..., Job], nasa_lines: list[bytes]) -> None:
    """Lines of two months in no order: many are late; all count, in the window an oracle finds."""
    job = make_job("--time", "event", "--watermark-s", "60", "--idle-s", "1")
    for batch_id in range(4):
        job.batch(
            batch_id, *keyed(nasa_lines[batch_id * 100 : (batch_id + 1) * 100], first=1 + batch_id * 100)
        )
    lines = nasa_lines[:400]
    assert job.store.totals().late > 0
    job.steps.counted_at -= 5
    job.steps.close_if_idle()
    job.steps._published()
    assert job.steps.commit.open_rows == 0
    with duckdb.connect() as oracle:
        oracle.execute("SET TimeZone = 'UTC'")
        oracle.execute(
            "CREATE TABLE lines AS SELECT unnest(?::VARCHAR[]) AS line", [[line.decode() for line in lines]]
        )
        expected = oracle.execute(
            r"""
            WITH cut AS (
                SELECT split_part(line, ' ', 1) AS host,
                       epoch(strptime(regexp_extract(line, '\[(.*?)\]', 1),
                                      '%d/%b/%Y:%H:%M:%S %z'))::BIGINT AS second,
                       split_part(split_part(line, '"', 2), ' ', 1) AS method,
                       split_part(split_part(line, '"', 2), ' ', 2) AS endpoint,
                       split_part(line, ' ', -2) AS status
                FROM lines),
            keys AS (
                SELECT second, unnest([['total', ''], ['host', host], ['method', method],
                                       ['endpoint', endpoint], ['status', status]]) AS pair FROM cut
                UNION ALL
                SELECT second, ['error', status || ' ' || endpoint] FROM cut WHERE status >= '400')
            SELECT second // 60 * 60, pair[1], pair[2], count(*) FROM keys GROUP BY ALL
            """
        ).fetchall()
    assert job.rows() == {(start, dimension, key): count for start, dimension, key, count in expected}
    assert job.digest() == Digest.of(lines)
    late = [value for key, value in job.read(job.options.dead_letters_topic)]
    assert len(late) == job.store.totals().late


def test_a_batch_closes_the_windows_that_its_own_lines_leave_behind(make_job: Callable[..., Job]) -> None:
    job = make_job("--time", "event", "--watermark-s", "60")
    line = '10.0.0.1 - - [01/Jul/1995:00:{}:00 -0400] "GET / HTTP/1.0" 200 1'

    def sent(*minutes: str) -> list[tuple[bytes, str | None, int]]:
        return [(line.format(minute).encode(), None, 0) for minute in minutes]

    job.batch(0, *sent("01", "02", "05"))
    assert job.steps.commit.watermark_ms == 1000 * int(datetime(1995, 7, 1, 4, 4, tzinfo=UTC).timestamp())
    assert job.steps.commit.open_rows == 5  # of 04:05: total, host, method, endpoint and status
    job.batch(1, *sent("02", "05"))
    assert job.steps.commit.late == 1
    assert sum(count for (_, dimension, _), count in job.rows().items() if dimension == "total") == 5


def test_arrival_time_closes_windows_and_keeps_sums(
    make_job: Callable[..., Job], nasa_lines: list[bytes]
) -> None:
    job = make_job("--watermark-s", "5")
    start_ms = 1_795_420_800_000
    for batch_id in range(4):
        job.send(
            *keyed(nasa_lines[batch_id * 50 : batch_id * 50 + 50], 1 + batch_id * 50),
            at_ms=start_ms + batch_id * 60_000,
        )
        job.plan(batch_id)
        job.count(batch_id)
    totals = {key: count for key, count in job.rows().items() if key[1] == "total"}
    assert totals == {(start_ms // 1000 + minute * 60, "total", ""): 50 for minute in range(4)}
    job.steps.counted_at -= 60
    job.steps.close_if_idle()
    job.steps._published()
    assert job.steps.commit.open_rows == 0
    assert job.digest() == Digest.of(nasa_lines[:200])


def test_sliding_windows_count_each_line_once_in_the_digest(
    make_job: Callable[..., Job], nasa_lines: list[bytes]
) -> None:
    job = make_job("--slide-s", "20")
    job.batch(0, *keyed(nasa_lines[:50]))
    assert sum(count for (_, dimension, _), count in job.rows().items() if dimension == "total") == 150
    assert job.digest() == Digest.of(nasa_lines[:50])


def test_malformed_lines_are_kept_with_their_place(make_job: Callable[..., Job]) -> None:
    job = make_job()
    bad = [b"", b"\xff\xfe", b"two\nlines"]
    job.batch(0, *[(line, None, 1) for line in bad])
    assert dict(job.read(job.options.dead_letters_topic)) == {
        b"1:0": b"",
        b"1:1": b"\xff\xfe",
        b"1:2": b"two\nlines",
    }
    assert job.digest() == Digest.of(bad)


def test_merging_and_expiring_change_no_sum(
    make_job: Callable[..., Job], nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when the power is cut between any two files, and a driver that slept puts its file there late."""
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 1)
    job = make_job("--time", "event", "--watermark-s", "0")
    august = [line for line in nasa_lines if b"01/Aug/1995" in line][:60]
    for batch_id in range(6):
        job.batch(batch_id, *keyed(august[batch_id * 10 : batch_id * 10 + 10], 1 + batch_id * 10))
    before, held = job.rows(), job.steps.commit
    monkeypatch.setattr(folds, "FAN_IN", 3)
    first = job.files()[0]
    slept = job.hdfs.read(job.steps._files.path(first))
    with monkeypatch.context() as patch:
        patch.setattr(job.hdfs, "delete", lambda _: (_ for _ in ()).throw(CrashError()))
        with pytest.raises(CrashError):
            job.steps._files.tidy(job.steps.commit, {first.date})
    assert job.rows() == before
    again = job.steps._files.tidy(job.steps.commit, {first.date})
    assert again == {first.date}
    assert job.files()[0].tier == 1
    assert job.files()[0].last <= job.steps.commit.folded_before
    assert not job.hdfs.exists(job.steps._files.path(first))
    with job.hdfs.create(job.steps._files.path(first)) as file:
        file.write(slept or b"")
    assert job.rows() == before
    assert job.store.snapshot(step=held.step) is not None
    job.steps._look_at = 0.0
    job.steps._options = replace(job.options, keep_days=1)
    monkeypatch.setattr(folds.time, "time_ns", lambda: time.monotonic_ns() + 10**21)  # in a far year
    job.steps.tidy()
    monkeypatch.undo()
    job.steps._published()
    assert job.files() == []
    assert job.steps.commit.expired != Digest()
    assert job.digest() == Digest.of(august)


def test_a_driver_that_was_taken_over_commits_nothing(
    make_job: Callable[..., Job], nasa_lines: list[bytes]
) -> None:
    job = make_job()
    job.send(*keyed(nasa_lines[:10]))
    job.plan(0)
    old = job.steps
    job.restart()
    new, job.steps = job.steps, old
    with pytest.raises(FencedError, match="Another driver took over"):
        job.count(0)
    job.steps = new
    job.count(0)
    assert job.digest() == Digest.of(nasa_lines[:10])


def test_a_topic_made_again_is_an_error(make_job: Callable[..., Job], nasa_lines: list[bytes]) -> None:
    job = make_job()
    job.batch(0, *keyed(nasa_lines[:10]))
    job.kafka.delete_topic(job.options.topic)
    job.make_topic()
    job.send(*keyed(nasa_lines[:30], replay="other"))
    job.plan(1)
    with pytest.raises(WindowsError, match=r"was deleted and made again .* remove"):
        job.count(1)
    assert job.digest() == Digest.of(nasa_lines[:10])


def test_a_checkpoint_of_two_runs_is_an_error(make_job: Callable[..., Job], nasa_lines: list[bytes]) -> None:
    job = make_job()
    job.batch(0, *keyed(nasa_lines[:10]))
    job.send(*keyed(nasa_lines[10:20], 11))
    job.plan(0)  # as if `query` had been removed: batch 0 again, further than it was counted
    with pytest.raises(WindowsError, match="not of one run"):
        job.count(0)


def test_bounded_keys_of_the_options_are_fixed(make_job: Callable[..., Job]) -> None:
    job = make_job()
    assert job.steps.commit.parameters == job.options.fixed()
    assert replace(job.options, window_s=30, slide_s=30).fixed() != job.steps.commit.parameters
    assert Path(job.options.windows_dir).name == "windows"


def test_the_commit_alone_tells_all(make_job: Callable[..., Job], nasa_lines: list[bytes]) -> None:
    """Of each replay over all partitions, and of what has no identity; the windows themselves agree."""
    job = make_job("--time", "event", "--watermark-s", "0")
    lines, other = nasa_lines[:40], nasa_lines[40:50]
    job.batch(0, *keyed(lines[:30]), *keyed(lines[20:30], 21), *keyed(other, replay="repair-1+r"))
    job.batch(
        1, *keyed(lines[30:], 31), (b"a", None, 0), (b"b", "abc", 1), (b"b", "abc", 1), (b"c", "r:07", 0)
    )
    job.batch(2, (b"d", "r:999999999", 0), (None, None, 1), (None, "r:41", 1))
    totals = job.totals()
    everything = lines + other + [b"a", b"b", b"b", b"c", b"d", b"", b""]
    assert totals.digest == Digest.of(everything) == job.digest()
    assert totals.replays == {"r": Digest.of([*lines, b""]), "repair-1+r": Digest.of(other)}
    assert totals.numbers == {"r": 41, "repair-1+r": 10}
    assert totals.anonymous == Digest.of([b"a", b"b", b"b", b"c", b"d", b""])
    assert (totals.foreign, totals.repeats, totals.malformed) == (4, 10, 7)
    assert totals.covered_offsets == job.offsets[2]
    assert totals.topic_id == job.topics.existing(job.options.topic).topic_id
    assert job.store.totals() == totals
    job.steps._do(job.steps._fold)
    dates = {file.date for file in job.files()}
    job.steps._do(lambda: job.steps._expire(dates))  # deleted windows stay in all of it
    job.steps._published()
    assert job.files() == []
    assert job.store.totals() == job.totals() == replace(totals, committed_at=job.steps.commit.committed_at)


def test_a_driver_that_slept_changes_nothing_in_the_topic(
    make_job: Callable[..., Job], nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It sends again, late, what others have replaced since."""
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 2)
    job = make_job("--time", "event", "--watermark-s", "3600")
    old = job.steps
    sent: list[tuple[Commit, Any]] = []
    original = old._publish
    old._publish = lambda *step: (sent.append(step), original(*step))  # type: ignore[method-assign]
    for batch_id in range(4):
        job.batch(batch_id, *keyed(nasa_lines[batch_id * 20 : batch_id * 20 + 20], 1 + batch_id * 20))
    job.restart()
    job.steps._do(job.steps._close)
    job.steps._published()
    expected = job.rows()
    assert job.followed() == expected
    for commit, news, _ in sent:
        old._sender.send(job.options.windows_topic, news.records(60))
        assert job.followed() == expected, commit.kind


def test_what_a_driver_on_yarn_prints_is_read_from_hdfs_and_an_erasure_takes_it_away(
    make_job: Callable[..., Job], hdfs: Hdfs, nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "TABLES_INTERVAL_S", 0)
    settings = parse(
        spark_master="yarn", webhdfs_url=hdfs.webhdfs_url, hdfs_user=HDFS_USER,
        hdfs_checkpoint_dir=f"/user/{HDFS_USER}/printing", hdfs_windows_dir=f"/user/{HDFS_USER}/printed",
    )  # fmt: skip
    shown = follow.TablesOnHdfs(settings)
    assert shown.new_lines() == []
    job = make_job("--console-file", settings.hdfs_console_file)
    for batch_id, lines in enumerate(("3", "6")):
        job.batch(batch_id, *keyed(nasa_lines[batch_id * 3 : batch_id * 3 + 3], 1 + batch_id * 3))
        title, _, _, total, *_ = shown.new_lines()
        assert (title, total.split(" | ")[1].strip()) == ("Total requests", lines)
        assert shown.new_lines() == []
    erase_keys(settings, lambda key: key, lambda _: None)
    assert WebHdfs.of(settings).status(settings.hdfs_console_file) is None


def test_the_topic_equals_the_files_after_any_compaction(
    make_job: Callable[..., Job], nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Through folds, closed windows, late lines, and windows that a new clock opens again; in chunks."""
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 3)
    monkeypatch.setattr(kafka_rows, "_CHUNK_BYTES", 100)
    job = make_job("--time", "event", "--watermark-s", "600", "--slide-s", "30")
    august = [line for line in nasa_lines if b"01/Aug/1995" in line]
    for batch_id in range(7):
        dense = august[batch_id * 15 : batch_id * 15 + 30]
        sparse = nasa_lines[batch_id * 10 : batch_id * 10 + 20]
        job.batch(batch_id, *keyed(dense + sparse, 1 + batch_id * 50))
        if batch_id in (2, 4):
            job.steps._do(job.steps._close)
    assert job.totals().late
    records = list(job.read(job.options.windows_topic))
    values: dict[bytes, set[bytes]] = {}
    for key, value in records:
        if value is not None:
            values.setdefault(key, set()).add(value)
    assert any(key.endswith(b"|1") for key in values)
    assert {key for key, of_key in values.items() if len(of_key) > 1} == set()  # compaction may keep any
    assert followed(records) == job.rows()
    forgotten = [at for at, (_, value) in enumerate(records) if value is None]
    assert len(forgotten) > 50
    for at in random.Random(1).sample(forgotten, 20):
        assert followed(records[:at]) == followed(records[: at + 1])  # it may be gone, with what it hides
    job.steps._do(job.steps._close)
    job.steps._published()
    newest = {key: value for key, value in job.read(job.options.windows_topic) if value is not None}
    job.restart()
    job.steps._published()
    assert {k: v for k, v in job.read(job.options.windows_topic) if v is not None} == newest


def test_the_open_windows_are_made_anew_from_the_log(
    make_job: Callable[..., Job], nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 3)
    job = make_job("--time", "event", "--watermark-s", "864000")
    for batch_id in range(6):
        job.batch(batch_id, *keyed(nasa_lines[batch_id * 20 : batch_id * 20 + 20], 1 + batch_id * 20))
        held = job.steps._open.totals().sort(*KEY)
        records = pl.concat(job.steps._open._records).sort(pl.all())
        unfolded = added_up(job.steps._unfolded).sort(*KEY)
        job.restart()
        assert job.steps._open.totals().sort(*KEY).equals(held)
        assert added_up(job.steps._unfolded).sort(*KEY).equals(unfolded)
        assert pl.concat(job.steps._open._records).sort(pl.all()).equals(records)
        assert job.steps.commit.open_rows == held.height


def test_a_fold_reads_nothing_of_the_log(
    make_job: Callable[..., Job], nasa_lines: list[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each file takes HDFS some 80 ms, and the next batch waits for all of them."""
    monkeypatch.setattr(job_steps, "FOLD_STEPS", 3)
    job = make_job()

    def read(*_: object) -> None:
        raise AssertionError("a step of the log was read")

    monkeypatch.setattr(job.steps._commits, "read", read)
    for batch_id in range(8):
        job.batch(batch_id, *keyed(nasa_lines[batch_id * 20 : batch_id * 20 + 20], 1 + batch_id * 20))
    assert job.steps.commit.folded > 6
    assert job.digest() == Digest.of(nasa_lines[:160])


def test_a_checkpoint_of_the_format_before_is_refused_and_left(
    make_job: Callable[..., Job], nasa_lines: list[bytes]
) -> None:
    job = make_job()
    old = f"{job.options.checkpoint_url}-old"
    job.hdfs.write_text(f"{old}/windows/commits.3/000000000007.json", json.dumps({"format": 2, "step": 7}))
    with pytest.raises(WindowsError, match=r"has format 2, expected 3.* give a new --checkpoint-dir"):
        CommitLog(job.hdfs, old, job.options.windows_url).take_over(lambda: job.steps.commit)
    assert [entry.name for entry in job.hdfs.list(f"{old}/windows")] == ["commits.3"]


@pytest.mark.slow
def test_four_million_open_rows_in_bounded_memory(make_job: Callable[..., Job]) -> None:
    """Of lines that have nothing in common; memory is that of this process, the driver's side."""
    job = make_job("--time", "event", "--watermark-s", "600", "--max-keys", "10000000")
    line = '10.{0}.{1}.{2} - - [01/Jul/1995:00:00:01 -0400] "GET /a/{0}/{1}/{2} HTTP/1.0" 200 1'
    per_batch, batches = 500_000, 4
    before_mb = psutil.Process().memory_info().rss / 2**20
    for batch_id in range(batches):
        numbers = range(batch_id * per_batch, (batch_id + 1) * per_batch)
        producer = Producer({"bootstrap.servers": job.kafka.bootstrap, "linger.ms": 50})
        for number in numbers:
            text = line.format(number >> 16, number >> 8 & 255, number & 255)
            producer.produce(job.options.topic, text, None, number % 2)
            if number % 10_000 == 0:
                producer.flush(30)
        assert producer.flush(30) == 0
        job.plan(batch_id)
        job.count(batch_id)
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    assert job.steps.commit.open_rows >= 2 * per_batch * batches
    assert job.steps._open.totals().height == 2 * per_batch * batches + 3
    print(f"\n{job.steps.commit.open_rows} open rows: {peak_mb - before_mb:.0f} MB more")
    assert peak_mb - before_mb < 2_500
    job.restart()
    assert job.steps._open.totals().height == 2 * per_batch * batches + 3


def test_totals_before_the_first_commit_are_none(make_job: Callable[..., Job]) -> None:
    job = make_job()
    options = job.options
    files = WebHdfs(job.web.webhdfs_url, HDFS_USER)
    store = WindowStore(files, f"{options.checkpoint_dir}-none", options.windows_dir)
    assert store.commit() is None
    assert store.totals() == WindowTotals.of(None) == WindowTotals()


def numbered(lines: list[bytes], first: int, partition: int) -> list[tuple[bytes, str | None, int]]:
    return [(line, f"r:{first + at}", partition) for at, line in enumerate(lines)]


def test_offsets_that_hold_other_lines_now_are_read_again(
    make_job: Callable[..., Job], nasa_lines: list[bytes], caplog: pytest.LogCaptureFixture
) -> None:
    """The broker loses its tail and has regained more records than it lost when the job looks again."""
    job = make_job()
    lines = nasa_lines[:100]
    now_ms = time.time_ns() // 1_000_000
    job.send(*numbered(lines[:10], 1, 0), *numbered(lines[50:60], 51, 1), at_ms=now_ms)
    lose = job.kafka.will_lose_tail(job.options.topic, 0)
    job.send(*numbered(lines[10:20], 11, 0), *numbered(lines[60:65], 61, 1), at_ms=now_ms + 1)
    job.plan(0)
    job.count(0)
    lose()
    # The lines that the job has counted come again, and more, and such without identity.
    again = [*numbered(lines[5:40], 6, 0), (b"x", None, 0), *numbered(lines[60:70], 61, 1)]
    job.send(*again, at_ms=now_ms + 1000)
    job.plan(1)
    with pytest.raises(CutError, match=r"was cut, by partition at offsets \{0: 10\}"):
        job.count(1)
    assert job.steps.commit.offsets == {0: 20, 1: 15}
    job.restart()
    job.steps.mend(None)
    job.steps._published()
    assert "Partition 0 of" in caplog.text
    assert "counted up to offset 20, but the broker has lost what it held from offset 10 on" in caplog.text
    assert (job.steps.commit.offsets, job.steps.commit.batch_id) == ({0: 10, 1: 15}, -1)
    job.restart()  # a crash before the new query has begun
    job.steps.mend(None)
    job.offsets.clear()
    job.plan(0)
    job.count(0)
    expected = Digest.of([*lines[:40], *lines[50:70], b"x"])
    assert job.digest() == job.totals().digest == expected
    assert job.totals().repeats == 5 + 10 + 5
    assert not job.hdfs.exists(f"{job.options.checkpoint_url}/query")
    job.batch(1, *numbered(lines[70:75], 71, 1))
    assert job.digest() == expected + Digest.of(lines[70:75])


def test_a_batch_that_was_planned_and_lost_does_not_stop_the_job(
    make_job: Callable[..., Job], nasa_lines: list[bytes]
) -> None:
    job = make_job()
    job.batch(0, *keyed(nasa_lines[:10]))
    ends = {part: end + 1000 for part, end in job.offsets[0].items()}
    text = "v1\n{}\n" + json.dumps({job.options.topic: ends})
    job.hdfs.write_text(f"{job.steps.query_folder}/offsets/1", text)
    job.restart()
    job.steps.mend(None)
    assert job.steps.commit.query == f"query-{job.steps.commit.step}"
    assert job.steps.starts() == job.offsets.pop(0)
    job.batch(0, *keyed(nasa_lines[10:20], 11))
    assert job.digest() == Digest.of(nasa_lines[:20])


def test_what_can_not_be_mended_is_an_error(make_job: Callable[..., Job], nasa_lines: list[bytes]) -> None:
    job = make_job()
    job.batch(0, *keyed(nasa_lines[:10]))
    step = job.steps.commit.step
    job.steps.mend(None)
    assert job.steps.commit.step == step  # nothing to mend, nothing done
    loss = RuntimeError("KAFKA_DATA_LOSS")
    job.steps.mend(loss)
    with pytest.raises(WindowsError, match=r"deleted lines of .* before they were counted"):
        job.steps.mend(loss)  # a new query has met the same again
    job.send(*keyed(nasa_lines[10:20], 11))
    job.kafka.forget_before(job.options.topic, 0, job.offsets[0][0] + 1)
    with pytest.raises(WindowsError, match="raise the topic's retention"):
        job.steps.mend(loss)
