"""The open windows in the driver's memory: for the console, and for the records of the topic of windows.

They hold nothing that the log does not: at a start they are made from the last fold and the log behind it,
step by step, by the same `OpenWindows.apply` that follows the job later.
"""

from collections.abc import Iterator
from typing import NamedTuple

import polars as pl

from logpipe.windows.commit import Commit
from windows import kafka_rows
from windows.rows import COUNTS, KEY, added_up, is_closed, no_rows

_FOREVER_MS = 1 << 60
_SMALL_ROWS = 20_000

_NO_RECORDS = pl.DataFrame(
    schema={
        "start_s": pl.Int64,
        "dimension": pl.String,
        "chunks": pl.Int64,
        "since": pl.Int64,
        "step": pl.Int64,
    }
)


class News(NamedTuple):
    """What a step says in the topic of windows, in this order.

    Attributes:
        step: its number.
        added: rows that it added to windows that stay open.
        late: rows that it added to closed windows.
        whole: all rows, since the step ``since``, of windows that it closes or folds.
        is_final: it closes these.
        replaced: records that ``whole`` stands for, see `kafka_rows.tombstones`.
    """

    step: int
    since: int
    added: pl.DataFrame
    late: pl.DataFrame
    whole: pl.DataFrame
    is_final: bool
    replaced: pl.DataFrame

    def records(self, window_s: int) -> Iterator[tuple[str, str | None]]:
        """Keys and values for Kafka."""
        yield from kafka_rows.window_records(self.added, window_s, self.step, self.step, False)
        yield from kafka_rows.window_records(self.late, window_s, self.step, self.step, True)
        yield from kafka_rows.window_records(self.whole, window_s, self.since, self.step, self.is_final)
        yield from kafka_rows.tombstones(self.replaced)


class OpenWindows:
    """Rows of the open windows, and the records that the topic of windows has of them.

    Rows come by batches. They stand in frames each more than twice as large as the next, so that a row is
    added up as often as the number of its digits tells, and a small batch costs little however much is open.

    Args:
        window_s: length of a window.
        fold: the commit that ``rows`` are of: the totals of the windows that were open then. An
            erasure may have given several of them the same key.
    """

    def __init__(self, window_s: int, fold: Commit, rows: pl.DataFrame) -> None:
        self._window_s = window_s
        rows = added_up([rows.select(*KEY, *COUNTS)])
        self._frames = [rows]
        self._records = [_records(rows, fold.reset_step + 1, fold.step)]
        self._closed = no_rows(COUNTS)

    @property
    def height(self) -> int:
        """Rows held; when there are many, some keys may have more than one."""
        return sum(frame.height for frame in self._frames)

    def totals(self) -> pl.DataFrame:
        """The rows of all open windows, each once."""
        if len(self._frames) > 1:
            self._frames = [added_up(self._frames)]
        return self._frames[0]

    def apply(self, before: Commit, after: Commit, rows: pl.DataFrame) -> News:
        """Take in a step.

        Args:
            before: the step before.
            after: the step.
            rows: what it added.
        """
        since, step = before.reset_step + 1, after.step
        none = no_rows(COUNTS)
        news = News(step, since, none, none, none, after.kind != "fold", _NO_RECORDS)
        if after.kind == "fold":
            replaced, self._records = pl.concat(self._records), [_records(self.totals(), since, step)]
            return news._replace(whole=self.totals(), replaced=replaced)
        if after.kind not in ("batch", "close"):
            return news
        rows = rows.select(*KEY, *COUNTS)
        was_closed = is_closed(self._window_s, before.watermark_ms)
        until_ms = _FOREVER_MS if after.kind == "close" else after.watermark_ms
        closes = is_closed(self._window_s, until_ms)
        late, open_rows = rows.filter(was_closed), rows.filter(~was_closed)
        added = open_rows.filter(~closes)
        taken, replaced = self._taken(closes)
        closing = open_rows.filter(closes)
        self._closed = added_up([*taken, closing]) if taken else closing
        self._add(added, step)
        return news._replace(added=added, late=late, whole=self._closed, replaced=replaced)

    def _taken(self, closes: pl.Expr) -> tuple[list[pl.DataFrame], pl.DataFrame]:
        """Take out the rows of windows, and their records."""
        first = pl.DataFrame(
            {"start_s": [frame["start_s"].min() for frame in self._frames]}, {"start_s": pl.Int64}
        )
        if first.filter(closes).is_empty():
            return [], _NO_RECORDS
        taken = [frame.filter(closes) for frame in self._frames]
        self._frames = [frame.filter(~closes) for frame in self._frames]
        records = pl.concat(self._records)
        self._records = [records.filter(~closes)]
        return taken, records.filter(closes)

    def _add(self, rows: pl.DataFrame, step: int) -> None:
        if rows.is_empty():
            return
        frames = self._frames
        frames.append(rows)
        while len(frames) > 1 and frames[-2].height <= max(2 * frames[-1].height, _SMALL_ROWS):
            frames[-2:] = [added_up(frames[-2:])]
        self._records.append(_records(rows, step, step))

    def newest(self, windows: int, slide_s: int) -> pl.DataFrame:
        """The rows of the newest windows, those among them that the last step closed."""
        frames = [*self._frames, self._closed]
        known = [int(start) for frame in frames if (start := frame["start_s"].max()) is not None]
        if not known:
            return no_rows(COUNTS)
        first_s = max(known) - slide_s * (windows - 1)
        return added_up([frame.filter(pl.col("start_s") >= first_s) for frame in frames])


def _records(rows: pl.DataFrame, since: int, step: int) -> pl.DataFrame:
    steps = (pl.lit(since, pl.Int64).alias("since"), pl.lit(step, pl.Int64).alias("step"))
    return kafka_rows.chunks_of(rows).with_columns(*steps).select(_NO_RECORDS.columns)
