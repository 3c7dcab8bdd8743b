"""Reads what the windows job has counted, without Spark: over WebHDFS, at one commit, in bounded memory.

The job's commit log says how much was counted, and which files count (``docs/windows.md`` has the layout):
the closed windows in the Parquet output that were written up to the newest commit, and the totals of the
windows that were open then.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import urlsplit

from logpipe import settings
from logpipe.clients.hdfs import Hdfs, HdfsAbsentError, HdfsError
from logpipe.contracts.chain import digest_of_list
from logpipe.digest import Digest

if TYPE_CHECKING:  # half a second that whoever only reads a commit need not spend
    import pyarrow as pa
    import pyarrow.compute as pc

STORE_FORMAT = 2
_ATTEMPTS = 20
_EPOCH_NAME = re.compile(r"commits\.([0-9]+)")
_OUTPUT_FILE = re.compile(r"([0-9]{12})-[0-9]+-t[0-9]+\.parquet")
ROW_COLUMNS = ("window_start", "dimension", "key", "lines", "sent_bytes")
T = TypeVar("T")


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


class WindowStore:
    """The windows of one job on HDFS.

    Args:
        webhdfs_url: ``http://host:port`` of the NameNode.
        user: User on HDFS.
        checkpoint_dir: The job's checkpoint folder.
        windows_dir: The job's Parquet output.
    """

    def __init__(self, webhdfs_url: str, user: str, checkpoint_dir: str, windows_dir: str) -> None:
        self._url = webhdfs_url
        self._user = user
        self._hdfs = Hdfs(webhdfs_url, user)
        self._commits_dir = f"{checkpoint_dir.rstrip('/')}/windows"
        self._windows_dir = windows_dir.rstrip("/")

    def commit(self) -> dict[str, Any] | None:
        """Read the newest commit; None when the job has not begun. Costs three requests, however old the job.

        Raises:
            WindowsError: HDFS does not answer, or another version wrote the commit.
        """
        for _ in range(_ATTEMPTS):
            try:
                return self._newest_commit()
            except HdfsAbsentError:  # a driver took over, or the log was pruned, between list and read
                continue
            except HdfsError as error:
                raise WindowsError(f"The windows' commits can't be read: {error}") from error
        raise WindowsError(f"The commits in {self._commits_dir} changed {_ATTEMPTS} times while being read")

    def _newest_commit(self) -> dict[str, Any] | None:
        matches = [_EPOCH_NAME.fullmatch(entry.name) for entry in self._hdfs.list(self._commits_dir)]
        epochs = [int(match[1]) for match in matches if match]
        if not epochs:
            return None
        folder = f"{self._commits_dir}/commits.{max(epochs)}"
        commits = [entry.name for entry in self._hdfs.list(folder) if entry.name.endswith(".json")]
        if not commits:
            raise HdfsAbsentError(folder)
        path = f"{folder}/{max(commits)}"
        text = self._hdfs.read(path)
        if text is None:
            raise HdfsAbsentError(path)
        commit: dict[str, Any] = json.loads(text)
        if commit.get("format") != STORE_FORMAT:
            raise WindowsError(
                f"{path} has format {commit.get('format')}, expected {STORE_FORMAT}: it was "
                "written by another version of the windows job"
            )
        return commit

    def commit_totals(self) -> WindowTotals:
        """What the newest commit says of all windows, without reading them. Raises as `commit`."""
        commit = self.commit()
        return WindowTotals() if commit is None else _totals(commit, _digest(commit))

    def _files(self, commit: dict[str, Any]) -> list[str]:
        """List the files that hold a commit's rows."""
        removed = {_path(path) for path in commit["removes"]}
        moves = {_path(move["target"]): _path(move["source"]) for move in commit["moves"]}
        files: dict[str, str] = {}
        for folder in self._hdfs.list(self._windows_dir):
            if not folder.name.startswith("date="):
                continue
            for entry in self._hdfs.list(f"{self._windows_dir}/{folder.name}"):
                match = _OUTPUT_FILE.fullmatch(entry.name)
                path = f"{self._windows_dir}/{folder.name}/{entry.name}"
                if match and int(match[1]) <= commit["step"] and path not in removed:
                    files[path] = path
        for target, source in moves.items():  # committed, and perhaps not yet in its place
            if target not in files:
                files[target] = source
        open_folder = _path(commit["open_folder"])
        open_files = self._hdfs.list(open_folder) if open_folder else []
        return [
            *files.values(),
            *(f"{open_folder}/{entry.name}" for entry in open_files if entry.name.endswith(".parquet")),
        ]

    def _consistent(self, columns: list[str], keep: "pc.Expression | None") -> Iterator["_Reading"]:
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
        self, commit: dict[str, Any], columns: list[str], keep: "pc.Expression | None"
    ) -> Iterator["pa.RecordBatch"]:
        from logpipe.accounting import window_files

        try:
            files = self._files(commit)
        except HdfsError as error:
            raise WindowsError(f"The windows' files can't be listed: {error}") from error
        return window_files.scan(self._url, self._user, files, columns, keep)

    def totals(self) -> WindowTotals:
        """Sum all windows at the newest commit.

        Raises:
            WindowsError: the store can't be read.
        """
        import pyarrow.dataset as ds

        columns = ["window_start", "lines", "line_bytes", "hash_sum"]
        result = WindowTotals()
        for reading in self._consistent(columns, ds.field("dimension") == "total"):
            result = reading.attempt(_sum_totals, result)
        return result

    def rows(self, keep: "pc.Expression | None" = None) -> "pa.Table":
        """Read window rows at the newest commit: each window, dimension and key once.

        Args:
            keep: Which rows, as a filter over `ROW_COLUMNS`; what is kept must fit in memory.

        Returns:
            Columns `ROW_COLUMNS`, sorted by them.
        """
        import pyarrow as pa

        table = pa.table({name: [] for name in ROW_COLUMNS})
        for reading in self._consistent(list(ROW_COLUMNS), keep):
            table = reading.attempt(_sum_rows, table)
        return table


