"""Tells which logs something has happened to: events of the file system, where it has any."""

import logging
import os
import threading
from collections.abc import Callable, Iterable

import psutil
from watchfiles import watch

from logpipe.replayer.follow.files import identity_of

log = logging.getLogger(__name__)

# Other hosts write there, and the kernel hears nothing of it.
_SILENT = ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "ceph", "glusterfs", "lustre", "afs", "ncpfs")
_GATHER_MS = 100
_STEP_MS = 50
_TIMEOUT_MS = 5000
_PAUSE_S = 1.0
_BEGIN_S = 0.3


def _has_events(folder: str) -> bool:
    """Whether the kernel tells of what happens in a folder, to somebody who may list it."""
    if not os.access(folder, os.R_OK):
        return False
    best, kind = "", ""
    for mount in psutil.disk_partitions(all=True):
        where = mount.mountpoint.rstrip("/") + "/"
        if f"{folder}/".startswith(where) and len(where) > len(best):
            best, kind = where, mount.fstype
    return kind not in _SILENT and not kind.startswith("fuse")


class Watcher:
    """A thread that watches folders.

    Args:
        folders: gives those in which logs are written now.
        on_change: told the paths that something happened to; None: anything may have.
    """

    def __init__(
        self,
        folders: Callable[[], Iterable[str]],
        on_change: Callable[[set[str] | None], None],
    ) -> None:
        self._folders = folders
        self._on_change = on_change
        self._renew = threading.Event()
        self._over = threading.Event()
        self._watched: dict[str, tuple[int, int]] = {}
        self._thread = threading.Thread(target=self._run, name="follow-watcher", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def renew(self) -> None:
        """Other folders are to be watched."""
        self._renew.set()

    def watches(self, folder: str) -> bool:
        """Whether events of this folder come, and of no other one that had its name before."""
        return self._watched.get(folder) == identity_of(folder) is not None

    def end(self) -> None:
        """End the thread."""
        self._over.set()
        self._renew.set()
        self._thread.join(1.0)

    def _run(self) -> None:
        while not self._over.is_set():
            self._renew.clear()
            found = {folder: identity_of(folder) for folder in sorted(set(self._folders()))}
            watched = {name: one for name, one in found.items() if one is not None and _has_events(name)}
            try:
                self._watch(watched)
            except (OSError, RuntimeError) as error:
                log.warning("Folders of followed logs are looked at every second for now: %s", error)
                self._watched = {}
                self._over.wait(_PAUSE_S)

    def _watch(self, watched: dict[str, tuple[int, int]]) -> None:
        if not watched:
            self._watched = {}
            self._renew.wait(_PAUSE_S)
            return
        changes = watch(
            *watched,
            watch_filter=None,
            debounce=_GATHER_MS,
            step=_STEP_MS,
            stop_event=self._renew,
            rust_timeout=_TIMEOUT_MS,
            yield_on_timeout=True,
            raise_interrupt=False,
            force_polling=False,
            recursive=False,
            ignore_permission_denied=True,
        )
        self._watched = watched
        # What happens while the watch begins is told by nobody.
        begun = threading.Timer(_BEGIN_S, self._on_change, (None,))
        begun.daemon = True
        begun.start()
        for some in changes:
            self._on_change({path for _, path in some})
            if any(identity_of(folder) != one for folder, one in watched.items()):
                return
