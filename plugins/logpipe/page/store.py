"""The windows as of a commit: which files hold them, and a copy of these on this machine."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path

from logpipe.clients.hdfs import Hdfs, HdfsAbsentError
from logpipe.settings import Settings
from logpipe.windows.commit import ERASED_FILE, Commit, WindowsError
from logpipe.windows.reader import WindowStore

TIMEOUT_S = 5.0
_ATTEMPTS = 5
_DATE = re.compile(r"date=(\d{4}-\d\d-\d\d)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The windows at one commit.

    Attributes:
        commit: which.
        files: paths on HDFS by the names that the files have for ever.
        fold: what the files by date depend on; the same as long as these are the same.
    """

    commit: Commit
    files: dict[str, str] = field(default_factory=dict)
    fold: tuple[str, int, int, int] = ("", 0, 0, 0)

    @property
    def window_s(self) -> int:
        """Length of a window."""
        return int(self.commit.parameters["window_s"])

    @property
    def open_from_s(self) -> int | None:
        """Windows that begin by then or later are open, Unix time; None: not known."""
        until_ms = self.commit.watermark_ms
        return until_ms // 1000 // self.window_s * self.window_s if until_ms else None

    @property
    def generation(self) -> str:
        """Names what the files depend on besides their names: the store, and when rows were last erased."""
        return f"{self.fold[0]}-{self.fold[3]}" if self.fold[3] else self.fold[0]

    @property
    def by_date(self) -> dict[str, str]:
        """Those of the files that are of one date each."""
        return {name: path for name, path in self.files.items() if _DATE.search(name)}

    @property
    def first_date(self) -> date | None:
        """The first UTC date of a file of its own; None before there is one."""
        dates = [found[1] for name in self.files if (found := _DATE.search(name))]
        return date.fromisoformat(min(dates)) if dates else None


@dataclass
class Mirror:
    """A copy of a snapshot's files; but for erasures they are immutable, so each is fetched once.

    Args:
        settings: whose windows.
        folder: holds the copy; nothing else may be in it.
    """

    settings: Settings
    folder: Path
    snapshot: Snapshot | None = None
    _files: dict[str, Path] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def follow(self) -> Snapshot | None:
        """Take over the newest commit; None when there is none yet.

        Raises:
            WindowsError, HdfsError: it can't be read; the copy stays as it is.
        """
        for _ in range(_ATTEMPTS):
            try:
                with closing(Hdfs.of(self.settings, TIMEOUT_S)) as hdfs:
                    return self._follow(hdfs)
            except HdfsAbsentError:  # a driver took over, or files were merged, since they were listed
                continue
        raise WindowsError(f"The windows' files went {_ATTEMPTS} times while they were fetched")

    def _follow(self, hdfs: Hdfs) -> Snapshot | None:
        newest = read_snapshot(self.settings, hdfs, self.snapshot)
        if newest is None or newest is self.snapshot:
            return newest
        fetched = {
            name: self._fetch(hdfs, f"{newest.generation}~{name}", path)
            for name, path in newest.files.items()
        }
        self.take(newest, fetched)
        return newest

    def take(self, snapshot: Snapshot, copies: dict[str, Path]) -> None:
        """Answer from another snapshot now; ``copies`` are its files here, by their names."""
        with self._lock:
            self.snapshot, self._files = snapshot, copies
            self._drop_others()

    @contextmanager
    def files(self, first: date = date.min, last: date = date.max) -> Iterator[tuple[Snapshot, list[str]]]:
        """The snapshot, and the copies that may hold windows of these UTC dates; they stay meanwhile.

        Raises:
            WindowsError: nothing is known of the windows yet.
        """
        with self._lock:
            if self.snapshot is None:
                raise WindowsError("Nothing is known of the windows yet")
            chosen = [str(copy) for name, copy in self._files.items() if _may_hold(name, first, last)]
            yield self.snapshot, chosen

    def _fetch(self, hdfs: Hdfs, name: str, path: str) -> Path:
        copy = self.folder / name.replace("/", "~")
        if not copy.exists():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            fresh = copy.with_name(".fresh")
            with fresh.open("wb") as file:
                for block in hdfs.blocks(path):
                    file.write(block)
            fresh.replace(copy)
        return copy

    def _drop_others(self) -> None:
        kept = set(self._files.values())
        for path in self.folder.glob("*") if self.folder.exists() else ():
            if path not in kept:
                path.unlink()


def _may_hold(name: str, first: date, last: date) -> bool:
    found = _DATE.search(name)
    return found is None or first <= date.fromisoformat(found[1]) <= last


def read_snapshot(settings: Settings, hdfs: Hdfs, known: Snapshot | None = None) -> Snapshot | None:
    """The newest commit and its files; the known one when that is it. None before the first.

    Files by date are listed only after a fold: until then those that are known hold the same.

    Raises:
        WindowsError: the store can't be read.
        HdfsAbsentError: files went meanwhile.
    """
    store = WindowStore(hdfs, settings.hdfs_checkpoint_dir, settings.hdfs_windows_dir)
    commit = store.commit()
    if commit is None:
        return None
    erased = hdfs.status(f"{settings.hdfs_windows_dir}/{ERASED_FILE}")
    fold = (commit.store_id, commit.folded, commit.expired_step, erased.modified_ms if erased else 0)
    is_folded_since = known is None or known.fold != fold
    if known is not None and not is_folded_since and known.commit.step == commit.step:
        return known
    snapshot = store.snapshot(None if is_folded_since else (), commit.step)
    if snapshot is None:
        raise HdfsAbsentError(f"step {commit.step}")
    before = known.by_date if known is not None and not is_folded_since else {}
    return Snapshot(commit, before | {file.name: file.path for file in snapshot.files}, fold)


def utc_date(epoch_s: float) -> date:
    """The UTC date of an instant."""
    return datetime.fromtimestamp(epoch_s, UTC).date()
