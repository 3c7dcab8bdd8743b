"""Reads what the windows job has counted, without Spark, at one commit.

A commit alone tells the sums, and costs a few requests however old the job is. Rows are read from the files
that count at the commit: a `Snapshot`. Files never change, and those that count are deleted only once others
stand for them: a reading that met a missing file is begun again.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

from logpipe import settings
from logpipe.clients.hdfs import Hdfs, HdfsAbsentError, HdfsError
from logpipe.contracts import formats
from logpipe.contracts.chain import of_replays
from logpipe.digest import Digest
from logpipe.settings.unreadable import UNREADABLE
from logpipe.windows.commit import (
    EPOCH_NAME,
    FOOTER_KEY,
    STEP_NAME,
    Commit,
    DateFile,
    WindowsError,
    counting,
    step_name,
)

if TYPE_CHECKING:  # a sixth of a second that whoever only imports this need not spend
    import numpy as np
    import pyarrow as pa

KEY_COLUMNS = ("window_start", "dimension", "key")
ROW_COLUMNS = (*KEY_COLUMNS, "lines", "sent_bytes")
_TOTAL_COLUMNS = ("window_start", "lines", "line_bytes", "hash_sum")
_ATTEMPTS = 20
_TAIL_BYTES = 64 << 10
_SUM_AT_ROWS = 1_000_000
_MODULUS = 1 << 64
T = TypeVar("T")


class Files(formats.Files, Protocol):
    """Where the files are: `logpipe.clients.hdfs.Hdfs`, or the job's own way to HDFS."""

    def tail(self, path: str, length: int) -> bytes | None:
        """A file's last bytes; None when it is not there."""


class SnapshotFile(NamedTuple):
    """A file that counts. ``name`` is its own for ever; ``path``, of the log, may change with a takeover."""

    name: str
    path: str


@dataclass(frozen=True)
class Snapshot:
    """The files that count at a commit; their rows, added up, are the windows."""

    commit: Commit
    files: tuple[SnapshotFile, ...]


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
        replays: Of each replay, those that repair others among them, its counted lines. A replay may be left
            out once it was silent for a day and is sealed, or no ledger holds it.
        numbers: Highest line number of each of these.
        anonymous: The part of ``digest`` without identity: no key, or a foreign one.
        foreign: Records with a key that is no identity.
        topic_id: Kafka's id of the topic that was counted; empty before the first commit.
    """

    digest: Digest = field(default_factory=Digest)
    covered_offsets: dict[int, int] | None = None
    repeats: int = 0
    late: int = 0
    malformed: int = 0
    committed_at: str | None = None
    replays: dict[str, Digest] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    anonymous: Digest = field(default_factory=Digest)
    foreign: int = 0
    topic_id: str = ""

    @classmethod
    def of(cls, commit: Commit | None) -> "WindowTotals":
        """What a commit says of all windows; None: of none."""
        if commit is None:
            return cls()
        replays, numbers = of_replays((replay, mark) for (_, replay), mark in commit.marks.items())
        return cls(
            digest=commit.digest,
            covered_offsets=commit.offsets,
            repeats=commit.repeats,
            late=commit.late,
            malformed=commit.malformed,
            committed_at=commit.committed_at,
            replays=replays,
            numbers=numbers,
            anonymous=commit.anonymous,
            foreign=commit.foreign,
            topic_id=commit.topic_id,
        )


def commit_of(tail: bytes) -> Commit:
    """The commit in the footer of a file of the log, from the file's last bytes.

    Raises:
        WindowsError: it is of another version, or damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return Commit.from_json(pq.read_metadata(pa.BufferReader(tail)).metadata[FOOTER_KEY])
    except (*UNREADABLE, OSError) as error:
        raise WindowsError(
            f"A commit of the windows cannot be read ({type(error).__name__}: {error}): its file is damaged, "
            "or is none of the job's"
        ) from None


