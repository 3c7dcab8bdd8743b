"""Counts each record's identity once: the rule of `logpipe.identity`, over whole frames of records.

What has to be remembered is a mark for each replay in each Kafka partition. A record without identity (it has
no key, or a foreign one) is never a repeat.
"""

from typing import Any, NamedTuple

import polars as pl

from logpipe.contracts.chain import Mark
from logpipe.digest import Digest
from logpipe.formats.columns import line_texts
from logpipe.identity import KEY_PATTERN, MAX_JUMP, Identities, Verdict
from logpipe.windows.commit import Marks

_UNSEEN = Mark(0, 0, Digest())
_SUMS = ("lines", "line_bytes", "hash")
_MODULUS = 1 << 64


class Judged(NamedTuple):
    """What a frame of records holds.

    Attributes:
        counted: the records that count.
        replays: of each of these the replay; null where it has no identity.
        marks: the marks that changed; their digests are of all records so far.
        anonymous: digest of the lines without identity.
        foreign: records whose key is no identity.
    """

    counted: pl.DataFrame
    replays: pl.Series
    marks: Marks
    anonymous: Digest
    foreign: int


def drop_repeats(records: pl.DataFrame, marks: Marks) -> Judged:
    """Drop the records whose identity was seen.

    Args:
        records: Columns ``key`` (binary, may be null), ``partition``, ``arrival_ms``, ``line_bytes`` and
            ``hash``, in offset order within each partition.
        marks: The marks before these records.
    """
    groups = line_texts(records["key"]).str.extract_groups(KEY_PATTERN).struct.unnest()
    rows = records.select("partition", "arrival_ms", "line_bytes", "hash").with_columns(
        replay=groups["1"], number=groups["2"].cast(pl.Int64), lines=pl.lit(1, pl.Int64)
    )
    replays = _by_replay(rows)
    repeats_possible = jumps_possible = False
    for (partition, replay), seen in replays.items():
        mark = marks.get((partition, replay), _UNSEEN).number
        repeats_possible |= not seen["in_order"] or seen["first"] <= mark
        jumps_possible |= seen["number"] - mark > MAX_JUMP
    if jumps_possible or repeats_possible:
        if jumps_possible:
            verdicts = _verdicts(records, marks)
            rows = rows.with_columns(pl.when(verdicts != Verdict.FOREIGN.value).then(pl.col("replay")))
            repeats = verdicts == Verdict.REPEAT.value
        else:
            repeats = _repeats(rows, marks)
        records = records.filter(~repeats)
        kept = rows["replay"].filter(~repeats)
        rows = rows.with_columns(pl.when(~repeats).then(pl.col(*_SUMS)).otherwise(0))
        replays = _by_replay(rows)
    else:
        kept = rows["replay"]
    changed = {place: _advanced(marks.get(place, _UNSEEN), seen) for place, seen in replays.items()}
    without = rows.filter(pl.col("replay").is_null())
    foreign = without.height - records["key"].null_count()
    anonymous = _digest(without.select(pl.col(*_SUMS).sum()).row(0, named=True))
    return Judged(records, kept, changed, anonymous, foreign)


def _by_replay(rows: pl.DataFrame) -> dict[tuple[int, str], dict[str, Any]]:
    """Sum the rows that have an identity by partition and replay."""
    summed = (
        rows.drop_nulls("replay")
        .group_by("partition", "replay")
        .agg(
            pl.col("number", "arrival_ms").max(),
            pl.col(*_SUMS).sum(),
            first=pl.col("number").first(),
            in_order=(pl.col("number").diff() > 0).all(),
        )
    )
    return {(row["partition"], row["replay"]): row for row in summed.iter_rows(named=True)}


def _digest(sums: dict[str, int]) -> Digest:
    return Digest(sums["lines"], sums["line_bytes"], sums["hash"] % _MODULUS)


def _advanced(mark: Mark, seen: dict[str, Any]) -> Mark:
    """A mark after more records of its replay; repeats among them move its time only."""
    return Mark(
        max(mark.number, seen["number"]),
        max(mark.last_arrival_ms, seen["arrival_ms"]),
        mark.digest + _digest(seen),
    )


def _repeats(rows: pl.DataFrame, marks: Marks) -> pl.Series:
    """True for each row whose number is not above all before it; for frames without a jump."""
    known = pl.DataFrame(
        [(partition, replay, mark.number) for (partition, replay), mark in marks.items()],
        schema={"partition": rows.schema["partition"], "replay": pl.String, "mark": pl.Int64},
        orient="row",
    )
    highest = pl.col("number").cum_max().shift(1).over("partition", "replay")
    return (
        rows.with_columns(highest=highest)
        .join(known, on=["partition", "replay"], how="left", maintain_order="left")
        .select(
            repeat=(pl.col("number") <= pl.max_horizontal("highest", "mark").fill_null(0)).fill_null(False)
        )
        .to_series()
    )


def _verdicts(records: pl.DataFrame, marks: Marks) -> pl.Series:
    """Judge the records one by one; for frames that may hold a jump, which no replay's does."""
    identities = Identities({place: mark.number for place, mark in marks.items()})
    places = zip(records["partition"], records["key"], strict=True)
    return pl.Series([identities.judge(*place).value for place in places], dtype=pl.String)
