"""Reads what the windows job has counted, without Spark: over WebHDFS, at one commit, in bounded memory.

The job's commit log says which files count (``docs/windows.md`` has the layout): the closed windows in the
Parquet output that were written up to the newest commit, and the totals of the windows that were open then.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from fsspec.implementations.webhdfs import WebHDFS
from pyarrow.fs import FSSpecHandler, PyFileSystem

from logpipe import settings
from logpipe.digest import Digest

STORE_FORMAT = 1
_ATTEMPTS = 20
_BATCH_ROWS = 65_536
_OUTPUT_FILE = re.compile(r"([0-9]{12})-[0-9]+-t[0-9]+\.parquet")
_MODULUS = 1 << 64
ROW_COLUMNS = ("window_start", "dimension", "key", "lines", "sent_bytes")


class WindowsError(RuntimeError):
    """The window store can't be read; the message names the place."""


@dataclass(frozen=True, slots=True)
class WindowTotals:
    """What the windows hold at one commit of the job.

    Attributes:
        digest: Every counted line once: lines, bytes and hash sum over all windows, open and closed.
        covered_offsets: Next offset of each partition of the topic: lines before it are counted.
        repeats: Records that were not counted, since their identity had been.
        late: Lines that came after their window was closed; they are counted.
        malformed: Lines that could not be parsed; they are counted.
        committed_at: When, ISO-8601 UTC.
        topic_id: The topic in which the offsets count; empty: not known.
        replays: Of each replay its counted lines.
        numbers: Of each replay its highest line number.
        anonymous: Counted lines without identity.
        foreign: Of them, those whose key was no identity.
    """

    digest: Digest = field(default_factory=Digest)
    covered_offsets: dict[int, int] | None = None
    repeats: int = 0
    late: int = 0
    malformed: int = 0
    committed_at: str | None = None
    topic_id: str = ""
    replays: dict[str, Digest] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    anonymous: Digest = field(default_factory=Digest)
    foreign: int = 0