class WindowStore:
    """The windows of one job.

    Args:
        files: where they are.
        checkpoint_dir: The job's checkpoint folder.
        windows_dir: The job's folder of files by date.
    """

    def __init__(self, files: Files, checkpoint_dir: str, windows_dir: str) -> None:
        self._files = files
        self._commits_dir = f"{checkpoint_dir.rstrip('/')}/windows"
        self.windows_dir = windows_dir.rstrip("/")

    # Commits

    def commit(self, step: int | None = None) -> Commit | None:
        """Read the newest commit, or one that the log still holds.

        Args:
            step: which one.

        Returns:
            None when the job has not begun, or the log does not hold the step.

        Raises:
            WindowsError: HDFS does not answer, or another version wrote the commit.
        """
        return self._patiently(lambda: self._commit(step))

    def _commit(self, step: int | None) -> Commit | None:
        folder, steps = self._log()
        if not folder or (step is not None and step not in steps):
            return None
        newest = max(steps)
        return self.commit_at(f"{folder}/{steps[newest if step is None else step]}")

    def commit_at(self, path: str) -> Commit:
        """Read the commit of a file of the log.

        Raises:
            HdfsAbsentError: it is not there.
            WindowsError: it is of another version.
        """
        if path.endswith(".json"):
            return Commit.from_json(_there(self._files.read(path), path))
        tail = _there(self._files.tail(path, _TAIL_BYTES), path)
        footer_bytes = int.from_bytes(tail[-8:-4], "little") + 8
        if footer_bytes > len(tail):
            tail = _there(self._files.tail(path, footer_bytes), path)
        return commit_of(tail)

    def _log(self) -> tuple[str, dict[int, str]]:
        """The newest epoch's folder, empty when there is none, and the files in it by step."""
        matches = [EPOCH_NAME.fullmatch(entry.name) for entry in self._files.list(self._commits_dir)]
        epochs = [int(match[1]) for match in matches if match]
        if not epochs:
            return "", {}
        folder = f"{self._commits_dir}/commits.{max(epochs)}"
        names = [entry.name for entry in self._files.list(folder)]
        steps = {int(match[1]): name for name in names if (match := STEP_NAME.fullmatch(name))}
        if not steps:
            raise HdfsAbsentError(folder)
        return folder, steps

    def _patiently(self, read: Callable[[], T]) -> T:
        """Read again when a file went meanwhile: a driver took over, or others stand for it now."""
        absent: HdfsAbsentError | None = None
        for _ in range(_ATTEMPTS):
            try:
                return read()
            except HdfsAbsentError as error:
                absent = error
            except HdfsError as error:
                raise WindowsError(f"The windows can't be read: {error}") from error
        raise WindowsError(f"Files in {self._commits_dir} went {_ATTEMPTS} times while being read: {absent}")

    # Rows

    def snapshot(self, dates: Collection[str] | None = None, step: int | None = None) -> Snapshot | None:
        """List the files that count at the newest commit, or at one that the log still holds.

        Args:
            dates: ``YYYY-MM-DD``: of the files by date only these; files of the log hold any date.
            step: of which commit.

        Returns:
            None as for `commit`. Once the files are read, `holds` tells whether they were whole.

        Raises:
            WindowsError: HDFS does not answer, or another version wrote the commit.
        """
        return self._patiently(lambda: self._snapshot(dates, step))

    def _snapshot(self, dates: Collection[str] | None, step: int | None) -> Snapshot | None:
        commit = self._commit(step)
        if commit is None:
            return None
        by_date = [
            SnapshotFile(file.path, f"{self.windows_dir}/{file.path}")
            for date in self._dates()
            if (dates is None or date in dates) and date not in commit.expires
            for file in counting(self.date_files(date), commit.folded)
        ]
        return Snapshot(commit, (*by_date, *self._log_files(commit)))

    def _log_files(self, commit: Commit) -> list[SnapshotFile]:
        folder, steps = self._log()
        if commit.step not in steps:
            raise HdfsAbsentError(f"{folder}/{step_name(commit.step)}")
        return [
            SnapshotFile(steps[step], f"{folder}/{steps[step]}")
            for step in sorted(steps)
            if commit.folded < step <= commit.step
        ]

    def _dates(self) -> list[str]:
        names = [entry.name for entry in self._files.list(self.windows_dir)]
        return sorted(name.removeprefix("date=") for name in names if name.startswith("date="))

    def date_files(self, date: str) -> list[DateFile]:
        """All files of a date, those among them that count no more or not yet."""
        entries = self._files.list(f"{self.windows_dir}/date={date}")
        found = (DateFile.of_name(date, entry.name, entry.modified_ms) for entry in entries)
        return [file for file in found if file is not None]

    def all_date_files(self) -> list[DateFile]:
        """The same of all dates."""
        return [file for date in self._dates() for file in self.date_files(date)]

    def holds(self, snapshot: Snapshot) -> bool:
        """Tell whether what counted at the snapshot's commit is still there, and was when it was listed."""
        _, steps = self._patiently(self._log)
        newest = self.commit()
        is_kept = newest is not None and newest.expired_step == snapshot.commit.expired_step
        return is_kept and snapshot.commit.step in steps

    def _reading(
        self,
        summed: Callable[[Commit, Iterator["pa.RecordBatch"]], T],
        otherwise: T,
        columns: Collection[str],
        dimension: str | Collection[str] | None,
    ) -> T:
        """Add up the rows of a snapshot that held until they were read."""

        def read() -> T:
            snapshot = self._snapshot(None, None)
            if snapshot is None:
                return otherwise
            result = summed(snapshot.commit, self._batches(snapshot, columns, dimension))
            if not self.holds(snapshot):
                raise HdfsAbsentError(f"step {snapshot.commit.step}")
            return result

        return self._patiently(read)

    def _batches(
        self, snapshot: Snapshot, columns: Collection[str], dimension: str | Collection[str] | None
    ) -> Iterator["pa.RecordBatch"]:
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        wanted = pa.array([dimension] if isinstance(dimension, str) else dimension or [], pa.string())
        for file in snapshot.files:
            content = pa.BufferReader(_there(self._files.read(file.path), file.path))
            for batch in pq.ParquetFile(content).iter_batches(columns=[*columns, "dimension"]):
                kept = batch if dimension is None else batch.filter(pc.is_in(batch["dimension"], wanted))
                yield kept.select(list(columns))

    def totals(self) -> WindowTotals:
        """Add up all windows at the newest commit.

        Raises:
            WindowsError: they can't be read.
        """

        def summed(commit: Commit, batches: Iterator["pa.RecordBatch"]) -> WindowTotals:
            once = sum_totals(batches, int(commit.parameters["window_s"]))
            return replace(WindowTotals.of(commit), digest=commit.expired + once)

        return self._reading(summed, WindowTotals(), _TOTAL_COLUMNS, "total")

    def counts(self, dimensions: Collection[str]) -> tuple[WindowTotals, dict[tuple[str, str], int]]:
        """Add up all windows, and the lines of each key of some dimensions, at the same commit: the newest.

        Args:
            dimensions: whose keys; with ``total``, whose lines the rows that are still there hold.

        Returns:
            The sums, and lines by dimension and key; of overlapping windows each line once.

        Raises:
            WindowsError: they can't be read.
        """
        import pyarrow.compute as pc

        def summed(
            commit: Commit, batches: Iterator["pa.RecordBatch"]
        ) -> tuple[WindowTotals, dict[tuple[str, str], int]]:
            window_s = int(commit.parameters["window_s"])
            digest, lines = commit.expired, Counter[tuple[str, str]]()
            for batch in batches:
                of_total = batch.filter(pc.equal(batch["dimension"], "total")).select(list(_TOTAL_COLUMNS))
                digest += sum_totals(iter((of_total,)), window_s)
                lines.update(_lines_by_key(batch, window_s))
            return replace(WindowTotals.of(commit), digest=digest), dict(lines)

        columns = (*_TOTAL_COLUMNS, "dimension", "key")
        nothing: tuple[WindowTotals, dict[tuple[str, str], int]] = (WindowTotals(), {})
        return self._reading(summed, nothing, columns, {"total", *dimensions})

    def table(self, dimension: str | Collection[str] | None = None) -> "pa.Table":
        """Read window rows at the newest commit: each window, dimension and key once.

        Args:
            dimension: of one, of some, or of all. The rows must fit in memory.

        Returns:
            Columns `ROW_COLUMNS`, sorted by them.
        """
        return self._reading(lambda _, batches: sum_rows(batches), sum_rows(iter(())), ROW_COLUMNS, dimension)


