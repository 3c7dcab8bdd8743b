"""The open windows and what the topic of windows says of them, against a plain recount of the same steps."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from logpipe.windows.commit import Commit, Kind
from tests.spark.reader import followed
from tests.spark.test_rows import START, frame
from windows import open_windows
from windows.open_windows import News, OpenWindows
from windows.rows import no_rows

Cell = tuple[int, str, str]


class Step(NamedTuple):
    """A step; of a batch the lines as (minute, host), and until which minute it closes windows, if any."""

    kind: Kind
    lines: list[tuple[int, str]]
    until: int | None


class Job:
    """A job whose windows are minutes, and beside it a plain recount.

    Attributes:
        log: the last fold and the steps behind it, with their rows.
        sent: the records that it sent.
        counted: lines of all windows, by window, dimension and key.
        open: of those that no step has closed.
        closed: of those that the last batch closed.
    """

    def __init__(self, time: str) -> None:
        self.time = time
        self.commit, self.windows = START, OpenWindows(60, START, no_rows())
        self.log = [(START, no_rows())]
        self.sent: list[tuple[Any, Any]] = []
        self.counted, self.open, self.closed = Counter[Cell](), Counter[Cell](), Counter[Cell]()

    def play(self, steps: list[Step]) -> Iterator[News]:
        for step in steps:
            before, after = self.commit, self._after(step)
            cells = Counter[Cell]()
            for minute, host in step.lines:
                cells.update([(minute * 60, "total", ""), (minute * 60, "host", host)])
            rows = frame(*((*cell, lines) for cell, lines in cells.items()))
            if step.kind == "fold":
                rows, self.log = self.windows.totals(), []
            news = self.windows.apply(before, after, rows)
            self.commit = after
            self.log.append((after, rows))
            self.sent += news.records(60)
            self._recount(cells, before)
            yield news

    def _after(self, step: Step) -> Commit:
        before = self.commit
        after = replace(before, step=before.step + 1, kind=step.kind)
        known_ms = [before.watermark_ms] if before.watermark_ms is not None else []
        if step.kind == "close" and self.time == "event":  # the clock begins anew
            return replace(after, watermark_ms=None, reset_step=after.step)
        if step.kind == "close":
            known_ms += [(start + 60) * 1000 for start, _, _ in self.open]
        elif step.until is not None:
            known_ms.append(step.until * 60_000)
        return replace(after, watermark_ms=max(known_ms, default=None))

    def _recount(self, cells: Counter[Cell], before: Commit) -> None:
        self.counted += cells
        self.open.update({cell: lines for cell, lines in cells.items() if not is_closed(cell[0], before)})
        if self.commit.kind in ("batch", "close"):
            self.closed = Counter({cell: self.open[cell] for cell in self.open if self.has_closed(cell[0])})
            self.open -= self.closed

    def has_closed(self, start_s: int) -> bool:
        return self.commit.kind == "close" or is_closed(start_s, self.commit)


def is_closed(start_s: int, commit: Commit) -> bool:
    return commit.watermark_ms is not None and (start_s + 60) * 1000 <= commit.watermark_ms


def sums(rows: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(rows.rows())


def of_lines(counted: Counter[Cell]) -> list[tuple[object, ...]]:
    """Rows as `frame` makes them: ten bytes were sent for each line."""
    return sorted((*cell, lines, lines * 10) for cell, lines in counted.items())


TIMES = st.sampled_from(["arrival", "event"])
LINES = st.lists(st.tuples(st.integers(0, 4), st.sampled_from("abc")), max_size=8)
OTHERS = st.sampled_from(["fold", "close", "expire"])
STEPS = st.lists(
    st.builds(Step, st.just("batch"), LINES, st.none() | st.integers(0, 5))
    | st.builds(Step, OTHERS, st.just([]), st.none()),
    max_size=10,
)

STORY = [
    Step("batch", [(0, "a"), (0, "b"), (0, "c"), (1, "a"), (4, "a")], None),
    Step("batch", [(0, "a")], None),
    Step("fold", [], None),
    Step("batch", [(0, "b"), (1, "a")], 1),
    Step("batch", [(0, "a"), (2, "b")], 2),  # one is late
    Step("close", [], None),
    Step("batch", [(2, "c"), (3, "a")], None),
    Step("expire", [], None),
    Step("fold", [], None),
]


def whatever_happens(test: Callable[[str, list[Step]], None]) -> Callable[[], None]:
    """Run a test with many a list of steps, always with the story."""
    told = example("arrival", STORY)(example("event", STORY)(test))
    return settings(max_examples=60)(given(TIMES, STEPS)(told))


@pytest.fixture(scope="module", autouse=True)
def _some_rows_are_many() -> Iterator[None]:
    """Frames of a few rows stand beside each other as those of many do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_windows, "_SMALL_ROWS", 0)
        yield


