"""Finds the old files of a followed log: when it is begun, after a restart, and between two looks."""

import logging
import time
from collections.abc import Iterable

from logpipe.replayer.errors import SourceError
from logpipe.replayer.follow.files import (
    Identity,
    MovedError,
    OpenLog,
    Rotated,
    find,
    identity_of,
    open_log,
    open_old,
    proves,
    rotated,
)
from logpipe.replayer.follow.generation import Generation, number_of
from logpipe.replayer.follow.known import SLACK_S, sent_before
from logpipe.replayer.follow.ordered import OrderedHash
from logpipe.replayer.follow.part import LONG_AGO_S, Part
from logpipe.replayer.follow.state import LogState
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.record import ReplayRecord

_LATE = 50  # generations whose files may have grown while nobody followed
_LOOKS = 10  # at a folder whose files are renamed meanwhile

log = logging.getLogger(__name__)


class Finder:
    """Makes parts of files that are not what the path is. Who calls it holds `LogState.looking`.

    Args:
        state: gets the parts.
        door: what may be read.
    """

    def __init__(self, state: LogState, door: FrontDoor) -> None:
        self._log = state
        self._door = door
        self._left_out: set[Identity] = set()  # files from before it was followed

    def begin(self, records: Iterable[ReplayRecord]) -> None:
        """Take the old files that there are at the first time, as was asked for."""
        for record in records:
            self._log.known.add(record)
            self._log.progress.end(record)
        follow = self._log.follow
        since = {"start": 0.0, "since": follow.created_at, "end": float("inf")}[follow.start]
        for _ in range(_LOOKS):
            try:
                for each in self._rotated():
                    if each.written_at < since:
                        self._left_out.add(each.identity)
                    elif not self._log.reads(each.identity):
                        self._take_old(each, records)
            except MovedError:
                continue
            break

    def go_on(self, records: list[ReplayRecord]) -> None:
        """Find the files of the generations that were running, and those that came since."""
        for record in records:
            self._log.known.add(record)
            if record.state != "running":
                self._log.progress.end(record)
        missed = self._missed()
        for record in records[-_LATE:]:
            if record.state != "running":
                self._take_late(record, missed)
        running = [record for record in records if record.state == "running"]
        # Files of which nothing is known but the inode, which may be another one's now, come last.
        for record in sorted(running, key=lambda one: one.generation.head.size_bytes == 0):  # type: ignore[union-attr]
            self._reopen(record, missed)
        self.take_missed()
        self._log.parts.sort(key=lambda part: number_of(part.record.spec.replay_id))

    def take_missed(self) -> None:
        """Send the files that were rotated away before anybody had looked at them.

        They may be renamed meanwhile; those that are taken by then are known at the next look.
        """
        for _ in range(_LOOKS):
            try:
                for each in self._missed():
                    # An empty one has nothing to send, and may be a copy that is about to be made.
                    is_out = each.is_empty or each.identity in self._left_out
                    if not (is_out or self._log.reads(each.identity) or self._is_known(each)):
                        self._take_old(each, ())
            except MovedError:
                continue
            return
        log.warning("%s: its old files are renamed faster than they can be looked at", self._log.path)

    def _missed(self) -> list[Rotated]:
        """Old files that were written to since the last look, or shortly before: one may be unknown."""
        since = self._log.known.written_at(self._log.follow.created_at) - SLACK_S
        if self._log.follow.start != "start":
            since = max(since, self._log.follow.created_at)
        return [each for each in self._rotated() if each.written_at >= since]

    def _is_known(self, old: Rotated) -> bool:
        """Whether it is the file of a generation that was begun; raises MovedError."""
        parts = list(self._log.parts)
        if old.is_unreadable:
            return self._log.known.has_unreadable(old, parts)
        file = self._opened(old)
        if file is None:
            return False
        try:
            return self._log.known.has(old, file, parts)
        finally:
            file.close()

    def _rotated(self) -> list[Rotated]:
        try:
            return rotated(self._log.path, self._log.follow.olddir)
        except OSError:
            return []

    def _take_late(self, record: ReplayRecord, missed: Iterable[Rotated]) -> None:
        """Send what was added to a file after its generation had ended."""
        generation, offset = record.generation, record.place.offset
        assert generation is not None
        same = (generation.device, generation.inode)
        paths = [each.path for each in missed if each.identity == same]
        paths += [self._log.path] if identity_of(self._log.path) == same else []
        for path in paths[:1] if not generation.unknown else ():
            try:
                file = open_log(path, self._door)
            except (OSError, SourceError):
                continue
            try:
                is_longer = (file.size() or 0) > offset and proves(file, generation, offset) is not None
            except (OSError, SourceError) as error:
                self._log.reason = f"{path} cannot be read: {error}"
                is_longer = False
            if is_longer:
                self._log.append(file, begin=offset, is_late=file.identity != identity_of(self._log.path))
            else:
                file.close()

    def _reopen(self, record: ReplayRecord, missed: list[Rotated]) -> None:
        generation = record.generation
        assert generation is not None
        if generation.head.size_bytes:
            found = find(generation, record.place.offset, self._door)
        else:  # it was empty: the file with its inode, or the oldest one that is new
            found = self._empty_one(generation) or self._oldest_unknown()
        path, now = self._log.path, identity_of(self._log.path)
        # Where generations had other inodes before, files are renamed, and this one's inode was given anew.
        is_truncated = (
            now == (generation.device, generation.inode)
            and (found is None or found[0].identity != now)
            and len(self._log.known.inodes()) == 1
        )
        cut = (
            f"{path} was truncated (copytruncate) while nobody followed it, or its inode was given to "
            "another file: whether something was written before that and not copied is not known"
        )
        if found is None:
            other = next((each for each in missed if each.is_unreadable), None)
            reason = f"its file is not in {path.parent} any more"
            if other is not None:
                reason += f"; {other.path.name} may be it, and {other.path.suffix} is not read"
            reason = cut if is_truncated else reason
            part = Part(record, None, loss=reason, left_at=time.monotonic() - LONG_AGO_S)
        else:
            file, ordered = found
            part = Part(record, file, ordered, is_late=generation.is_late)
            if is_truncated:
                part.is_truncated, part.loss = True, cut
            if file.size() is None or is_truncated:
                part.left_at = part.grew_at = time.monotonic() - LONG_AGO_S
        self._log.parts.append(part)

    def _empty_one(self, generation: Generation) -> tuple[OpenLog, OrderedHash] | None:
        found = find(generation, generation.begin, self._door)
        if found is None:
            return None
        file, _ = found
        old = Rotated(file.path, file.identity, file.written_at())
        if file.size() is not None and not self._log.reads(file.identity) and not self._is_known(old):
            return found
        file.close()
        return None

    def _oldest_unknown(self) -> tuple[OpenLog, OrderedHash] | None:
        for _ in range(_LOOKS):
            try:
                for each in self._missed():
                    is_free = not each.is_unreadable and not self._log.reads(each.identity)
                    if is_free and not self._is_known(each) and (file := self._opened(each)):
                        return file, OrderedHash()
            except MovedError:
                continue
            break
        return None

    def _opened(self, old: Rotated) -> OpenLog | None:
        """Raises MovedError: it has another name now."""
        try:
            return open_old(old.path, self._door, old.identity)
        except (OSError, SourceError) as error:
            self._log.reason = f"{old.path} cannot be read: {error}"
            return None

    def _take_old(self, old: Rotated, known: Iterable[ReplayRecord]) -> None:
        """Send an old file, as far as no earlier generation has."""
        now_s = time.monotonic()
        quiet_since = now_s - max(0.0, time.time() - old.written_at)
        if old.is_unreadable:
            part = self._log.append(None, identity=old.identity, path=old.path)
            part.loss = f"{old.path} is compressed in a way that is not read: unpack it, or use gzip"
            part.left_at = part.grew_at = now_s - LONG_AGO_S
            return
        file = self._opened(old)
        if file is None:
            return
        begin = sent_before(file, known)
        if begin and begin == file.size():
            file.close()
            return
        part = self._log.append(file, begin=begin)
        part.left_at = part.grew_at = quiet_since if file.size() is not None else now_s - LONG_AGO_S
