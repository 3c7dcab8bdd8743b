"""Rows of windows, their files and records, on tiny frames."""

import io
import json
from dataclasses import replace
from typing import Any

import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpipe.windows.commit import Commit
from logpipe.windows.reader import commit_of
from windows import kafka_rows, rows
from windows.folds import by_date
from windows.open_windows import OpenWindows

START = Commit(0, "start", {"window_s": 60}, "x")


def frame(*values: tuple[int, str, str, int], hash_sum: int = 0) -> pl.DataFrame:
    """Rows of (start, dimension, key, lines)."""
    full = [
        (start, name, key, lines, lines * 10, lines * 100, hash_sum) for start, name, key, lines in values
    ]
    return pl.DataFrame(full, schema=rows.no_rows().schema, orient="row")


def partial(*values: tuple[int, str, str, int]) -> pl.DataFrame:
    return frame(*values).rename({"start_s": "bucket_s"})


def of(values: pl.DataFrame, *columns: str) -> list[tuple[object, ...]]:
    return sorted(values.select(columns).rows())


def test_tumbling_windows_of_several_tasks() -> None:
    found = rows.to_windows(
        [partial((60, "host", "a", 2)), partial((60, "host", "a", 1), (120, "host", "a", 1))], 60, 60
    )
    assert of(found, "start_s", "key", "lines", "sent_bytes") == [(60, "a", 3, 30), (120, "a", 1, 10)]
    of_one = rows.to_windows([partial((60, "host", "a", 2))], 60, 60)
    assert of(of_one, "start_s", "key", "lines") == [(60, "a", 2)]
    assert rows.to_windows([], 60, 60).is_empty()


def test_sliding_windows_hold_a_line_several_times() -> None:
    found = rows.to_windows([partial((120, "host", "a", 2))], 60, 20)
    assert of(found, "start_s", "lines") == [(80, 2), (100, 2), (120, 2)]


def test_sums_wrap_around_at_64_bits() -> None:
    parts = [frame((0, "total", "", 1), hash_sum=2**63 - 1), frame((0, "total", "", 1), hash_sum=2)]
    assert of(rows.added_up(parts), "lines", "hash_sum") == [(2, -(2**63) + 1)]


def test_keys_with_few_lines_are_folded_and_the_sums_stay() -> None:
    many = frame(
        (60, "host", "a", 5), (60, "host", "b", 2), (60, "host", "c", 2), (60, "host", "d", 1),
        (60, "status", "200", 9), (60, "total", "", 10), (120, "host", "c", 1), (120, "host", "d", 1),
    )  # fmt: skip
    found = rows.capped(many, 2)
    assert of(found, "start_s", "dimension", "key", "lines") == [
        (60, "host", "(other)", 3), (60, "host", "a", 5), (60, "host", "b", 2), (60, "status", "200", 9),
        (60, "total", "", 10), (120, "host", "c", 1), (120, "host", "d", 1),
    ]  # fmt: skip
    assert rows.capped(many, 4) is many
    assert of(rows.capped(many.reverse(), 2), *found.columns) == of(found, *found.columns)


def test_status_codes_are_kept_however_many_there_are() -> None:
    many = frame(
        *((60, "status", f"{code}", 1) for code in range(200, 206)),
        *((60, "host", f"h{number}", 1) for number in range(6)),
    )
    found = rows.capped(many, 2).group_by("dimension").len("keys")
    assert of(found, "dimension", "keys") == [("host", 3), ("status", 6)]


KEYS = st.text("abcdefg", min_size=1, max_size=2) | st.just(rows.OTHER)


@given(st.lists(st.tuples(st.sampled_from([0, 60]), KEYS, st.integers(1, 9))))
def test_folding_keeps_sums_and_most_keys(lines: list[tuple[int, str, int]]) -> None:
    made = rows.added_up([frame(*((start, "host", key, count) for start, key, count in lines))])
    found = rows.capped(made, 3)
    by_window = pl.col("lines", "sent_bytes").sum()
    sums = [each.group_by("start_s").agg(by_window).sort("start_s") for each in (made, found)]
    assert sums[0].equals(sums[1])
    own, kept = (each.filter(pl.col("key") != rows.OTHER) for each in (made, found))
    distinct, left = (each.group_by("start_s").len().sort("start_s") for each in (own, kept))
    assert left["len"].to_list() == [min(3, count) for count in distinct["len"]]
    assert kept.join(own, on=own.columns, how="anti").is_empty()
    folded = own.join(kept, on=["start_s", "key"], how="anti")
    least = kept.group_by("start_s").agg(least=pl.col("lines").min())
    assert folded.join(least, on="start_s").filter(pl.col("lines") > pl.col("least")).is_empty()


