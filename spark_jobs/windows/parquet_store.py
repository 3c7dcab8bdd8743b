"""The Parquet output: ``<windows dir>/date=YYYY-MM-DD/<step>-<file>-t<tier>.parquet``.

Files are moved there by rename once their step is committed, so that whoever reads the folder sees each row
once. Small files of a date are merged by tiers; a date that gets nothing more becomes one file.
"""

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from windows.hdfs import Hdfs
from windows.store import Commit, Move
from windows.totals import OPEN, ROW_SCHEMA, summed

FAN_IN = 16
_FILE_NAME = re.compile(r"([0-9]{12})-([0-9]+)-t([0-9]+)\.parquet")
_DAY_MS = 86_400_000


class WindowFile(NamedTuple):
    """A file of the output."""

    date: str
    path: str
    step: int
    tier: int
    modified_ms: int


def read_rows(spark: SparkSession, paths: Sequence[str]) -> DataFrame:
    """Read rows from files or folders; empty without any."""
    if not paths:
        return spark.createDataFrame([], ROW_SCHEMA)
    return spark.read.schema(ROW_SCHEMA).parquet(*paths)


def written_slots(hdfs: Hdfs, folder: str) -> dict[str, list[str]]:
    """List the Parquet files that a step wrote, by slot: ``open`` or a date."""
    slots = {}
    for entry in hdfs.list(folder):
        if entry.is_dir and entry.name.startswith("slot="):
            files = [file.path for file in hdfs.list(entry.path) if file.name.endswith(".parquet")]
            slots[entry.name.removeprefix("slot=")] = files
    return slots


def moves_of(slots: dict[str, list[str]], windows_url: str, step: int, tier: int = 0) -> tuple[Move, ...]:
    """Name the places in the output of a step's files of closed windows."""
    return tuple(
        Move(path, f"{windows_url}/date={date}/{step:012d}-{number}-t{tier}.parquet")
        for date, paths in sorted(slots.items())
        if date != OPEN
        for number, path in enumerate(paths)
    )


def current_paths(hdfs: Hdfs, moves: Sequence[Move]) -> list[str]:
    """Where the files of a committed step are: moved already, or not."""
    return [move.source if hdfs.exists(move.source) else move.target for move in moves]


def finish(hdfs: Hdfs, commit: Commit) -> None:
    """Do what a committed step still has to: may be called again after a crash at any point."""
    for folder in {move.target.rpartition("/")[0] for move in commit.moves}:
        hdfs.make_folder(folder)
    for move in commit.moves:
        try:
            hdfs.rename(move.source, move.target)
        except (FileNotFoundError, FileExistsError):
            if not hdfs.exists(move.target):
                raise
    for path in commit.removes:
        hdfs.delete(path)


def list_files(hdfs: Hdfs, windows_url: str, date: str | None = None) -> list[WindowFile]:
    """List the output's files, of one date or of all."""
    files = []
    for folder in hdfs.list(windows_url):
        folder_date = folder.name.removeprefix("date=")
        if not folder.name.startswith("date=") or date not in (None, folder_date):
            continue
        for entry in hdfs.list(folder.path):
            match = _FILE_NAME.fullmatch(entry.name)
            if match:
                path = f"{windows_url}/{folder.name}/{entry.name}"
                files.append(WindowFile(folder_date, path, int(match[1]), int(match[3]), entry.modified_ms))
    return files


class Merge(NamedTuple):
    """Files of a date to be merged into one of a tier."""

    date: str
    paths: tuple[str, ...]
    tier: int


def next_merge(files: Sequence[WindowFile], quiet_before_ms: int) -> Merge | None:
    """Choose files to merge.

    Args:
        files: The output's files.
        quiet_before_ms: A date without a newer file gets nothing more, for now: its files become one.
    """
    by_date: dict[str, list[WindowFile]] = defaultdict(list)
    for file in files:
        by_date[file.date].append(file)
    for date, of_date in sorted(by_date.items()):
        if len(of_date) > 1 and max(file.modified_ms for file in of_date) < quiet_before_ms:
            return Merge(date, tuple(file.path for file in of_date), max(file.tier for file in of_date) + 1)
        for tier in sorted({file.tier for file in of_date}):
            same = [file for file in of_date if file.tier == tier]
            if len(same) >= FAN_IN:
                return Merge(date, tuple(file.path for file in same), tier + 1)
    return None


def merged(spark: SparkSession, merge: Merge) -> DataFrame:
    """Sum the rows of the files; sorted so that a dimension's rows stand together."""
    rows = summed(read_rows(spark, merge.paths)).withColumn("slot", sf.lit(merge.date))
    return rows.coalesce(1).sortWithinPartitions("dimension", "window_start", "key")


def expired(files: Sequence[WindowFile], now_ms: int, keep_days: int) -> list[WindowFile]:
    """Choose the files of dates that were last written long enough ago."""
    if not keep_days:
        return []
    newest: dict[str, int] = defaultdict(int)
    for file in files:
        newest[file.date] = max(newest[file.date], file.modified_ms)
    return [file for file in files if newest[file.date] < now_ms - keep_days * _DAY_MS]