class _Reading:
    """A commit, and the batches of its files; files that move meanwhile make it a failed one."""

    def __init__(self, commit: dict[str, Any] | None, batches: Iterator["pa.RecordBatch"]) -> None:
        self.commit = commit
        self.batches = batches
        self.failed = ""

    def attempt(self, summed: Callable[[dict[str, Any], Iterator["pa.RecordBatch"]], T], otherwise: T) -> T:
        import pyarrow as pa

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


def _sum_totals(commit: dict[str, Any], batches: Iterator["pa.RecordBatch"]) -> WindowTotals:
    """Sum rows of the dimension total; of overlapping windows so few that each line is in one."""
    from logpipe.accounting import window_files

    lines, line_bytes, hash_sum = commit["expired"]
    summed = window_files.sum_totals(batches, int(commit["parameters"]["window_s"]))
    return _totals(commit, Digest(lines, line_bytes, hash_sum) + summed)


def _sum_rows(_: dict[str, Any], batches: Iterator["pa.RecordBatch"]) -> "pa.Table":
    from logpipe.accounting import window_files

    return window_files.sum_rows(batches, ROW_COLUMNS)


def _digest(commit: dict[str, Any]) -> Digest:
    """The lines that were ever counted, as the job added them up; deleted windows are in it."""
    return Digest(commit["lines"], commit["line_bytes"], int(commit["hash_sum"], 16))


def _totals(commit: dict[str, Any], digest: Digest) -> WindowTotals:
    replays: dict[str, Digest] = defaultdict(Digest)
    numbers: dict[str, int] = defaultdict(int)
    for _, replay, number, _, *lines in commit["marks"]:
        replays[replay] += digest_of_list(lines)
        numbers[replay] = max(numbers[replay], number)
    return WindowTotals(
        digest=digest,
        covered_offsets=_offsets(commit),
        repeats=commit["repeats"],
        late=commit["late"],
        malformed=commit["malformed"],
        committed_at=commit["committed_at"],
        replays=dict(replays),
        numbers=dict(numbers),
        anonymous=digest_of_list(commit["anonymous"]),
        foreign=commit["foreign"],
        topic_id=commit["topic_id"],
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


def read_commit_totals(of: settings.Settings | None = None) -> WindowTotals:
    """What the job's newest commit says of all windows: sums, offsets, and the digest of each replay.

    Reads one small file, however long the history, and trusts the job's addition; `read_window_state` adds up
    the windows themselves.

    Args:
        of: The pipeline; None: the one of the environment.

    Raises:
        WindowsError: HDFS does not answer, or another version wrote the commit.
    """
    of = of or settings.load()
    return _store(of.webhdfs_url, of.hdfs_user, of.hdfs_checkpoint_dir, of.hdfs_windows_dir).commit_totals()


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
) -> "pa.Table":
    """Read window rows, summed: columns `ROW_COLUMNS`; of one dimension, or of all."""
    import pyarrow.dataset as ds

    keep = None if dimension is None else ds.field("dimension") == dimension
    return _store(webhdfs_url, user, checkpoint_dir, windows_dir).rows(keep)