@whatever_happens
def test_readers_of_the_topic_count_each_line_once_whatever_was_compacted(
    time: str, steps: list[Step]
) -> None:
    job = Job(time)
    for _ in job.play(steps):
        assert followed(job.sent) == job.counted
        assert followed([(key, value) for key, value in job.sent if value is not None]) == job.counted


@whatever_happens
def test_a_record_is_taken_back_once_a_wider_one_stands_before(time: str, steps: list[Step]) -> None:
    job = Job(time)
    for news in job.play(steps):
        are_taken_back = [value is None for _, value in news.records(60)]
        assert are_taken_back == sorted(are_taken_back)
        by_window: dict[tuple[str, str], list[tuple[int, int]]] = {}
        for value in dict(job.sent).values():
            if value is not None:
                record = json.loads(value)
                by_window.setdefault((record["window_start"], record["dimension"]), []).append(
                    (record["since"], record["step"])
                )
        for ranges in by_window.values():
            for since, step in ranges:
                within = [mine for mine in ranges if since <= mine[0] and mine[1] <= step]
                assert within == [(since, step)]


@whatever_happens
def test_records_are_final_of_windows_that_are_closed(time: str, steps: list[Step]) -> None:
    job = Job(time)
    for news in job.play(steps):
        records = [json.loads(value) for _, value in news.records(60) if value is not None]
        told = {(int(record["window_start"][14:16]) * 60, record["final"]) for record in records}
        assert all(is_final == job.has_closed(start_s) for start_s, is_final in told)
        if job.commit.kind in ("batch", "close"):
            assert {(start_s, True) for start_s, _, _ in job.closed} <= told


@settings(max_examples=60)
@given(TIMES, STEPS, st.integers(1, 4))
@example("arrival", STORY, 2)
@example("event", STORY, 2)
def test_the_windows_held_are_the_open_ones_and_those_just_closed(
    time: str, steps: list[Step], count: int
) -> None:
    job = Job(time)
    assert job.windows.newest(count, 60).is_empty()
    for _ in job.play(steps):
        held = job.open + job.closed
        first_s = max((start_s for start_s, _, _ in held), default=0) - 60 * (count - 1)
        newest = Counter({cell: lines for cell, lines in held.items() if cell[0] >= first_s})
        assert sums(job.windows.newest(count, 60)) == of_lines(newest)
        assert sums(job.windows.totals()) == of_lines(job.open)
        assert job.windows.height == len(job.open)


@whatever_happens
def test_windows_made_anew_from_the_last_fold_say_the_same(time: str, steps: list[Step]) -> None:
    job = Job(time)
    for news in job.play(steps):
        (before, rows), *behind = job.log
        anew, again = OpenWindows(60, before, rows), news
        for after, rows in behind:
            again = anew.apply(before, after, rows)
            before = after
        assert sums(anew.totals()) == of_lines(job.open)
        assert sorted(again.records(60), key=str) == sorted(news.records(60), key=str)


@pytest.mark.parametrize(
    ("batches", "held"),
    [([100, 50], [150]), ([100, 49], [100, 49]), ([100, 49, 20], [100, 49, 20]), ([100, 49, 20, 10], [179])],
)
def test_a_batch_is_added_to_what_is_not_much_larger(batches: list[int], held: list[int]) -> None:
    windows, before = OpenWindows(60, START, no_rows()), START
    for height in batches:
        after = replace(before, step=before.step + 1, kind="batch")
        rows = frame(*((0, "host", f"{after.step}-{number}", 1) for number in range(height)))
        windows.apply(before, after, rows)
        before = after
    assert [rows.height for rows in windows._frames] == held


def test_keys_that_an_erasure_made_equal_are_one_row() -> None:
    """It rewrites a fold's file row by row; the windows that are made anew from that hold each key once."""
    fold = replace(START, step=3, kind="fold")
    windows = OpenWindows(60, fold, frame((0, "host", "erased", 2), (0, "host", "erased", 3)))
    assert sums(windows.totals()) == [(0, "host", "erased", 5, 50)]
