"""Compares source, topic, HDFS and windows as multisets of lines; says what is lost and what is doubled."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from logpipe.accounting import topic
from logpipe.accounting.difference import Difference, LineCounts
from logpipe.accounting.hdfs import Hdfs
from logpipe.accounting.source import SourceGoneError, replays, sent_lines
from logpipe.accounting.topic import IdentityFilter, TopicDigest
from logpipe.accounting.windows import read_window_totals
from logpipe.digest import Digest, DigestBuilder, line_hash
from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.urls import mask_passwords
from logpipe.settings import Settings

EXAMPLES = 5
CHUNK_LINES = 10_000


class Progress(Protocol):
    """Told how far the reading is."""

    def __call__(self, what: str, lines: int) -> None:
        """Take note of the lines read so far of ``what``: topic or hdfs."""


def _silent(what: str, lines: int) -> None:
    """Nobody looks."""


@dataclass(frozen=True)
class Accounting:
    """Lines sent, and lines found at each stage; lost and doubled come from comparing the lines."""

    source: int
    topic: int
    hdfs: int
    windows: int
    lost: int
    doubled: int
    details: tuple[str, ...] = field(default=())

    @property
    def ok(self) -> bool:
        """Whether every line arrived everywhere exactly once."""
        return self.lost == 0 and self.doubled == 0

    def to_json(self) -> dict[str, int]:
        """The object that `make verify` ends with."""
        names = ("source", "topic", "hdfs", "windows", "lost", "doubled")
        return {name: getattr(self, name) for name in names}


def verify(settings: Settings, progress: Progress = _silent) -> Accounting:
    """Account for every line of every replay since the topic was made.

    A topic from which retention took records cannot hold what was sent: it is left out of lost and doubled.

    Raises:
        TopicError, HdfsError, WindowsError: a stage cannot be read.
        SourceGoneError: a replay's record cannot be read.
    """
    records = replays(settings)
    sent = sum((record.digest for record in records), start=Digest())
    in_topic = _digest_topic(settings, progress)
    # Lines without identity that no replay can have sent came from other clients of the netcat source.
    has_anonymous_replays = any(record.spec.profile == "memory" and record.digest.lines for record in records)
    others = Digest() if has_anonymous_replays else in_topic.anonymous
    expected = sent + others
    found = {
        "topic": in_topic.total,
        "hdfs": _digest(_hdfs_lines(settings), "hdfs", progress),
        "windows": read_window_totals(
            settings.webhdfs_url, settings.hdfs_windows_dir, settings.hdfs_checkpoint_dir
        ),
    }
    expired = topic.expired_records(settings)
    counts = {
        name: LineCounts.of_counts(expected.lines, digest.lines)
        for name, digest in found.items()
        if digest != expected and not (name == "topic" and expired)
    }
    details = [f"{others.lines:,} lines of other netcat clients, without identity"] if others.lines else []
    if in_topic.repeats:
        details.append(
            f"{in_topic.repeats:,} repeated records in the topic, known by their identity and left out"
        )
    if expired:
        details.append(f"Kafka's retention has taken {expired:,} records: only HDFS and windows are compared")
    if stages := counts.keys() & {"topic", "hdfs"}:
        try:
            with Difference(settings) as difference:
                difference.add(
                    "source", (line for record in records for _, line in sent_lines(record, settings))
                )
                if others.lines:
                    difference.add("source", topic_lines(settings, anonymous_only=True))
                difference.add("topic", topic_lines(settings))
                difference.add("hdfs", _hdfs_lines(settings))
                for stage in sorted(stages):
                    counts[stage] = difference.compare("source", stage)
                    details += _examples(stage, difference, records, settings)
        except SourceGoneError as error:
            details.append(f"The lines cannot be named, only counted: {error}")
            counts |= {stage: _at_least_one(counts[stage]) for stage in stages}
    if "windows" in counts:
        counts["windows"] = _at_least_one(counts["windows"])
    summaries = [
        f"{stage}: {count.missing:,} lines missing, {count.surplus:,} too many"
        for stage, count in sorted(counts.items())
    ]
    return Accounting(
        source=sent.lines,
        topic=found["topic"].lines,
        hdfs=found["hdfs"].lines,
        windows=found["windows"].lines,
        lost=max((count.missing for count in counts.values()), default=0),
        doubled=max((count.surplus for count in counts.values()), default=0),
        details=(*summaries, *details),
    )


def topic_lines(settings: Settings, *, anonymous_only: bool = False) -> Iterator[bytes]:
    """The topic's lines, each identity once."""
    identities = IdentityFilter()
    for record in topic.records(settings):
        if identities.is_new(record) and not (anonymous_only and record.key is not None):
            yield record.value


def _digest_topic(settings: Settings, progress: Progress) -> TopicDigest:
    identities = IdentityFilter()
    identified, anonymous = DigestBuilder(), DigestBuilder()
    repeats = 0
    for record in topic.records(settings):
        if not identities.is_new(record):
            repeats += 1
        elif record.key is None:
            anonymous.add(record.value)
        else:
            identified.add(record.value)
        if record.offset % CHUNK_LINES == 0:
            progress("topic", identified.lines + anonymous.lines)
    return TopicDigest(identified.build(), anonymous.build(), repeats)


def _hdfs_lines(settings: Settings) -> Iterator[bytes]:
    return (line for lines in Hdfs(settings).all_lines() for line in lines)


def _digest(lines: Iterator[bytes], what: str, progress: Progress) -> Digest:
    builder = DigestBuilder()
    for line in lines:
        builder.add(line)
        if builder.lines % CHUNK_LINES == 0:
            progress(what, builder.lines)
    return builder.build()


def _at_least_one(counts: LineCounts) -> LineCounts:
    """Where digests differ and counts do not, at least one line was replaced by another."""
    return counts if counts.missing or counts.surplus else LineCounts(1, 1)


def _examples(
    stage: str, difference: Difference, records: list[ReplayRecord], settings: Settings
) -> list[str]:
    """Some of the very lines that a stage lacks or has too often."""
    wanted = difference.hashes("source", stage, EXAMPLES)
    texts = []
    for record in records:
        for number, line in sent_lines(record, settings) if wanted else ():
            count = wanted.pop(line_hash(line), None)
            if count is not None:
                what = f"lacks {count}" if count > 0 else f"has {-count} too many"
                texts.append(
                    f"  {stage} {what} of {mask_passwords(record.spec.url)} line {number}: {line[:120]!r}"
                )
    return texts + [f"  {stage} has a line that no replay sent, hash {line:016x}" for line in wanted]
