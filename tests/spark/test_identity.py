"""Each identity counts once; the oracle is a plain loop."""

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from windows.identity import Mark, Marks, drop_repeats


def records(*rows: tuple[str | None, int]) -> pl.DataFrame:
    """Records of (key, partition); arrival and offset are the row's number."""
    return pl.DataFrame(
        [(None if key is None else key.encode(), part, at, at) for at, (key, part) in enumerate(rows)],
        schema={"key": pl.Binary, "partition": pl.Int32, "offset": pl.Int64, "arrival_ms": pl.Int64},
        orient="row",
    )


def counted(frame: pl.DataFrame, marks: Marks | None = None) -> tuple[list[int], Marks]:
    kept, changed = drop_repeats(frame, marks or {})
    return kept["offset"].to_list(), changed


def test_a_resend_is_dropped() -> None:
    kept, marks = counted(records(("r:1", 0), ("r:2", 0), ("r:1", 0), ("r:2", 0), ("r:3", 0)))
    assert kept == [0, 1, 4]
    assert marks == {(0, "r"): Mark(3, 4)}


def test_partitions_and_replays_have_marks_of_their_own() -> None:
    kept, marks = counted(records(("r:5", 0), ("r:5", 1), ("s:5", 0), ("r:4", 1)))
    assert kept == [0, 1, 2]
    assert set(marks) == {(0, "r"), (1, "r"), (0, "s")}


def test_marks_of_former_batches_hold() -> None:
    kept, marks = counted(records(("r:2", 0), ("r:3", 0)), {(0, "r"): Mark(2, 99)})
    assert kept == [1]
    assert marks == {(0, "r"): Mark(3, 99)}


def test_records_without_identity_all_count() -> None:
    kept, marks = counted(
        records((None, 0), (None, 0), ("no number", 0), ("no number", 0), ("r:x", 0), ("r:x", 0))
    )
    assert kept == [0, 1, 2, 3, 4, 5]
    assert marks == {}


def test_replay_ids_may_hold_colons() -> None:
    kept, marks = counted(
        records(("manual__2026-11-23T08:22:59+00:00:7", 0), ("manual__2026-11-23T08:22:59+00:00:7", 0))
    )
    assert kept == [0]
    assert marks == {(0, "manual__2026-11-23T08:22:59+00:00"): Mark(7, 1)}


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.none() | st.builds("{}:{}".format, st.sampled_from("rs"), st.integers(0, 9)), st.integers(0, 1)
        ),
        max_size=30,
    ),
    st.integers(1, 7),
)
def test_in_whatever_batches(rows: list[tuple[str | None, int]], batch: int) -> None:
    expected, highest = [], {}
    for offset, (key, part) in enumerate(rows):
        if key is None:
            expected.append(offset)
            continue
        replay, _, number = key.rpartition(":")
        if int(number) > highest.get((part, replay), -1):
            highest[part, replay] = int(number)
            expected.append(offset)
    frame, marks, kept = records(*rows), {}, []
    for start in range(0, len(rows), batch):
        offsets, changed = counted(frame.slice(start, batch), marks)
        marks |= changed
        kept += offsets
    assert kept == expected
    assert {replay: mark.number for replay, mark in marks.items()} == highest
