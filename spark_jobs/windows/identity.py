"""Counts each record's identity once.

A record's key ``<replay>:<line number>`` is its identity. The lines of a replay stand in order in a Kafka
partition, so a record is a repeat exactly when its number is not above the highest seen of its replay in
its partition. Those high-water marks are all that has to be remembered. A record without such a key has no
identity and is never a repeat.
"""

from typing import NamedTuple

import polars as pl

from windows.parse import line_texts

_IDENTITY = r"^(.+):([0-9]{1,18})$"


class Mark(NamedTuple):
    """The highest line number seen of a replay in a Kafka partition, and when it last sent a line."""

    number: int
    last_arrival_ms: int


Marks = dict[tuple[int, str], Mark]  # by Kafka partition and replay


def drop_repeats(records: pl.DataFrame, marks: Marks) -> tuple[pl.DataFrame, Marks]:
    """Drop the records whose identity was seen.

    Args:
        records: Columns ``key`` (binary, may be null), ``partition``, ``arrival_ms``, in offset order within
            each partition.
        marks: The marks before these records.

    Returns:
        The records that count, and the marks that changed.
    """
    groups = line_texts(records["key"]).str.extract_groups(_IDENTITY).struct.unnest()
    identity = records.select("partition", "arrival_ms").hstack(groups)
    identity = identity.select(
        "partition", "arrival_ms", replay=pl.col("1"), number=pl.col("2").cast(pl.Int64)
    )
    known = identity.drop_nulls("number")
    if known.is_empty():
        return records, {}
    by_replay = known.group_by("partition", "replay").agg(
        pl.col("number").max(),
        pl.col("arrival_ms").max(),
        first=pl.col("number").first(),
        in_order=(pl.col("number").diff() > 0).all(),
    )
    changed: Marks = {}
    repeats_possible = False
    for partition, replay, number, arrival_ms, first, in_order in by_replay.iter_rows():
        before = marks.get((partition, replay), Mark(-1, 0))
        changed[partition, replay] = Mark(max(before.number, number), max(before.last_arrival_ms, arrival_ms))
        repeats_possible |= not in_order or first <= before.number
    if not repeats_possible:
        return records, changed
    return records.filter(~_is_repeat(identity, marks)), changed


def _is_repeat(identity: pl.DataFrame, marks: Marks) -> pl.Series:
    """True for each row whose number is not above all before it."""
    known = pl.DataFrame(
        [(partition, replay, mark.number) for (partition, replay), mark in marks.items()],
        schema={"partition": identity.schema["partition"], "replay": pl.String, "mark": pl.Int64},
        orient="row",
    )
    highest = pl.col("number").cum_max().shift(1).over("partition", "replay")
    return (
        identity.with_columns(highest=highest)
        .join(known, on=["partition", "replay"], how="left", maintain_order="left")
        .select(
            repeat=(pl.col("number") <= pl.max_horizontal("highest", "mark").fill_null(-1)).fill_null(False)
        )
        .to_series()
    )