class WindowStore:
    """The windows of one job on HDFS.

    Args:
        webhdfs_url: ``http://host:port`` of the NameNode.
        user: User on HDFS.
        checkpoint_dir: The job's checkpoint folder.
        windows_dir: The job's Parquet output.
    """

    def __init__(self, webhdfs_url: str, user: str, checkpoint_dir: str, windows_dir: str) -> None:
        address = urlsplit(webhdfs_url)
        self._fs = WebHDFS(address.hostname, address.port, user=user, skip_instance_cache=True)
        self._arrow_fs = PyFileSystem(FSSpecHandler(self._fs))
        self._commits_dir = f"{checkpoint_dir.rstrip('/')}/windows"
        self._windows_dir = windows_dir.rstrip("/")

    def _list(self, path: str) -> list[str]:
        try:
            return [str(entry["name"]) for entry in self._fs.ls(path, detail=True)]
        except FileNotFoundError:
            return []

    def commit(self) -> dict[str, Any] | None:
        """Read the newest commit; None when the job has not begun.

        Raises:
            WindowsError: it was written by another version.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._newest_commit()
            except FileNotFoundError:  # a driver took over, or the log was pruned, between list and read
                continue
        raise WindowsError(f"The commits in {self._commits_dir} changed {_ATTEMPTS} times while being read")

    def _newest_commit(self) -> dict[str, Any] | None:
        epochs = [path for path in self._list(self._commits_dir) if re.search(r"/commits\.[0-9]+$", path)]
        if not epochs:
            return None
        folder = max(epochs, key=lambda path: int(path.rpartition(".")[2]))
        commits = [path for path in self._list(folder) if path.endswith(".json")]
        if not commits:
            raise FileNotFoundError(folder)
        text = self._fs.cat_file(max(commits))
        # A driver took over: of what is gone WebHDFS gives an error's text, cut to the old length.
        if text.startswith(b'{"RemoteException"'):
            raise FileNotFoundError(max(commits))
        commit: dict[str, Any] = json.loads(text)
        if commit.get("format") != STORE_FORMAT:
            raise WindowsError(
                f"{max(commits)} has format {commit.get('format')}, expected {STORE_FORMAT}: it was "
                "written by another version of the windows job"
            )
        return commit

    def _files(self, commit: dict[str, Any]) -> list[str]:
        """List the files that hold a commit's rows."""
        removed = {_path(path) for path in commit["removes"]}
        moves = {_path(move["target"]): _path(move["source"]) for move in commit["moves"]}
        files: dict[str, str] = {}
        for folder in self._list(self._windows_dir):
            if "/date=" not in folder:
                continue
            for path in self._list(folder):
                match = _OUTPUT_FILE.fullmatch(path.rpartition("/")[2])
                if match and int(match[1]) <= commit["step"] and path not in removed:
                    files[path] = path
        for target, source in moves.items():  # committed, and perhaps not yet in its place
            if target not in files:
                files[target] = source
        open_folder = commit["open_folder"]
        open_files = self._list(_path(open_folder)) if open_folder else []
        return [*files.values(), *(path for path in open_files if path.endswith(".parquet"))]

    def _consistent(self, columns: list[str], keep: pc.Expression | None) -> Iterator["_Reading"]:
        """Offer readings, until one was not disturbed by files being replaced meanwhile."""
        disturbed = "they were replaced"
        for _ in range(_ATTEMPTS):
            commit = self.commit()
            if commit is None:
                yield _Reading(None, iter(()))
                return
            reading = _Reading(commit, self._scan(commit, columns, keep))
            yield reading
            now = self.commit()
            if not reading.failed and now is not None and now["rewrite_step"] == commit["rewrite_step"]:
                return
            disturbed = reading.failed or disturbed
        raise WindowsError(
            f"Files in {self._windows_dir} were not read in {_ATTEMPTS} attempts, at last since {disturbed}"
        )

    def _scan(
        self, commit: dict[str, Any], columns: list[str], keep: pc.Expression | None
    ) -> Iterator[pa.RecordBatch]:
        files = self._files(commit)
        if not files:
            return
        dataset = ds.dataset(files, format="parquet", filesystem=self._arrow_fs)
        scanner = dataset.scanner(
            columns=columns, filter=keep, batch_size=_BATCH_ROWS, batch_readahead=1, fragment_readahead=1
        )
        yield from scanner.to_batches()

    def totals(self) -> WindowTotals:
        """Sum all windows at the newest commit.

        Raises:
            WindowsError: the store can't be read.
        """
        columns = ["window_start", "lines", "line_bytes", "hash_sum"]
        result = WindowTotals()
        for reading in self._consistent(columns, ds.field("dimension") == "total"):
            result = reading.attempt(_sum_totals, result)
        return result

    def rows(self, keep: pc.Expression | None = None) -> pa.Table:
        """Read window rows at the newest commit: each window, dimension and key once.

        Args:
            keep: Which rows, as a filter over `ROW_COLUMNS`; what is kept must fit in memory.

        Returns:
            Columns `ROW_COLUMNS`, sorted by them.
        """
        table = pa.table({name: [] for name in ROW_COLUMNS})
        for reading in self._consistent(list(ROW_COLUMNS), keep):
            table = reading.attempt(_sum_rows, table)
        return table


class _Reading:
    """A commit, and the batches of its files; files that move meanwhile make it a failed one."""

    def __init__(self, commit: dict[str, Any] | None, batches: Iterator[pa.RecordBatch]) -> None:
        self.commit = commit
        self.batches = batches
        self.failed = ""

    def attempt(self, summed: Any, otherwise: Any) -> Any:
        if self.commit is None:
            return otherwise
        try:
            return summed(self.commit, self.batches)
        except (FileNotFoundError, pa.ArrowInvalid) as error:
            # Of a file that moves between two requests WebHDFS gives an error's text for bytes.
            self.failed = str(error)
            return otherwise


def _path(url: str) -> str:
    """Drop the file system's address from an HDFS URL."""
    return urlsplit(url).path