def test_a_file_holds_rows_and_commit() -> None:
    written, file = frame((60, "total", "", 3), (86_400, "host", "é\x00", 1), hash_sum=-5), io.BytesIO()
    rows.write(written, file, replace(START, step=7))
    assert commit_of(file.getvalue()) == replace(START, step=7)
    assert rows.read(file).equals(written)
    assert rows.height(file) == 2
    assert of(rows.read(file, rows.COUNTS, 0, 86_400), "start_s", "lines") == [(60, 3)]
    schema = pq.read_schema(file)
    assert [str(field.type) for field in schema] == [
        "timestamp[us, tz=UTC]",
        "string",
        "string",
        *["int64"] * 4,
    ]


def file_of(*tables: pl.DataFrame) -> io.BytesIO:
    file = io.BytesIO()
    with rows.writer(file) as writer:
        for table in tables:
            writer.write_table(rows.to_arrow(table))
    return file


def test_rows_without_digests_have_zeros_in_a_file() -> None:
    file = io.BytesIO()
    rows.write(frame((60, "total", "", 3), hash_sum=7).select(*rows.KEY, *rows.COUNTS), file)
    assert rows.read(file).rows() == [(60, "total", "", 3, 30, 0, 0)]


@pytest.mark.parametrize("has_statistics", [True, False])
@pytest.mark.parametrize(
    ("first_s", "last_s", "lines"),
    [(0, 60, [1]), (60, 120, [2, 3]), (60, 121, [2, 3, 4]), (120, 180, [4]), (1, 60, []), (180, 240, [])],
)
def test_what_begins_in_a_time_is_read_of_a_file(
    has_statistics: bool, first_s: int, last_s: int, lines: list[int]
) -> None:
    tables = [
        frame((0, "host", "a", 1), (60, "host", "a", 2)),
        frame((60, "host", "b", 3), (120, "host", "a", 4)),
    ]
    file = file_of(*tables)
    if not has_statistics:
        pq.write_table(pq.read_table(file), file := io.BytesIO(), write_statistics=False)
    assert rows.height(file) == 4
    assert rows.read(file).equals(pl.concat(tables))
    assert rows.read(file, rows.COUNTS, first_s, last_s)["lines"].to_list() == lines


class Counted(io.BytesIO):
    """A file that knows how many bytes were read of it."""

    taken = 0

    def read(self, size: int | None = -1) -> bytes:
        found = super().read(size)
        self.taken += len(found)
        return found


def test_what_is_not_asked_for_is_not_read() -> None:
    hosts = [f"{number:x}" for number in range(2_000)]
    content = file_of(
        *(frame(*((start_s, "host", key, 1) for key in hosts)) for start_s in (0, 60, 120, 180))
    )

    def taken(*asked: Any) -> int:
        file = Counted(content.getvalue())
        rows.read(file, *asked)
        return file.taken

    footer = taken(rows.SUMS, 240, 300)
    everything = taken() - footer
    assert 0 < taken(rows.SUMS, 60, 120) - footer < everything / 3
    assert taken(rows.COUNTS) - footer < everything


def test_the_digests_of_a_dimension_are_read_of_a_file() -> None:
    file = file_of(
        frame((0, "total", "", 3), (0, "host", "a", 3), hash_sum=5), frame((60, "total", "", 2), hash_sum=-6)
    )
    batches = list(rows.batches(file, "total"))
    assert [batch.schema.names for batch in batches] == [["window_start", "lines", "line_bytes", "hash_sum"]]
    found = pl.DataFrame(pl.from_arrow(batches)).with_columns(pl.col("window_start").dt.epoch("s"))
    assert found.rows() == [(0, 3, 300, 5), (60, 2, 200, -6)]


