"""The reader of the windows adds up just the files that count at a commit, whatever else is there."""

import io
from dataclasses import replace
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logpipe.digest import Digest
from logpipe.windows.commit import FOOTER_KEY, Commit, DateFile, WindowsError, counting, step_name
from logpipe.windows.reader import WindowStore
from tests.memory_hdfs import MemoryHdfs

NAMES = ("lines", "sent_bytes", "line_bytes", "hash_sum")
SCHEMA = pa.schema(
    [("window_start", pa.timestamp("us", "UTC")), ("dimension", pa.string()), ("key", pa.string())]
    + [(name, pa.int64()) for name in NAMES]
)
BEGIN_S = 804_571_200  # 1995-07-01
START = Commit(0, "start", {"window_s": 60}, "t")


class Store:
    """A job's folders in memory."""

    def __init__(self) -> None:
        self.hdfs = MemoryHdfs()
        self.reader = WindowStore(self.hdfs, "/c/", "/w/")

    def step(self, commit: Commit, lines: int = 0, epoch: int = 1) -> None:
        self.hdfs.write(f"/c/windows/commits.{epoch}/{step_name(commit.step)}", content(lines, commit))

    def date(self, first: int, last: int, lines: int, tier: int = 0, date: str = "1995-07-01") -> None:
        self.hdfs.write(f"/w/{DateFile(date, first, last, tier).path}", content(lines))

    def lines(self) -> int:
        table = self.reader.table(dimension="total")
        assert table.num_rows <= 1
        return int(table["lines"][0].as_py()) if table.num_rows else 0


def content(lines: int, commit: Commit | None = None) -> bytes:
    return content_of([(BEGIN_S, "total", "", lines)] if lines else [], commit)


def content_of(rows: list[tuple[int, str, str, int]], commit: Commit | None = None) -> bytes:
    """Rows of a window's start, a dimension, a key, and a number for all that is summed."""
    starts = [datetime.fromtimestamp(row[0], UTC) for row in rows]
    columns = [starts, [row[1] for row in rows], [row[2] for row in rows], *[[row[3] for row in rows]] * 4]
    arrays = [pa.array(column, field.type) for column, field in zip(columns, SCHEMA, strict=True)]
    metadata = {FOOTER_KEY: commit.to_json()} if commit else None
    buffer = io.BytesIO()
    pq.write_table(pa.table(arrays, schema=SCHEMA.with_metadata(metadata)), buffer)
    return buffer.getvalue()


@pytest.fixture
def store() -> Store:
    """Steps 1 and 2 are folded by step 3; 4 is behind it; each step added its number of lines."""
    made = Store()
    made.step(replace(START, step=1, kind="batch"), 1)
    made.step(replace(START, step=2, kind="batch"), 2)
    made.date(1, 2, 3)
    made.step(replace(START, step=3, kind="fold", folded=3), 1000)  # the fold's own rows are not read
    made.step(replace(START, step=4, kind="batch", folded=3), 4)
    return made


def test_a_file_counts_once_in_the_log_or_by_date(store: Store) -> None:
    assert store.lines() == 7
    assert store.reader.totals().digest == Digest(7, 7, 7)
    before = store.reader.snapshot(step=2)
    assert before is not None
    assert [file.name for file in before.files] == [step_name(1), step_name(2)]


def test_sums_and_the_lines_of_keys_are_of_one_commit_and_of_each_line_once(store: Store) -> None:
    rows = [
        (BEGIN_S, "total", "", 10), (BEGIN_S, "status", "200", 6), (BEGIN_S, "status", "404", 3),
        (BEGIN_S, "method", "GET", 9), (BEGIN_S, "host", "a", 10),
        (BEGIN_S + 60, "total", "", 5), (BEGIN_S + 60, "status", "200", 5),
        (BEGIN_S + 30, "total", "", 99), (BEGIN_S + 30, "status", "200", 99),  # overlaps the two
    ]  # fmt: skip
    commit = replace(START, step=5, kind="batch", folded=3, lines=22)
    store.hdfs.write(f"/c/windows/commits.1/{step_name(5)}", content_of(rows, commit))
    totals, lines = store.reader.counts(("status", "method"))
    assert totals.digest == store.reader.totals().digest == Digest(22, 22, 22)
    assert lines == {
        ("total", ""): 22, ("status", "200"): 11, ("status", "404"): 3, ("method", "GET"): 9
    }  # fmt: skip


def test_what_counts_no_more_or_not_yet_is_not_read(store: Store) -> None:
    store.date(1, 1, 1)  # of a fold that was killed
    store.date(1, 3, 100, tier=0)  # wider, and of a later fold than it seems: it counts
    store.date(4, 4, 50)  # its fold is not committed
    store.date(1, 4, 60)
    assert store.lines() == 104


def test_dates_that_expire_with_the_commit_are_left_out(store: Store) -> None:
    expired = replace(
        START, step=5, kind="expire", folded=3, expires=("1995-07-01",), expired=Digest(3, 3, 3)
    )
    store.step(expired)
    assert store.lines() == 4
    assert store.reader.totals().digest == Digest(7, 7, 7)


def test_the_highest_epoch_holds(store: Store) -> None:
    store.step(replace(START, step=1, kind="batch"), 9, epoch=11)
    assert store.reader.commit() == replace(START, step=1, kind="batch")
    assert store.reader.commit(step=4) is None


def test_a_commit_that_left_the_log_is_told(store: Store) -> None:
    held = store.reader.snapshot(step=2)
    assert held is not None
    assert store.reader.holds(held)
    store.hdfs.delete(f"/c/windows/commits.1/{step_name(2)}")
    assert not store.reader.holds(held)


def test_a_long_commit_is_read_whole(store: Store) -> None:
    long = replace(START, step=5, kind="batch", folded=3, parameters={"window_s": 60, "x": "y" * 200_000})
    store.step(long)
    assert store.reader.commit() == long


@pytest.mark.parametrize("name", ["000000000009.json", step_name(9)])
def test_another_version_is_refused(store: Store, name: str) -> None:
    if name.endswith(".json"):
        store.hdfs.write(f"/c/windows/commits.1/{name}", b'{"format": 2, "step": 9}')
    else:
        other = content(0, START).replace(b'"format":3', b'"format":4')
        store.hdfs.write(f"/c/windows/commits.1/{name}", other)
    with pytest.raises(WindowsError, match=r"has format [24], expected 3.* give a new --checkpoint-dir"):
        store.reader.commit()


def test_files_that_go_for_ever_are_an_error(store: Store) -> None:
    store.hdfs.read = lambda path: None  # type: ignore[method-assign]
    with pytest.raises(WindowsError, match="went 20 times while being read"):
        store.lines()


@pytest.mark.parametrize(
    ("files", "folded", "expected"),
    [
        ([(1, 5), (6, 9)], 9, [(1, 5), (6, 9)]),
        ([(1, 5), (1, 9), (6, 9)], 9, [(1, 9)]),
        ([(1, 5), (1, 9), (6, 9)], 8, [(1, 5)]),
        ([(1, 3), (2, 3), (4, 7), (4, 8)], 8, [(1, 3), (4, 8)]),
    ],
)
def test_of_files_within_each_other_the_widest_counts(
    files: list[tuple[int, int]], folded: int, expected: list[tuple[int, int]]
) -> None:
    made = [DateFile("1995-07-01", first, last, 0) for first, last in files]
    for order in (made, made[::-1]):
        assert [(file.first, file.last) for file in counting(order, folded)] == expected
