"""The window store's commit log on HDFS: one writer, one atomic commit a step.

Under the checkpoint folder stand

``query/``, later ``query-<step>/``
    Spark's own offsets of the streaming query; the commit names the folder.
``windows/commits.<epoch>/<step>.json``
    One file a committed step; the newest is the truth. A step exists exactly when its file does.
``windows/steps/<step>-<epoch>/slot=…``
    The Parquet files that a step wrote. ``slot=open`` are the totals of the open windows after that step.
``windows/owner.json``
    Who writes; its modification time is the heartbeat.

A driver that takes over renames ``commits.<epoch>`` to the next epoch. The old one, should it be alive after
all, can commit nothing any more: its commit is a rename into a folder that is gone.
"""

import json
import os
import socket
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from logpipe.contracts.chain import Mark, digest_of_list, digest_to_list
from logpipe.digest import Digest
from windows.errors import FencedError, OccupiedError, WindowsError
from windows.hdfs import Hdfs
from windows.identity import Marks

FORMAT = 2
FIRST_QUERY = "query"
KEPT_COMMITS = 30
HEARTBEAT_S = 5.0
FOREIGN_OWNER_WAIT_S = 20.0


@dataclass(frozen=True)
class Move:
    """A file that a step wrote and where it belongs."""

    source: str
    target: str


