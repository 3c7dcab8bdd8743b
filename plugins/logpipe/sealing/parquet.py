"""Writes a sealed day as Parquet, for Spark, Hive and DuckDB: a row a line, with what its format reads."""

import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from itertools import islice
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from logpipe.accounting.lines import batches, proved
from logpipe.accounting.read_as import logs_of
from logpipe.clients.formats import FormatRegistry
from logpipe.clients.hdfs import Hdfs, HdfsExistsError, dumps
from logpipe.contracts import formats
from logpipe.contracts.formats import Entry
from logpipe.contracts.parquet import ParquetDay, manifest_path
from logpipe.contracts.sealed import MOST_REPLAYS, SealedDay
from logpipe.formats.columns import SCHEMA, read_by
from logpipe.sealing.place import Place, Reached, new_attempt, nowhere
from logpipe.settings import Settings

PART_BYTES = 256 << 20  # of a file, about
FOLDER = "parquet"  # in the state folder, while a file is written
_BLOCK_BYTES = 1 << 20
Names = tuple[str | None, ...] | None  # of replays; None among them: lines without identity
_NAMES = {"target": "endpoint", "reason": "malformed", "time_ms": "time"}
_SCHEMA = {_NAMES.get(name, name): of for name, of in SCHEMA.items()} | {
    "time": pl.Datetime("ms", "UTC"),
    "log": pl.String,
    "replay": pl.String,
    "replays": pl.List(pl.String),
    "file": pl.String,
    "line_number": pl.Int64,
    "line": pl.Binary,
}


def write_parquet(settings: Settings, day: date, sealed: SealedDay, *, reached: Reached = nowhere) -> None:
    """Write a sealed day's lines, unless they are written; a kill leaves all or nothing of a day.

    Columns are those of `logpipe.formats.fields.Parsed`, as ``logpipe sql`` calls them: null where a format
    lacks one. ``log`` is null where several logs of the day have one format. ``replays`` are those that had
    lines in the line's range, with a null for lines without identity, and ``replay`` is the one where there
    is no other; ``replays`` is null where they are not known, or more than `MOST_REPLAYS`. ``file`` and
    ``line_number``, from 1, are the line's place in the day's folder. ``malformed`` is the reason, and
    ``line`` has the bytes of such a line, null of any other.

    Args:
        settings: of the pipeline.
        day: that is sealed, and not forgotten.
        sealed: its sums.
        reached: told about each step.

    Raises:
        DamagedError: a file holds other lines than it should.
        EntryError, HdfsError: HDFS, or the registry of formats, cannot be read.
    """
    with closing(Hdfs.of(settings)) as hdfs:
        place = Place(hdfs, settings, day)
        if drop_parquet_of_before(place, sealed):
            return
        attempt = f"{place.parquet_attempts}{new_attempt()}"
        rows = {}
        for name, table in _parts(place, sealed):
            rows[name] = _write_part(settings, hdfs, f"{attempt}/{name}", table)
            reached(name)
        hdfs.write(manifest_path(attempt), dumps(ParquetDay.of(sealed, rows).to_json()))
        try:
            hdfs.rename(attempt, place.parquet)
        except HdfsExistsError:  # another process was first
            hdfs.delete(attempt)
        reached("parquet")


def drop_parquet_of_before(place: Place, sealed: SealedDay) -> bool:
    """Delete what is there of a day as it was before, and what a kill left half written.

    Returns:
        Whether the day stands there as it is now.

    Raises:
        HdfsError: HDFS cannot do it.
    """
    place.drop_parquet_attempts()
    found = place.hdfs.read(manifest_path(place.parquet))
    if found is not None and (there := ParquetDay.from_file(found)) and there.is_of(sealed):
        return True
    place.hdfs.delete(place.parquet)
    return False


