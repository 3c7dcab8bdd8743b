"""Counts raw lines in a Spark task: from Arrow batches of records to a few partial rows.

Runs in Spark's Python workers. A task holds one offset range of one Kafka partition, in order.
"""

import gc
import pickle
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from typing import TYPE_CHECKING, NamedTuple

import polars as pl
import pyarrow as pa

from logpipe.contracts.formats import Entry
from logpipe.digest import Digest
from logpipe.settings import TimeMode
from logpipe.windows.commit import Marks
from windows.dimensions import DIMENSIONS, TOTAL, Dimension
from windows.identity import Judged, drop_repeats
from windows.reading import read_lines

if TYPE_CHECKING:
    from pyspark.sql import DataFrame

LATE = "late"
_SUMS = ("lines", "sent_bytes", "line_bytes", "hash_sum")
_NO_ROWS = pl.DataFrame(
    schema={"bucket_s": pl.Int64, "dimension": pl.String, "key": pl.String} | dict.fromkeys(_SUMS, pl.Int64)
)
_AHEAD_MS = 86_400_000  # a time this far ahead of the line's arrival says nothing about the stream's clock

# A task's one row: its partial rows as Arrow IPC, since Spark hands one value over for less than many rows,
# and its `RangeSummary`, pickled; beside each other, so that a task that ran twice counts once.
RESULT_SCHEMA = "rows binary, summary binary"


class RangeSummary(NamedTuple):
    """What a task saw in its offset range; counts are lines, ``foreign`` are records."""

    partition: int
    first_offset: int
    last_offset: int
    lines: int
    repeats: int
    late: int
    malformed: int
    line_bytes: int
    hash_sum: int
    max_arrival_ms: int
    max_time_ms: int | None
    marks: Marks
    anonymous: Digest
    foreign: int


@dataclass(frozen=True)
class CountPlan:
    """How to count a batch: sent to the tasks.

    Attributes:
        time: ``arrival`` (Kafka's record time) or ``event`` (the line's own time; of a line without a
            readable time the arrival).
        window_s: Length of a window.
        slide_s: Step from window to window; a bucket's length.
        closed_until_ms: Windows that end by then are closed; their lines are late. None: nothing is late.
        marks: High-water marks of the identities.
        formats: How the lines of a replay are read, see `logpipe.contracts.formats.entry_of`.
        keep: Takes dead letters, columns ``partition, offset, reason, line``; twice when a task runs twice.
    """

    time: TimeMode
    window_s: int
    slide_s: int
    closed_until_ms: int | None
    marks: Marks
    formats: Mapping[str, Entry]
    keep: Callable[[pl.DataFrame], None]


def with_time(lines: pl.DataFrame, plan: CountPlan) -> pl.DataFrame:
    """Add ``dated_ms``, ``bucket_s`` (start of the newest window that holds the line) and ``late``."""
    arrival = pl.col("arrival_ms")
    dated_ms = arrival if plan.time == "arrival" else pl.coalesce("time_ms", "arrival_ms")
    bucket_s = pl.col("dated_ms") // (plan.slide_s * 1000) * plan.slide_s
    late = (
        (pl.col("bucket_s") + plan.window_s) * 1000 <= plan.closed_until_ms
        if plan.closed_until_ms is not None
        else pl.lit(False)
    )
    return lines.with_columns(dated_ms=dated_ms).with_columns(bucket_s=bucket_s).with_columns(late=late)


def count_rows(lines: pl.DataFrame) -> pl.DataFrame:
    """Count parsed lines by bucket, dimension and key.

    Args:
        lines: Columns of `logpipe.formats.fields.Parsed`, ``bucket_s``, ``line_bytes`` and ``hash``.

    Returns:
        Columns ``bucket_s, dimension, key, lines, sent_bytes, line_bytes, hash_sum`` (modulo 2**64, signed).
    """
    rows, by_field = [_NO_ROWS], dict[str, pl.DataFrame]()
    for dimension in DIMENSIONS:
        if not dimension.has_keys(lines):
            continue
        if dimension.derive is None:
            counted = _by_value(lines, dimension)
        else:  # what several dimensions are derived from is added up once
            if dimension.field not in by_field:
                by_field[dimension.field] = _by_value(lines, dimension)
            counted = by_field[dimension.field]
        keyed = counted.with_columns(dimension.of(counted["key"]), dimension=pl.lit(dimension.name))
        if dimension.derive is not None:
            keyed = keyed.drop_nulls("key").group_by("bucket_s", "dimension", "key").sum()
        rows.append(keyed.select(_NO_ROWS.columns))
    return pl.concat(rows)


def _by_value(lines: pl.DataFrame, dimension: Dimension) -> pl.DataFrame:
    """Sums by bucket and value, in the column ``key``, of the lines that have one."""
    is_total = dimension.name == TOTAL
    return (
        lines.select("bucket_s", "sent_bytes", "line_bytes", "hash", key=dimension.value)
        .drop_nulls("key")
        .group_by("bucket_s", "key")
        .agg(
            lines=pl.len().cast(pl.Int64),
            sent_bytes=pl.col("sent_bytes").sum(),
            line_bytes=pl.col("line_bytes").sum() if is_total else pl.lit(0, pl.Int64),
            hash_sum=pl.col("hash").sum() if is_total else pl.lit(0, pl.Int64),
        )
    )