@dataclass(frozen=True)
class Commit:
    """The store after a step.

    Attributes:
        step: Number of the step, from 1.
        kind: ``batch`` counted lines, ``close`` closed windows while no lines came, ``rewrite`` merged or
            expired files, ``start`` began the store, ``cut`` began a query anew since the broker had lost
            what Spark's offsets stood for.
        query: Name of the folder of Spark's offsets.
        batch_id: Spark's number of the last batch counted, in that folder.
        folder: Where the step's files stand; empty for a step that wrote none.
        open_folder: Parquet files with the totals of the open windows; empty when none is open.
        open_rows: Rows in there.
        open_until_ms: End of the newest window by arrival.
        offsets: Next offset of each partition.
        newest_ms: Newest arrival among the records of each partition before that.
        watermark_ms: Windows that end by then are closed. None before the first time.
        marks: Of each replay in each partition the highest number, last arrival, and digest of its lines.
        moves: Files to be moved to the Parquet output.
        removes: Files of the output that this step replaced.
        rewrite_step: The last step that replaced files.
        lines, line_bytes, hash_sum, late, malformed, repeats: Sums over all steps.
        anonymous: The part of the lines without identity: no key, or a foreign one.
        foreign: Records with a key that is no identity; they are counted, and in ``anonymous``.
        expired: Lines, bytes and hash sum of the windows that were deleted by age.
    """

    step: int
    kind: Literal["start", "batch", "close", "rewrite", "cut"]
    parameters: dict[str, Any]
    topic_id: str
    query: str = FIRST_QUERY
    batch_id: int = -1
    folder: str = ""
    open_folder: str = ""
    open_until_ms: int = 0
    open_rows: int = 0
    offsets: dict[int, int] = field(default_factory=dict)
    newest_ms: dict[int, int] = field(default_factory=dict)
    watermark_ms: int | None = None
    marks: Marks = field(default_factory=dict)
    moves: tuple[Move, ...] = ()
    removes: tuple[str, ...] = ()
    rewrite_step: int = 0
    lines: int = 0
    line_bytes: int = 0
    hash_sum: int = 0
    late: int = 0
    malformed: int = 0
    repeats: int = 0
    anonymous: Digest = field(default_factory=Digest)
    foreign: int = 0
    expired: tuple[int, int, int] = (0, 0, 0)
    committed_at: str = ""

    def to_json(self) -> str:
        """As JSON text."""
        values = asdict(replace(self, marks={}))
        values["marks"] = [
            [*place, mark.number, mark.last_arrival_ms, *digest_to_list(mark.digest)]
            for place, mark in self.marks.items()
        ]
        values["anonymous"] = digest_to_list(self.anonymous)
        values["hash_sum"] = f"{self.hash_sum:016x}"
        values["format"] = FORMAT
        return json.dumps(values, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "Commit":
        """Rebuild what `to_json` gave."""
        values = json.loads(text)
        if values.pop("format", None) != FORMAT:
            raise WindowsError(
                "The checkpoint was written by another version of the windows job: give a new "
                "--checkpoint-dir and --windows-dir to count the topic anew, or run that version"
            )
        for name in ("offsets", "newest_ms"):
            values[name] = {int(partition): value for partition, value in values[name].items()}
        values["marks"] = {
            (partition, replay): Mark(number, arrival_ms, digest_of_list(lines))
            for partition, replay, number, arrival_ms, *lines in values["marks"]
        }
        values["anonymous"] = digest_of_list(values["anonymous"])
        values["moves"] = tuple(Move(**move) for move in values["moves"])
        values["removes"] = tuple(values["removes"])
        values["expired"] = tuple(values["expired"])
        values["hash_sum"] = int(values["hash_sum"], 16)
        return cls(**values)


@dataclass(frozen=True)
class Owner:
    """A driver: its process, told apart from every other."""

    host: str
    process_space: str
    pid: int
    started: str

    @classmethod
    def this_process(cls) -> "Owner":
        """The running driver."""
        return cls(socket.gethostname(), _process_space(), os.getpid(), _process_start(os.getpid()))

    def is_dead(self) -> bool | None:
        """Tell whether its process is gone; None when it can't be seen from here."""
        if (self.host, self.process_space) != (socket.gethostname(), _process_space()):
            return None
        return _process_start(self.pid) != self.started


def _process_space() -> str:
    try:
        return os.readlink("/proc/self/ns/pid")
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """Start of a live process in clock ticks since boot, with the boot's id; empty when there is none."""
    try:
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
    return "" if after_name[0] == "Z" else f"{boot_id}/{after_name[19]}"


class CommitLog:
    """The commits of one checkpoint, with this driver as their one writer."""

    def __init__(self, hdfs: Hdfs, checkpoint_url: str) -> None:
        self._hdfs = hdfs
        self.folder = f"{checkpoint_url}/windows"
        self.checkpoint_url = checkpoint_url
        self._epoch = 0
        self._beat_at = 0.0

    @property
    def _commits(self) -> str:
        return f"{self.folder}/commits.{self._epoch}"

    @property
    def _owner_path(self) -> str:
        return f"{self.folder}/owner.json"

    def _epochs(self) -> list[int]:
        names = (entry.name for entry in self._hdfs.list(self.folder) if entry.is_dir)
        return [int(name.removeprefix("commits.")) for name in names if name.startswith("commits.")]

    def last(self) -> Commit | None:
        """The newest commit, without taking over; None when the checkpoint is new."""
        epochs = self._epochs()
        return self._newest(f"{self.folder}/commits.{max(epochs)}") if epochs else None

    def _newest(self, folder: str) -> Commit:
        names = [entry.name for entry in self._hdfs.list(folder) if entry.name.endswith(".json")]
        if not names:
            raise WindowsError(
                f"{folder} holds no commit: the checkpoint is damaged; remove {self.checkpoint_url} and the "
                "windows folder to count the topic anew"
            )
        return Commit.from_json(self._hdfs.read_text(f"{folder}/{max(names)}"))

    def take_over(self, first: Callable[[], Commit], stopping: Callable[[], bool] = lambda: False) -> Commit:
        """Become the one writer.

        Args:
            first: Makes the first commit of a new checkpoint.
            stopping: Asked while waiting for another driver's heartbeat.

        Returns:
            The newest commit.

        Raises:
            OccupiedError: another driver is alive on this checkpoint.
        """
        self._hdfs.make_folder(self.folder)
        epochs = self._epochs()
        if epochs:
            self._refuse_if_occupied(stopping)
            self._epoch = max(epochs) + 1
            self._take(f"{self.folder}/commits.{max(epochs)}")
        else:
            self._epoch = 1
            new = f"{self.folder}/new-{os.getpid()}-{time.time_ns()}"
            commit = replace(first(), committed_at=_now())
            self._hdfs.write_text(f"{new}/{commit.step:012d}.json", commit.to_json())
            self._take(new)
        self._hdfs.write_text(f"{self._owner_path}.new", json.dumps(asdict(Owner.this_process())))
        self._hdfs.rename(f"{self._owner_path}.new", self._owner_path, overwrite=True)
        self._beat_at = time.monotonic()
        return self._newest(self._commits)

    def _take(self, folder: str) -> None:
        try:
            self._hdfs.rename(folder, self._commits)
        except (FileNotFoundError, FileExistsError):
            raise OccupiedError(
                f"Another driver took over {self.checkpoint_url} at the same moment: "
                "one driver a checkpoint; give this one its own --checkpoint-dir and --windows-dir"
            ) from None

    def _refuse_if_occupied(self, stopping: Callable[[], bool]) -> None:
        try:
            values = json.loads(self._hdfs.read_text(self._owner_path))
        except FileNotFoundError:
            return
        owner = Owner(**values)
        dead = True if owner == Owner.this_process() else owner.is_dead()
        if dead is None:
            dead = self._heart_stopped(stopping)
        if not dead:
            raise OccupiedError(
                f"The driver with pid {owner.pid} on {owner.host} runs on {self.checkpoint_url}: one driver "
                "a checkpoint; stop it, or give this one its own --checkpoint-dir and --windows-dir"
            )

    def _heart_stopped(self, stopping: Callable[[], bool]) -> bool:
        """Watch another machine's heartbeat; no clocks are compared."""
        seen = self._hdfs.modified_ms(self._owner_path)
        end = time.monotonic() + FOREIGN_OWNER_WAIT_S
        while time.monotonic() < end and not stopping():
            if self._hdfs.modified_ms(self._owner_path) != seen:
                return False
            time.sleep(1.0)
        return True

    def beat(self) -> None:
        """Show that this driver lives; at most every few seconds."""
        if time.monotonic() - self._beat_at >= HEARTBEAT_S:
            self._hdfs.touch(self._owner_path, time.time_ns() // 1_000_000)
            self._beat_at = time.monotonic()

    def refuse_if_fenced(self) -> None:
        """Raise `FencedError` when another driver took over."""
        if not self._hdfs.exists(self._commits):
            raise FencedError(
                f"Another driver took over {self.checkpoint_url}: this one says no more about its windows; "
                "one driver a checkpoint"
            )

    def step_folder(self, step: int) -> str:
        """Where a step of this driver writes."""
        return f"{self.folder}/steps/{step:012d}-{self._epoch}"

    def commit(self, commit: Commit) -> Commit:
        """Make a step true, atomically.

        Raises:
            FencedError: another driver took over.
        """
        commit = replace(commit, committed_at=_now())
        temporary = f"{self.folder}/uncommitted/{commit.step:012d}-{self._epoch}"
        self._hdfs.write_text(temporary, commit.to_json())
        try:
            self._hdfs.rename(temporary, f"{self._commits}/{commit.step:012d}.json")
        except (FileNotFoundError, FileExistsError):
            raise FencedError(
                f"Another driver took over {self.checkpoint_url}: nothing of step {commit.step} was written; "
                "one driver a checkpoint"
            ) from None
        return commit

    def prune(self, newest: Commit) -> None:
        """Forget the step that is old enough, and its files."""
        old = newest.step - KEPT_COMMITS
        path = f"{self._commits}/{old:012d}.json"
        if old < 1 or not self._hdfs.exists(path):
            return
        commit = Commit.from_json(self._hdfs.read_text(path))
        self._hdfs.delete(path)
        if commit.folder and not newest.open_folder.startswith(commit.folder):
            self._hdfs.delete(commit.folder)

    def clean(self, newest: Commit) -> None:
        """Delete what steps left behind that were never committed."""
        names = [entry.name for entry in self._hdfs.list(self._commits)]
        kept = {Commit.from_json(self._hdfs.read_text(f"{self._commits}/{name}")).folder for name in names}
        for entry in self._hdfs.list(f"{self.folder}/steps"):
            if entry.path not in kept and not newest.open_folder.startswith(entry.path):
                self._hdfs.delete(entry.path)
        self._hdfs.delete(f"{self.folder}/uncommitted")
        for entry in self._hdfs.list(self.folder):
            if entry.name.startswith("new-"):
                self._hdfs.delete(entry.path)
        for entry in self._hdfs.list(self.checkpoint_url):
            if entry.name.split("-")[0] == FIRST_QUERY and entry.name != newest.query:
                self._hdfs.delete(entry.path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