def _parts(place: Place, sealed: SealedDay) -> Iterator[tuple[str, Iterator[pl.DataFrame]]]:
    """The files, each with its rows; a file of the day is one or more of these."""
    known = FormatRegistry(place.hdfs, place.settings.hdfs_ledger_dir).load()
    entries = formats.entries_of(sealed.replays, bool(sealed.anonymous.lines), known)
    of_day: list[str | None] = [*sorted(sealed.replays)]
    if sealed.anonymous.lines:
        of_day.append(None)
    of_any = tuple(of_day) if len(of_day) <= MOST_REPLAYS else None
    members = (member for _, member in sealed.members())
    number = 0
    for file in sealed.files:
        blocks = batches(proved(place.hdfs, f"{place.folder}/{file.name}", file.text, place.day))
        ranges = [
            (member.digest.lines, of_any if member.replays is None else member.replays)
            for member in islice(members, file.members)
        ]
        frames = _Frames(file.name, blocks, entries, _Replays(ranges, of_any))
        while not frames.is_over:
            number += 1
            yield f"part-{number}.parquet", frames.part()


class _Replays:
    """Whose the lines of a file may be, in their order.

    Args:
        ranges: how many lines, and whose.
        of_rest: whose the lines behind these may be.
    """

    def __init__(self, ranges: list[tuple[int, Names]], of_rest: Names) -> None:
        self._ranges = deque(ranges)
        self._of_rest = of_rest

    def next(self, count: int) -> pl.Series:
        """Of the next so many lines a list each."""
        names: list[Names] = []
        runs = [pl.Series(dtype=pl.UInt32)]
        while count:
            lines, own = self._ranges.popleft() if self._ranges else (count, self._of_rest)
            if lines > count:
                self._ranges.appendleft((lines - count, own))
            run = min(lines, count)
            runs.append(pl.repeat(len(names), run, dtype=pl.UInt32, eager=True))
            names.append(own)
            count -= run
        return pl.Series("replays", names, pl.List(pl.String)).gather(pl.concat(runs))


class _Frames:
    """Rows of a file, cut into parts."""

    def __init__(
        self, name: str, blocks: Iterator[list[bytes]], entries: frozenset[Entry], replays: _Replays
    ) -> None:
        self._blocks = blocks
        self._texts = {entry.format_text for entry in entries}
        self._logs = logs_of(entries)
        self._name = name
        self._replays = replays
        self._lines = 0
        self._next = next(blocks, None)

    @property
    def is_over(self) -> bool:
        """Whether all rows were given."""
        return self._next is None

    def part(self) -> Iterator[pl.DataFrame]:
        """Rows of about `PART_BYTES` of lines."""
        size = 0
        while self._next is not None and size < PART_BYTES:
            lines, self._next = self._next, None
            size += sum(map(len, lines))
            yield self._frame(lines)
            self._next = next(self._blocks, None)

    def _frame(self, lines: list[bytes]) -> pl.DataFrame:
        values = pl.Series("line", lines, dtype=pl.Binary)
        read = read_by(self._texts, values).rename(_NAMES)
        log = pl.col("format").replace_strict(self._logs, default=None, return_dtype=pl.String)
        first, self._lines = self._lines + 1, self._lines + len(lines)
        read = read.with_columns(
            time=pl.from_epoch("time", "ms").dt.replace_time_zone("UTC"),
            log=log,
            line=pl.when(pl.col("malformed").is_not_null()).then(values),
            line_number=pl.int_range(first, self._lines + 1, dtype=pl.Int64),
            file=pl.lit(self._name),
            replays=self._replays.next(len(lines)),
        )
        replays = pl.col("replays")
        read = read.with_columns(replay=pl.when(replays.list.len() == 1).then(replays.list.first()))
        lacking = [pl.lit(None, of).alias(name) for name, of in _SCHEMA.items() if name not in read.columns]
        return read.with_columns(*lacking).select(pl.col(name).cast(of) for name, of in _SCHEMA.items())


def _write_part(settings: Settings, hdfs: Hdfs, path: str, frames: Iterator[pl.DataFrame]) -> int:
    """Write one file, by way of the disk: a row group is all that is in memory. Returns its rows."""
    folder = settings.state_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    schema: Any = pl.DataFrame(schema=_SCHEMA).to_arrow().schema
    rows = 0
    with tempfile.TemporaryFile(dir=folder) as local:  # it has no name: nothing of it outlives a kill
        with pq.ParquetWriter(local, schema, compression="zstd") as writer:
            for frame in frames:
                writer.write_table(pa.Table.from_batches(frame.to_arrow().to_batches(), schema))
                rows += frame.height
        local.seek(0)
        hdfs.write(path, iter(lambda: local.read(_BLOCK_BYTES), b""))
    return rows