def merge_rows(rows: list[pl.DataFrame]) -> pl.DataFrame:
    """Sum rows of the same bucket, dimension and key."""
    return pl.concat(rows).group_by("bucket_s", "dimension", "key").sum() if len(rows) > 1 else rows[0]


def dead_letters(lines: pl.DataFrame) -> pl.DataFrame:
    """The malformed and the late lines, with place and reason."""
    reason = pl.coalesce("reason", pl.when("late").then(pl.lit(LATE)))
    return lines.select("partition", "offset", reason=reason, line="value").drop_nulls("reason")


@cache
def _spare_imports_the_collector() -> None:
    """Once a worker: PySpark collects garbage after each task, and would go over all imported modules."""
    gc.collect()
    gc.freeze()


def count_lines(batches: Iterator[pa.RecordBatch], plan: CountPlan) -> Iterator[pa.RecordBatch]:
    """Count a task's records (columns ``key, value, partition, offset, arrival_ms, hash``).

    Yields:
        One row of `RESULT_SCHEMA`, see `result_of`; none for no records.
    """
    _spare_imports_the_collector()
    marks: Marks = dict(plan.marks)
    changed: Marks = {}
    summary: RangeSummary | None = None
    rows: list[pl.DataFrame] = []
    for batch in batches:
        records = pl.from_arrow(batch)
        assert isinstance(records, pl.DataFrame)
        if records.is_empty():
            continue
        judged = drop_repeats(
            records.with_columns(line_bytes=pl.col("value").bin.size().cast(pl.Int64)), marks
        )
        marks |= judged.marks
        changed |= judged.marks
        lines = with_time(read_lines(judged, plan.formats), plan)
        summary = _summed(summary, records, judged, lines, changed, plan.time)
        rows.append(count_rows(lines))
        dead = dead_letters(lines)
        if not dead.is_empty():
            plan.keep(dead)
    if summary is not None:
        content = merge_rows(rows).write_ipc(None, compression="lz4").getvalue()
        yield pa.record_batch(
            [pa.array([content], pa.binary()), pa.array([pickle.dumps(summary)], pa.binary())],
            names=["rows", "summary"],
        )


def count_batch(records: "DataFrame", plan: CountPlan) -> list[tuple[pl.DataFrame, RangeSummary]]:
    """Have Spark's tasks count a batch (columns as in `count_lines`); gives what each has seen."""
    counted = records.mapInArrow(partial(count_lines, plan=plan), RESULT_SCHEMA).collect()
    return [result_of(bytes(row.rows), bytes(row.summary)) for row in counted]


def result_of(rows: bytes, summary: bytes) -> tuple[pl.DataFrame, RangeSummary]:
    """What a task gave: rows as of `count_rows`, and the summary of its range."""
    return pl.read_ipc(rows), pickle.loads(summary)  # noqa: S301 - of a worker of this job


def _summed(
    before: RangeSummary | None, records: pl.DataFrame, judged: Judged, lines: pl.DataFrame, marks: Marks,
    time: TimeMode,
) -> RangeSummary:  # fmt: skip
    """Add a batch of a task's range to its summary."""
    # A line without readable time stands in its arrival window, but says nothing about the log's clock.
    told = pl.lit(True) if time == "arrival" else pl.col("time_ms") <= pl.col("arrival_ms") + _AHEAD_MS
    max_time_ms = lines.filter(told)["dated_ms"].max()
    now = RangeSummary(
        partition=int(records["partition"][0]),
        first_offset=int(records["offset"][0]),
        last_offset=int(records["offset"][-1]),
        lines=lines.height,
        repeats=records.height - lines.height,
        late=int(lines["late"].sum()),
        malformed=lines.height - lines["reason"].null_count(),
        line_bytes=int(lines["line_bytes"].sum()),
        hash_sum=int(lines["hash"].sum()),
        max_arrival_ms=int(records["arrival_ms"].max()),
        max_time_ms=None if max_time_ms is None else int(max_time_ms),
        marks=dict(marks),
        anonymous=judged.anonymous,
        foreign=judged.foreign,
    )
    if before is None:
        return now
    times = [time for time in (before.max_time_ms, now.max_time_ms) if time is not None]
    return RangeSummary(
        partition=before.partition,
        first_offset=before.first_offset,
        last_offset=now.last_offset,
        lines=before.lines + now.lines,
        repeats=before.repeats + now.repeats,
        late=before.late + now.late,
        malformed=before.malformed + now.malformed,
        line_bytes=before.line_bytes + now.line_bytes,
        hash_sum=before.hash_sum + now.hash_sum,
        max_arrival_ms=max(before.max_arrival_ms, now.max_arrival_ms),
        max_time_ms=max(times, default=None),
        marks=dict(marks),
        anonymous=before.anonymous + now.anonymous,
        foreign=before.foreign + now.foreign,
    )