def _sum_totals(commit: dict[str, Any], batches: Iterator[pa.RecordBatch]) -> WindowTotals:
    """Sum rows of the dimension total; of overlapping windows so few that each line is in one."""
    window_s = int(commit["parameters"]["window_s"])
    lines, line_bytes, hash_sum = commit["expired"]
    for batch in batches:
        start_us = (
            batch["window_start"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        )
        once = start_us // 1_000_000 % window_s == 0
        lines += int(batch["lines"].to_numpy(zero_copy_only=False)[once].sum())
        line_bytes += int(batch["line_bytes"].to_numpy(zero_copy_only=False)[once].sum())
        hash_sum += int(batch["hash_sum"].to_numpy(zero_copy_only=False)[once].astype(np.uint64).sum())
    return WindowTotals(
        digest=Digest(lines, line_bytes, hash_sum % _MODULUS),
        covered_offsets=_offsets(commit),
        repeats=commit["repeats"],
        late=commit["late"],
        malformed=commit["malformed"],
        committed_at=commit["committed_at"],
    )


def _sum_rows(commit: dict[str, Any], batches: Iterator[pa.RecordBatch]) -> pa.Table:
    read = list(batches)
    if not read:
        return pa.table({name: [] for name in ROW_COLUMNS})
    keys = list(ROW_COLUMNS[:3])
    summed = pa.Table.from_batches(read).group_by(keys).aggregate([("lines", "sum"), ("sent_bytes", "sum")])
    return summed.rename_columns({"lines_sum": "lines", "sent_bytes_sum": "sent_bytes"}).sort_by(
        [(key, "ascending") for key in keys]
    )


def _offsets(commit: dict[str, Any]) -> dict[int, int]:
    return {int(partition): int(offset) for partition, offset in commit["offsets"].items()}


def _store(
    webhdfs_url: str | None, user: str | None, checkpoint_dir: str | None, windows_dir: str | None
) -> WindowStore:
    defaults = settings.load()
    return WindowStore(
        webhdfs_url or defaults.webhdfs_url,
        user or defaults.hdfs_user,
        checkpoint_dir or defaults.hdfs_checkpoint_dir,
        windows_dir or defaults.hdfs_windows_dir,
    )


def read_window_totals(
    webhdfs_url: str | None = None,
    windows_dir: str | None = None,
    checkpoint_dir: str | None = None,
    *,
    user: str | None = None,
) -> Digest:
    """Digest the lines of all windows, open and closed, at the job's newest commit; of none before the first.

    Arguments that are left out are the settings'. The digest equals that of the topic's lines before
    `covered_offsets`, each identity once. `read_window_state` gives both at one commit.

    Raises:
        WindowsError: the store can't be read.
    """
    return _store(webhdfs_url, user, checkpoint_dir, windows_dir).totals().digest


def read_window_state(
    webhdfs_url: str | None = None,
    windows_dir: str | None = None,
    checkpoint_dir: str | None = None,
    *,
    user: str | None = None,
) -> WindowTotals:
    """Read digest, offsets and counters at one commit; arguments and errors as `read_window_totals`."""
    return _store(webhdfs_url, user, checkpoint_dir, windows_dir).totals()


def read_commit_totals(of: settings.Settings | None = None) -> WindowTotals:
    """Sums of the job's newest commit: one small file is read, no window."""
    of = of or settings.load()
    commit = _store(of.webhdfs_url, of.hdfs_user, of.hdfs_checkpoint_dir, of.hdfs_windows_dir).commit()
    return WindowTotals() if commit is None else WindowTotals(covered_offsets=_offsets(commit))


def covered_offsets(
    webhdfs_url: str | None = None, checkpoint_dir: str | None = None, *, user: str | None = None
) -> dict[int, int]:
    """Next offset of each partition at the job's newest commit: one small file is read, no window.

    A partition that the job has not seen is left out.
    """
    commit = _store(webhdfs_url, user, checkpoint_dir, None).commit()
    return {} if commit is None else _offsets(commit)


def read_windows(
    webhdfs_url: str | None = None,
    windows_dir: str | None = None,
    checkpoint_dir: str | None = None,
    *,
    user: str | None = None,
    dimension: str | None = None,
) -> pa.Table:
    """Read window rows, summed: columns `ROW_COLUMNS`; of one dimension, or of all."""
    keep = None if dimension is None else ds.field("dimension") == dimension
    return _store(webhdfs_url, user, checkpoint_dir, windows_dir).rows(keep)
