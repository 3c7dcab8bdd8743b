"""The window store's commit log on HDFS: one writer, one atomic commit a step.

`logpipe.windows.commit` says what stands where. A driver that takes over renames ``commits.<epoch>`` to the
next epoch. The old one, should it be alive after all, can commit nothing any more: its commit is a rename
into a folder that is gone.
"""

import io
import json
import os
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl

from logpipe.windows.commit import FIRST_QUERY, STEP_NAME, Commit, step_name
from logpipe.windows.reader import WindowStore, commit_of
from windows import rows as window_rows
from windows.errors import FencedError, OccupiedError
from windows.hdfs import Hdfs

HEARTBEAT_S = 5.0
FOREIGN_OWNER_WAIT_S = 20.0


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
    """The commits of one checkpoint, with this driver as their one writer.

    Args:
        hdfs: where they are.
        checkpoint_url: the checkpoint folder.
        windows_url: the folder of files by date.
    """

    def __init__(self, hdfs: Hdfs, checkpoint_url: str, windows_url: str) -> None:
        self._hdfs = hdfs
        self.store = WindowStore(hdfs, checkpoint_url, windows_url)
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

    @property
    def scratch(self) -> str:
        """This driver's folder for files that are not in their place yet."""
        return f"{self.folder}/uncommitted/{self._epoch}"

    def _epochs(self) -> list[int]:
        names = (entry.name for entry in self._hdfs.list(self.folder))
        return [int(name.removeprefix("commits.")) for name in names if name.startswith("commits.")]

    def take_over(self, first: Callable[[], Commit], stopping: Callable[[], bool] = lambda: False) -> Commit:
        """Become the one writer.

        Args:
            first: Makes the first commit of a new checkpoint.
            stopping: Asked while waiting for another driver's heartbeat.

        Returns:
            The newest commit.

        Raises:
            OccupiedError: another driver is alive on this checkpoint.
            WindowsError: another version wrote it; nothing was changed.
        """
        self._hdfs.make_folder(self.folder)
        self.store.commit()  # of another version it is refused
        epochs = self._epochs()
        if epochs:
            self._refuse_if_occupied(stopping)
            self._epoch = max(epochs) + 1
            self._take(f"{self.folder}/commits.{max(epochs)}")
        else:
            self._epoch = 1
            new = f"{self.folder}/new-{os.getpid()}-{time.time_ns()}"
            commit = replace(first(), store_id=uuid.uuid4().hex, committed_at=_now())
            self._write(f"{new}/{step_name(commit.step)}", commit, window_rows.no_rows())
            self._take(new)
        self._hdfs.write_text(self._owner_path, json.dumps(asdict(Owner.this_process())))
        self._beat_at = time.monotonic()
        newest = self.store.commit()
        assert newest is not None
        return newest

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

    def read(self, step: int, sums: tuple[str, ...] = window_rows.SUMS) -> tuple[Commit, pl.DataFrame]:
        """A step of the log: its commit, and the rows of its file."""
        with self._hdfs.open(f"{self._commits}/{step_name(step)}") as file:
            content = file.read()
        return commit_of(content), window_rows.read(io.BytesIO(content), sums)

    def write(self, commit: Commit, rows: pl.DataFrame) -> Commit:
        """Write a step's file, and do not put it in its place yet."""
        commit = replace(commit, committed_at=_now())
        self._write(self._scratch_path(commit), commit, rows)
        return commit

    def commit(self, commit: Commit) -> None:
        """Make a step that is written true, atomically.

        Raises:
            FencedError: another driver took over.
        """
        try:
            self._hdfs.rename(self._scratch_path(commit), f"{self._commits}/{step_name(commit.step)}")
        except (FileNotFoundError, FileExistsError):
            raise FencedError(
                f"Another driver took over {self.checkpoint_url}: nothing of step {commit.step} was written; "
                "one driver a checkpoint"
            ) from None

    def _scratch_path(self, commit: Commit) -> str:
        return f"{self.scratch}/{step_name(commit.step)}"

    def _write(self, path: str, commit: Commit, rows: pl.DataFrame) -> None:
        with self._hdfs.create(path) as file:
            window_rows.write(rows, file, commit)

    def prune(self, newest: Commit) -> None:
        """Delete the steps before the one that the log begins with."""
        for entry in self._hdfs.list(self._commits):
            match = STEP_NAME.fullmatch(entry.name)
            if match and int(match[1]) < newest.folded_before:
                self._hdfs.delete(entry.path)

    def clean(self, newest: Commit) -> None:
        """Delete what drivers left behind that was never committed, and what they had not deleted yet."""
        self.prune(newest)
        self._hdfs.delete(f"{self.folder}/uncommitted")
        for entry in self._hdfs.list(self.folder):
            if entry.name.startswith("new-"):
                self._hdfs.delete(entry.path)
        for entry in self._hdfs.list(self.checkpoint_url):
            if entry.name.split("-")[0] == FIRST_QUERY and entry.name != newest.query:
                self._hdfs.delete(entry.path)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")
