"""Looks which file the path of a followed log is now, and takes a new one."""

import os
import time
from collections.abc import Iterable

from logpipe.replayer.errors import SourceError
from logpipe.replayer.follow.files import Identity, OpenLog, open_log
from logpipe.replayer.follow.finder import Finder
from logpipe.replayer.follow.generation import HEAD_BYTES
from logpipe.replayer.follow.known import sent_before
from logpipe.replayer.follow.office import Office
from logpipe.replayer.follow.part import last_line_end
from logpipe.replayer.follow.state import LogState
from logpipe.replayer.record import ReplayRecord

_LOOK_AGAIN_S = 2.0


class Looker:
    """Makes a part of each file that the path comes to be.

    Args:
        state: gets the parts, and what is wrong.
        finder: finds the files that came in between.
        office: knows what may be read, and who reads it already.

    Attributes:
        is_there: whether the log's file was there at the last look.
    """

    def __init__(self, state: LogState, finder: Finder, office: Office) -> None:
        self.is_there = False
        self._log = state
        self._finder = finder
        self._office = office
        self._look_again_at = float("inf")

    def look(self) -> bool:
        """See which file the path is now; tells whether a turn is due."""
        if self._is_as_seen():
            return False
        with self._log.looking, self._log.lock:
            if self._log.stopping.is_set():
                return True
            before = len(self._log.parts)
            self.see()
            after = len(self._log.parts)
            return self._log.progress.behind_since is not None or after != before or after > 1

    def _is_as_seen(self) -> bool:
        """Whether the path is the one file that was read, and no byte came since: most looks end here."""
        parts = self._log.parts[:2]
        if len(parts) != 1 or not self.is_there or self._log.trouble or self._look_again_at < float("inf"):
            return False
        (part,) = parts
        if part.file is None or part.is_truncated or part.ended_at is not None or part.left_at is not None:
            return False
        try:
            status = os.stat(self._log.path)
        except OSError:
            return False
        is_read = status.st_size == part.seen_bytes == part.record.place.offset
        is_same = (status.st_dev, status.st_ino) == part.file.identity
        return is_read and is_same and not self._log.stopping.is_set()

    def see(self, *, at_end: bool = False, known: Iterable[ReplayRecord] = ()) -> None:
        """Look, whatever was seen before; who calls holds `LogState.looking`.

        A new file is begun at its last line end, or behind what known generations have sent of it.
        """
        now_s = time.monotonic()
        try:
            status = os.stat(self._log.path)
        except (FileNotFoundError, NotADirectoryError):
            self._leave(None, now_s)
            self.is_there, self._log.trouble = False, ""
            self._log.reason = f"{self._log.path} is not there (yet)"
            return
        except OSError as error:
            self._log.trouble = f"{self._log.path}: {error.strerror}"
            return
        identity = (status.st_dev, status.st_ino)
        with self._log.lock:
            self._leave(identity, now_s)
            current = next((part for part in self._log.parts if part.is_at(identity)), None)
            if current is not None:
                current.left_at = None
                if status.st_size != current.seen_bytes:
                    current.seen_bytes, current.grew_at = status.st_size, now_s
                if current.behind_bytes:
                    self._log.progress.fall_behind(now_s)
                self.is_there, self._log.trouble, self._log.reason = True, "", ""
                if now_s >= self._look_again_at:  # a listing may lack a file that is renamed meanwhile
                    self._look_again_at = float("inf")
                    self._finder.take_missed()
                return
        self._take_new(identity, at_end=at_end, known=known)

    def _leave(self, identity: Identity | None, now_s: float) -> None:
        for part in self._log.parts:
            if part.left_at is None and not (part.file and part.file.identity == identity):
                part.left_at = now_s

    def _begin_of(self, file: OpenLog, known: Iterable[ReplayRecord], *, at_end: bool) -> int | None:
        """Where a new file is begun; None: it holds no lines of text."""
        head = file.read(0, HEAD_BYTES)
        if b"\0" in head or file.size() is None:
            return None
        if at_end:
            return last_line_end(file)
        return max(sent_before(file, known), self._log.known.left_of(file, head))

    def _take_new(self, identity: Identity, *, at_end: bool, known: Iterable[ReplayRecord]) -> None:
        if owner := self._office.owner(identity, self._log.follow.follow_id):
            self._log.trouble = f"{self._log.path} is followed already, as {owner}"
            return
        path, unread = self._log.path, self._log.follow.unread
        at_end = at_end or unread in ([], list(identity))
        try:
            if not at_end:
                self._finder.take_missed()
            file = open_log(path, self._office.door)
            try:
                if file.identity != identity and not at_end:
                    self._finder.take_missed()  # it was rotated between the two
                begin = self._begin_of(file, known, at_end=at_end)
            except BaseException:
                file.close()
                raise
        except PermissionError:
            self._log.trouble = f"no permission to read {path}: add the replayer's user to its group"
            return
        except FileNotFoundError:
            return  # it was rotated meanwhile; the next look finds the next one
        except (OSError, SourceError) as error:
            self._log.trouble = f"{path} cannot be followed: {error}"
            return
        if begin is None:
            file.close()
            self._log.trouble = f"{path} is a binary file, expected lines of text"
            return
        for part in list(self._log.parts):  # it has come back: its end is not watched any more
            if part.ended_at is not None and part.file and part.file.identity == file.identity:
                self._log.drop(part)
        self._log.trouble = self._log.reason = ""
        self._log.append(file, begin=begin)
        if unread is not None:
            self._log.change(unread=None)
        self.is_there, self._look_again_at = True, time.monotonic() + _LOOK_AGAIN_S
