"""The windows as of a commit: which files hold them, and a copy of these on this machine."""

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from logpipe.accounting.windows import WindowsError, WindowStore
from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.settings import Settings

TIMEOUT_S = 5.0
_DATE = re.compile(r"date=(\d{4}-\d\d-\d\d)")


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The windows at one commit.

    Attributes:
        step: of the commit.
        committed_at: when, ISO-8601 UTC.
        window_s: length of a window.
        open_from_s: windows that end later than this are open, Unix time; None: none is.
        lines, late, malformed, repeats: over all that was ever counted.
        offsets: of each partition the next one that is not counted.
        topic_id: of the topic that is counted.
        files: paths on HDFS.
    """

    step: int
    committed_at: str
    window_s: int
    open_from_s: int | None
    lines: int
    late: int
    malformed: int
    repeats: int
    offsets: dict[int, int]
    topic_id: str
    files: tuple[str, ...] = ()


@dataclass
class Mirror:
    """A copy of a snapshot's files; the files are immutable, so each is fetched once.

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
        newest = read_snapshot(self.settings, self.snapshot)
        if newest is None or newest is self.snapshot:
            return newest
        with closing(Hdfs.of(self.settings, TIMEOUT_S)) as hdfs:
            fetched = {path: self._fetch(hdfs, path) for path in newest.files}
        self.take(newest, fetched)
        return newest

    def take(self, snapshot: Snapshot, copies: dict[str, Path]) -> None:
        """Answer from another snapshot now; ``copies`` are its files here, by their paths on HDFS."""
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
            chosen = [str(copy) for path, copy in self._files.items() if _may_hold(path, first, last)]
            yield self.snapshot, chosen

    def _fetch(self, hdfs: Hdfs, path: str) -> Path:
        copy = self.folder / path.lstrip("/").replace("/", "~")
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


def _may_hold(path: str, first: date, last: date) -> bool:
    found = _DATE.search(path)
    return found is None or first <= date.fromisoformat(found[1]) <= last


def read_snapshot(settings: Settings, known: Snapshot | None = None) -> Snapshot | None:
    """The newest commit and its files; the known one when that is it. None before the first.

    Raises:
        WindowsError: the store can't be read.
    """
    store = WindowStore(
        settings.webhdfs_url, settings.hdfs_user, settings.hdfs_checkpoint_dir, settings.hdfs_windows_dir
    )
    commit = store.commit()
    if commit is None:
        return None
    if known is not None and (commit["step"], commit["committed_at"]) == (known.step, known.committed_at):
        return known
    try:
        files = store._files(commit)
    except HdfsError as error:
        raise WindowsError(f"The windows' files can't be listed: {error}") from error
    return _snapshot(commit, tuple(files))


def _snapshot(commit: dict[str, Any], files: tuple[str, ...]) -> Snapshot:
    watermark_ms = commit["watermark_ms"]
    return Snapshot(
        step=commit["step"],
        committed_at=commit["committed_at"],
        window_s=int(commit["parameters"]["window_s"]),
        open_from_s=watermark_ms // 1000 if watermark_ms else None,
        lines=commit["lines"],
        late=commit["late"],
        malformed=commit["malformed"],
        repeats=commit["repeats"],
        offsets={int(partition): int(offset) for partition, offset in commit["offsets"].items()},
        topic_id=commit["topic_id"],
        files=files,
    )


def utc_date(epoch_s: float) -> date:
    """The UTC date of an instant."""
    return datetime.fromtimestamp(epoch_s, UTC).date()