def test_rows_by_date_stand_as_in_files_each_dimension_together() -> None:
    found = by_date(
        frame(
            (86_399, "total", "", 1), (0, "host", "b", 2), (86_400, "host", "a", 3), (60, "host", "a", 4),
            (0, "host", "a", 5),
        )
    )  # fmt: skip
    assert found.keys() == {"1970-01-01", "1970-01-02"}
    assert found["1970-01-01"].select("dimension", "start_s").rows() == [
        ("host", 0), ("host", 0), ("host", 60), ("total", 86_399),
    ]  # fmt: skip
    assert (
        found["1970-01-01"]
        .sort("dimension", "start_s", "key")
        .equals(
            frame((0, "host", "a", 5), (0, "host", "b", 2), (60, "host", "a", 4), (86_399, "total", "", 1))
        )
    )
    assert found["1970-01-02"].equals(frame((86_400, "host", "a", 3)))


def test_top_keys_of_each_window_say_how_many_there_are() -> None:
    found = rows.top_keys(
        frame(
            (0, "host", "a", 2), (0, "host", "d", 5), (0, "host", "c", 5), (0, "host", "b", 5),
            (0, "status", "200", 9), (60, "host", "a", 1),
        ),
        2,
    )  # fmt: skip
    assert of(found, "start_s", "dimension", "key", "lines", "keys") == [
        (0, "host", "b", 5, 4), (0, "host", "c", 5, 4), (0, "status", "200", 9, 1), (60, "host", "a", 1, 1),
    ]  # fmt: skip


def test_records_of_rows() -> None:
    odd = '/a|"\\\x01é'
    (record,) = kafka_rows.window_records(
        frame((60, "endpoint", odd, 4), (60, "endpoint", "/", 1)), 60, 2, 3, True
    )
    assert record[0] == "1970-01-01T00:01:00Z|endpoint|2-3|0"
    assert json.loads(record[1]) == {
        "window_start": "1970-01-01T00:01:00Z", "window_end": "1970-01-01T00:02:00Z", "dimension": "endpoint",
        "since": 2, "step": 3, "final": True,
        "rows": [{"key": "/", "lines": 1, "sent_bytes": 10}, {"key": odd, "lines": 4, "sent_bytes": 40}],
    }  # fmt: skip


@pytest.mark.parametrize("key", ["k" * 500, "\x01" * 500, "日" * 500])
def test_large_records_are_cut_into_chunks_that_brokers_take(key: str) -> None:
    many = frame(*((60, "host", f"{key}{number:04d}", 1) for number in range(1_500)))
    records = list(kafka_rows.window_records(many, 60, 1, 1, False))
    assert max(len(value.encode()) for _, value in records) < 1_000_000
    assert sum(len(json.loads(value)["rows"]) for _, value in records) == 1_500
    told = kafka_rows.chunks_of(many).with_columns(since=pl.lit(1), step=pl.lit(1))
    keys = [key for key, _ in kafka_rows.tombstones(told)]
    assert keys[: len(records)] == [key for key, _ in records]
    assert len(keys) <= len(records) + 1


def test_open_windows_stay_small_when_windows_close() -> None:
    windows, before = OpenWindows(60, START, rows.no_rows()), START
    heights = []
    for minute in range(50):
        after = replace(before, step=minute + 1, kind="batch", watermark_ms=minute * 60_000)
        added = frame(*((minute * 60, "host", f"h{number}", 1) for number in range(100)))
        news = windows.apply(before, after, added)
        heights.append(windows.height)
        assert news.whole.height == (100 if minute else 0)
        before = after
    assert max(heights[1:]) == 100


def test_many_small_batches_are_added_up_by_size() -> None:
    windows, before = OpenWindows(60, START, rows.no_rows()), START
    for step in range(1, 40):
        after = replace(before, step=step, kind="batch")
        windows.apply(
            before, after, frame(*((0, "host", f"h{step % 3}-{number}", 1) for number in range(9_000)))
        )
        before = after
    assert len(windows._frames) < 5
    assert windows.totals()["lines"].sum() == 39 * 9_000
    assert windows.height == 27_000
