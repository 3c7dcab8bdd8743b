"""Files by date: what a fold makes of the log, which of them are merged, and which dates are old.

A file holds all rows of its date that some steps added, and its name says which: so it is right whoever puts
it there, and whenever, as long as it is put there whole.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from itertools import groupby, pairwise

import polars as pl

from logpipe.digest import Digest
from logpipe.windows.commit import ERASED_FILE, Commit, DateFile, counting
from logpipe.windows.reader import WindowStore, sum_totals
from windows import rows as window_rows
from windows.dimensions import TOTAL
from windows.hdfs import Hdfs

log = logging.getLogger("windows")

FAN_IN = 16
QUIET_MS = 120_000
_DAY_MS = 86_400_000
_DAY_S = 86_400
_SLICE_ROWS = 1_000_000
_ORDER = ("dimension", "start_s")  # a dimension's rows stand together


class ErasedError(Exception):
    """Keys were erased from files that were read before: what was made of them is nowhere, and made anew."""


class DateFiles:
    """The folder of files by date.

    Args:
        hdfs: where it is.
        store: reads it.
        scratch: a folder for files that are being written.
        max_keys: of a window and dimension in a file.
    """

    def __init__(self, hdfs: Hdfs, store: WindowStore, scratch: str, max_keys: int) -> None:
        self._hdfs = hdfs
        self._store = store
        self._scratch = scratch
        self._max_keys = max_keys

    def path(self, file: DateFile) -> str:
        """Where a file is."""
        return f"{self._store.windows_dir}/{file.path}"

    def erased_ms(self) -> int:
        """When keys were last erased from files (`logpipe.windows.erase`); 0: never."""
        try:
            return self._hdfs.modified_ms(f"{self._store.windows_dir}/{ERASED_FILE}")
        except FileNotFoundError:
            return 0

    def check_erased(self, before_ms: int) -> None:
        """Called between the writing of a file and its putting in place, where an erasure would find it.

        Raises:
            ErasedError: keys were erased since that was the newest erasure, which was before rows were read.
        """
        if self.erased_ms() != before_ms:
            raise ErasedError

    def _put(self, file: DateFile, tables: Iterator[pl.DataFrame], erased_ms: int) -> None:
        """Write a file; one that is there holds the same. Raises as `check_erased`."""
        path = self.path(file)
        scratch = f"{self._scratch}/{path.rpartition('/')[2]}"
        with self._hdfs.create(scratch) as target, window_rows.writer(target) as writer:
            for table in tables:
                writer.write_table(window_rows.to_arrow(table))
        if file.modified_ms:
            self._hdfs.touch(scratch, file.modified_ms)
        self._hdfs.make_folder(path.rpartition("/")[0])
        try:
            self.check_erased(erased_ms)
            self._hdfs.rename(scratch, path)
        except ErasedError:
            self._hdfs.delete(scratch)
            raise
        except FileExistsError:
            self._hdfs.delete(scratch)

    def fold(self, rows: pl.DataFrame, first: int, last: int, erased_ms: int) -> set[str]:
        """Write what the steps ``first`` to ``last`` added, by date; gives the dates.

        Raises:
            ErasedError: as `check_erased` for ``erased_ms``.
        """
        dated = by_date(rows)
        for date, of_date in dated.items():
            self._put(DateFile(date, first, last, 0), iter([of_date]), erased_ms)
        return set(dated)

    def merge(self, sources: Sequence[DateFile]) -> None:
        """Write one file for several that follow on each other, and delete these; in bounded memory.

        Raises:
            ErasedError: keys were erased meanwhile.
        """
        erased_ms = self.erased_ms()
        date, tier = sources[0].date, max(file.tier for file in sources) + 1
        newest_ms = max(file.modified_ms for file in sources)  # a date is as old as what was added to it
        merged = DateFile(date, sources[0].first, sources[-1].last, tier, newest_ms)
        self._put(merged, self._slices(sources), erased_ms)
        log.info("Merged %d files of %s", len(sources), date)
        for file in sources:
            self._hdfs.delete(self.path(file))

    def _slices(self, sources: Sequence[DateFile]) -> Iterator[pl.DataFrame]:
        """The sum of files, some hours after the others where they have many rows."""
        opened = [self._hdfs.open(self.path(file)) for file in sources]
        try:
            slices = math.ceil(sum(map(window_rows.height, opened)) / _SLICE_ROWS) or 1
            begin_s = int(datetime.fromisoformat(sources[0].date).replace(tzinfo=UTC).timestamp())
            bounds = [begin_s + _DAY_S * at // slices for at in range(slices + 1)]
            for first_s, last_s in pairwise(bounds):
                parts = [window_rows.read(file, window_rows.SUMS, first_s, last_s) for file in opened]
                yield window_rows.capped(window_rows.added_up(parts), self._max_keys).sort(*_ORDER, "key")
        finally:
            for file in opened:
                file.close()

    def tidy(self, commit: Commit, dates: set[str]) -> set[str]:
        """Merge files of some dates, delete those that others stand for; gives the dates to look at again.

        Only up to the fold that the log begins with: commits that are in the log can be read as they were.
        """
        again = set()
        quiet_before_ms = time.time_ns() // 1_000_000 - QUIET_MS
        for date in sorted(dates):
            files = self._store.date_files(date)
            older, counted = counting(files, commit.folded_before), counting(files, commit.folded)
            for file in files:
                if any(
                    file != other and file.first >= other.first and file.last <= other.last for other in older
                ):
                    self._hdfs.delete(self.path(file))
            if sources := next_merge(counted, commit.folded_before, quiet_before_ms):
                with suppress(ErasedError):  # another time
                    self.merge(sources)
            if len(counted) > 1:
                again.add(date)
        return again

    def digest(self, commit: Commit, dates: set[str]) -> Digest:
        """The lines that files of some dates hold at a commit."""
        found = Digest()
        for date in sorted(dates):
            for file in counting(self._store.date_files(date), commit.folded):
                with self._hdfs.open(self.path(file)) as source:
                    found += sum_totals(window_rows.batches(source, TOTAL), commit.parameters["window_s"])
        return found

    def drop(self, commit: Commit) -> None:
        """Delete the dates that expired with a commit; a file that counts only later stays."""
        for date in commit.expires:
            for file in self._store.date_files(date):
                if file.last <= commit.folded:
                    self._hdfs.delete(self.path(file))
            if not self._store.date_files(date):
                self._hdfs.delete(f"{self._store.windows_dir}/date={date}")


def by_date(rows: pl.DataFrame) -> dict[str, pl.DataFrame]:
    """The rows of each date, in the order of files but for the keys, which cost most and wait for a merge."""
    dated = rows.with_columns(date=window_rows.dates())
    return {
        str(date): part.sort(*_ORDER)
        for (date,), part in dated.partition_by("date", as_dict=True, include_key=False).items()
    }


def old_dates(files: Sequence[DateFile], keep_days: int) -> set[str]:
    """Dates that were last written so many days ago; 0 days: none."""
    if not keep_days:
        return set()
    before_ms = time.time_ns() // 1_000_000 - keep_days * _DAY_MS
    return {file.date for file in files} - {file.date for file in files if file.modified_ms >= before_ms}


def next_merge(files: Sequence[DateFile], until: int, quiet_before_ms: int) -> list[DateFile]:
    """Choose files to merge; none when there is nothing to.

    Args:
        files: of one date those that count, by their steps. Only neighbours may be merged: the merged file's
            name says that it holds all of its steps.
        until: the last step that may be merged.
        quiet_before_ms: when nothing was added since, all become one.
    """
    if len(files) > 1 and files[-1].last <= until and max(f.modified_ms for f in files) < quiet_before_ms:
        return list(files)
    for _, same in groupby((file for file in files if file.last <= until), key=lambda file: file.tier):
        neighbours = list(same)
        if len(neighbours) >= FAN_IN:
            return neighbours
    return []