def _there(content: bytes | None, path: str) -> bytes:
    if content is None:
        raise HdfsAbsentError(path)
    return content


def sum_totals(batches: Iterator["pa.RecordBatch"], window_s: int) -> Digest:
    """Digest of the lines behind rows of the dimension total; of overlapping windows each line once.

    Args:
        batches: columns ``window_start, lines, line_bytes, hash_sum``.
        window_s: length of a window.
    """
    import numpy as np

    lines = line_bytes = hash_sum = 0
    for batch in batches:
        once = _is_once(batch, window_s)
        column = {name: batch[name].to_numpy(zero_copy_only=False)[once] for name in batch.schema.names[1:]}
        lines += int(column["lines"].sum())
        line_bytes += int(column["line_bytes"].sum())
        hash_sum += int(column["hash_sum"].astype(np.uint64).sum())
    return Digest(lines, line_bytes, hash_sum % _MODULUS)


def _is_once(batch: "pa.RecordBatch", window_s: int) -> "np.ndarray[Any, np.dtype[np.bool_]]":
    """Which rows are of windows that together hold each line once, however they overlap."""
    import numpy as np
    import pyarrow as pa

    start_us = batch["window_start"].cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.asarray(start_us.to_numpy(zero_copy_only=False) // 1_000_000 % window_s == 0)


def _lines_by_key(batch: "pa.RecordBatch", window_s: int) -> dict[tuple[str, str], int]:
    """Lines by dimension and key; of overlapping windows each line once."""
    import pyarrow as pa

    rows = pa.Table.from_batches([batch]).filter(pa.array(_is_once(batch, window_s)))
    sums = rows.group_by(["dimension", "key"]).aggregate([("lines", "sum")])
    return {(row["dimension"], row["key"]): row["lines_sum"] for row in sums.to_pylist()}


def sum_rows(batches: Iterator["pa.RecordBatch"]) -> "pa.Table":
    """Add up rows (columns `ROW_COLUMNS`) of the same window, dimension and key."""
    import pyarrow as pa

    types = (pa.timestamp("us", "UTC"), pa.string(), pa.string(), pa.int64(), pa.int64())
    schema = pa.schema(list(zip(ROW_COLUMNS, types, strict=True)))
    keys = list(KEY_COLUMNS)

    def summed(parts: list[Any]) -> Any:
        sums = pa.concat_tables(parts).group_by(keys).aggregate([("lines", "sum"), ("sent_bytes", "sum")])
        return sums.rename_columns(list(ROW_COLUMNS))

    parts = [schema.empty_table()]
    for batch in batches:
        parts.append(pa.Table.from_batches([batch]).cast(schema))
        if sum(map(len, parts[1:])) > _SUM_AT_ROWS + len(parts[0]):
            parts = [summed(parts)]
    return summed(parts).sort_by([(key, "ascending") for key in keys])


def of_settings(of: settings.Settings | None = None) -> WindowStore:
    """The windows of a pipeline; None: of the one of the environment."""
    of = of or settings.load()
    return WindowStore(Hdfs.of(of), of.hdfs_checkpoint_dir, of.hdfs_windows_dir)


def commit_totals(of: settings.Settings | None = None) -> WindowTotals:
    """What the job's newest commit says of all windows: sums, offsets, and the digest of each replay.

    Reads the end of one file, however long the history, and trusts the job's addition; `WindowStore.totals`
    adds up the windows themselves.

    Raises:
        WindowsError: HDFS does not answer, or another version wrote the commit.
    """
    return WindowTotals.of(of_settings(of).commit())
