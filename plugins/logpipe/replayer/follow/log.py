"""One followed log: which files it consists of, and what of them is to be sent next."""

import logging
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from logpipe.digest import Digest
from logpipe.replayer.errors import SinkError, SinkUnavailableError, SourceError
from logpipe.replayer.feed import LINGER_S, Batch, Place, SetAside
from logpipe.replayer.follow.files import (
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
from logpipe.replayer.follow.generation import (
    HEAD_BYTES,
    Generation,
    Head,
    Unknown,
    number_of,
    record_id,
)
from logpipe.replayer.follow.known import SLACK_S, Known, sent_before
from logpipe.replayer.follow.office import Office
from logpipe.replayer.follow.ordered import OrderedHash
from logpipe.replayer.follow.part import READ_BYTES, Part, due, last_line_end, newest, treated, unread
from logpipe.replayer.follow.progress import Progress
from logpipe.replayer.follow.store import Follow
from logpipe.replayer.record import ReplayRecord, ReplaySpec, now_text

BEHIND_S = 5.0  # a log that is so long behind says so
_RETRY_S = 5.0  # a file that could not be read is tried again after that time
_ROTATED_LOOK_S = 1.0  # an old file may stand in a folder that is not watched
_OLD_LOOK_S = 10.0
_LONG_AGO_S = 1e9
_SHOWN_S = 0.5
_LATE = 50  # generations whose files may have grown while nobody followed
_LOOKS = 10  # at a folder whose files are renamed meanwhile
_LOOK_AGAIN_S = 2.0

log = logging.getLogger(__name__)


class FollowedLog:
    """One path. `look` and `turn` are called by threads of their own, each by one at a time.

    Args:
        follow: what was asked for.
        office: sends and records for it, and for all the others.
    """

    def __init__(self, follow: Follow, office: Office) -> None:
        self.follow = follow
        self._office = office
        self._path = Path(follow.path)
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._parts: list[Part] = []
        self._reason = ""
        self._trouble = ""
        self.sink_trouble = ""
        self._is_there = False
        self._look_again_at = float("inf")
        self._progress = Progress(Digest(follow.folded_lines, follow.folded_bytes))
        self._left_out: set[tuple[int, int]] = set()  # files from before it was followed
        self._known = Known()
        self._stopping = threading.Event()

    # ------------------------------------------------------------------ what is seen from outside

    @property
    def follow_id(self) -> str:
        """Of what was asked for: the same for the same path."""
        return self.follow.follow_id

    @property
    def is_stopped(self) -> bool:
        """Whether nothing of it is under way any more."""
        return self._stopping.is_set() and not any(part.ended_at is None for part in list(self._parts))

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._stopping.is_set()

    def reads(self, identity: tuple[int, int]) -> bool:
        """Whether one of its files is this one."""
        files = [part.file for part in list(self._parts)]
        return any(file is not None and file.identity == identity for file in files)

    def folders(self) -> set[str]:
        """Where its files are written."""
        return {str(self._path.parent), os.path.dirname(self.file_path)}

    @property
    def file_path(self) -> str:
        """Of the file that it is now, links resolved."""
        part = newest(list(self._parts))
        return part.generation.file if part else str(self._path)

    def to_json(self) -> dict[str, Any]:
        """As others see it."""
        is_locked = self._lock.acquire(timeout=_SHOWN_S)  # it is held while the disk is full
        try:
            live = [part for part in self._parts if part.ended_at is None]
            digest = sum((part.record.digest for part in live), start=self._progress.ended)
            behind = sum(part.behind_bytes for part in live)
            current = newest(live)
            failed = next((part.record for part in live if part.record.state == "failed"), None)
            behind_s, lines_per_s = self._progress.behind_s, self._progress.lines_per_s
            unknown = list(self._progress.unknown)
        finally:
            if is_locked:
                self._lock.release()
        if self._stopping.is_set():
            state = "stopped"
        elif failed or self._trouble:
            state = "failed"
        elif not self._is_there:
            state = "waiting"
        else:
            state = "behind" if behind_s > BEHIND_S else "following"
        said = [failed.reason if failed else "", self._trouble, self._reason]
        old = [part for part in live if part.left_at is not None and part.behind_bytes]
        if old and behind_s > BEHIND_S:
            said.append(
                f"{len(old)} files that were rotated away are not read to their end: what rotation deletes "
                "of them is unknown after a restart of the replayer"
            )
        reasons = [*said, self.sink_trouble, self._office.trouble, self.follow.warning]
        number = number_of(current.record.spec.replay_id) if current else self.follow.next_number - 1
        return {
            "follow_id": self.follow_id,
            "log": self.follow.log,
            "path": self.follow.path,
            "format": self.follow.taken_format or self.follow.format,
            "addresses": self.follow.addresses,
            "start": self.follow.start,
            "state": state,
            "reason": "; ".join(filter(None, reasons)) or None,
            "generation": number,
            "lines": digest.lines,
            "bytes": digest.size_bytes,
            "bytes_behind": behind,
            "seconds_behind": round(behind_s, 1),
            "lines_per_s": lines_per_s,
            "unknown": unknown,
        }

    # ------------------------------------------------------------------ beginning and going on

    def begin(self) -> None:
        """Take the files that there are at the first time, as was asked for."""
        with self._looking, self._lock:
            known = self._office.records(self.follow_id)
            for record in known:
                self._known.add(record)
                self._progress.end(record)
            since = {"start": 0.0, "since": self.follow.created_at, "end": float("inf")}[self.follow.start]
            for _ in range(_LOOKS):
                try:
                    for each in self._rotated():
                        if each.written_at < since:
                            self._left_out.add(each.identity)
                        elif not self.reads(each.identity):
                            self._take_old(each, known)
                except MovedError:
                    continue
                break
            self._look(at_end=self.follow.start == "end", known=known)
            if self._trouble and self.follow.start == "end":
                self._change_follow(unread=list(identity_of(self._path) or ()))

    def go_on(self) -> None:
        """Find the files of the generations that were running, and those that came since."""
        with self._looking, self._lock:
            records = self._office.records(self.follow_id)
            for record in records:
                self._known.add(record)
                if record.state != "running":
                    self._progress.end(record)
            missed = self._missed()
            for record in records[-_LATE:]:
                if record.state != "running":
                    self._take_late(record, missed)
            running = [record for record in records if record.state == "running"]
            # Files of which nothing is known but the inode, which may be another one's now, come last.
            for record in sorted(running, key=lambda one: one.generation.head.size_bytes == 0):  # type: ignore[union-attr]
                self._reopen(record, missed)
            self._take_missed()
            self._parts.sort(key=lambda part: number_of(part.record.spec.replay_id))
            self._look()

    def _missed(self) -> list[Rotated]:
        """Old files that were written to since the last look, or shortly before: one may be unknown."""
        since = self._known.written_at(self.follow.created_at) - SLACK_S
        if self.follow.start != "start":
            since = max(since, self.follow.created_at)
        return [each for each in self._rotated() if each.written_at >= since]

    def _take_missed(self) -> None:
        """Send the files that were rotated away before anybody had looked at them.

        They may be renamed meanwhile; those that are taken by then are known at the next look.
        """
        for _ in range(_LOOKS):
            try:
                self._take_unknown(self._missed())
            except MovedError:
                continue
            return
        log.warning("%s: its old files are renamed faster than they can be looked at", self._path)

    def _take_unknown(self, missed: Iterable[Rotated]) -> None:
        for each in missed:
            # An empty one has nothing to send, and may be a copy that is about to be made.
            is_out = each.is_empty or each.identity in self._left_out or self.reads(each.identity)
            if not is_out and not self._is_known(each):
                self._take_old(each, ())

    def _is_known(self, old: Rotated) -> bool:
        """Whether it is the file of a generation that was begun; raises MovedError."""
        parts = list(self._parts)
        if old.is_unreadable:
            return self._known.has_unreadable(old, parts)
        file = self._opened(old)
        if file is None:
            return False
        try:
            return self._known.has(old, file, parts)
        finally:
            file.close()

    def _rotated(self) -> list[Rotated]:
        try:
            return rotated(self._path, self.follow.olddir)
        except OSError:
            return []

    def _take_late(self, record: ReplayRecord, missed: Iterable[Rotated]) -> None:
        """Send what was added to a file after its generation had ended."""
        generation, offset = record.generation, record.place.offset
        assert generation is not None
        same = (generation.device, generation.inode)
        paths = [each.path for each in missed if each.identity == same]
        paths += [self._path] if identity_of(self._path) == same else []
        for path in paths[:1] if not generation.unknown else ():
            try:
                file = open_log(path, self._office.door)
            except (OSError, SourceError):
                continue
            if (file.size() or 0) > offset and proves(file, generation, offset) is not None:
                self._append(file, begin=offset, is_late=file.identity != identity_of(self._path))
            else:
                file.close()

    def _reopen(self, record: ReplayRecord, missed: list[Rotated]) -> None:
        generation = record.generation
        assert generation is not None
        if generation.head.size_bytes:
            found = find(generation, record.place.offset, self._office.door)
        else:  # it was empty: the file with its inode, or the oldest one that is new
            found = self._empty_one(generation) or self._oldest_unknown()
        now = identity_of(self._path)
        # Where generations had other inodes before, files are renamed, and this one's inode was given anew.
        is_truncated = (
            now == (generation.device, generation.inode)
            and (found is None or found[0].identity != now)
            and len(self._known.inodes()) == 1
        )
        cut = (
            f"{self._path} was truncated (copytruncate) while nobody followed it, or its inode was given to "
            "another file: whether something was written before that and not copied is not known"
        )
        if found is None:
            other = next((each for each in missed if each.is_unreadable), None)
            reason = f"its file is not in {self._path.parent} any more"
            if other is not None:
                reason += f"; {other.path.name} may be it, and {other.path.suffix} is not read"
            reason = cut if is_truncated else reason
            part = Part(record, None, loss=reason, left_at=time.monotonic() - _LONG_AGO_S)
        else:
            file, ordered = found
            part = Part(record, file, ordered, is_late=generation.is_late)
            if is_truncated:
                part.is_truncated, part.loss = True, cut
            if file.size() is None or is_truncated:
                part.left_at = part.grew_at = time.monotonic() - _LONG_AGO_S
        self._parts.append(part)

    def _empty_one(self, generation: Generation) -> tuple[OpenLog, OrderedHash] | None:
        found = find(generation, generation.begin, self._office.door)
        if found is None:
            return None
        file, _ = found
        old = Rotated(file.path, file.identity, file.written_at())
        if file.size() is not None and not self.reads(file.identity) and not self._is_known(old):
            return found
        file.close()
        return None

    def _oldest_unknown(self) -> tuple[OpenLog, OrderedHash] | None:
        for _ in range(_LOOKS):
            try:
                for each in self._missed():
                    is_free = not each.is_unreadable and not self.reads(each.identity)
                    if is_free and not self._is_known(each) and (file := self._opened(each)):
                        return file, OrderedHash()
            except MovedError:
                continue
            break
        return None

    def _opened(self, old: Rotated) -> OpenLog | None:
        """Raises MovedError: it has another name now."""
        try:
            return open_old(old.path, self._office.door, old.identity)
        except (OSError, SourceError) as error:
            self._reason = f"{old.path} cannot be read: {error}"
            return None

    def _take_old(self, old: Rotated, known: Iterable[ReplayRecord]) -> None:
        """Send an old file, as far as no earlier generation has."""
        now_s = time.monotonic()
        quiet_since = now_s - max(0.0, time.time() - old.written_at)
        if old.is_unreadable:
            part = self._append(None, identity=old.identity, path=old.path)
            part.loss = f"{old.path} is compressed in a way that is not read: unpack it, or use gzip"
            part.left_at = part.grew_at = now_s - _LONG_AGO_S
            return
        file = self._opened(old)
        if file is None:
            return
        begin = sent_before(file, known)
        if begin and begin == file.size():
            file.close()
            return
        part = self._append(file, begin=begin)
        part.left_at = part.grew_at = quiet_since if file.size() is not None else now_s - _LONG_AGO_S

    # ------------------------------------------------------------------ looking

    def look(self) -> bool:
        """See which file the path is now; tells whether a turn is due."""
        if self._is_as_seen():
            return False
        with self._looking, self._lock:
            if self._stopping.is_set():
                return True
            before = len(self._parts)
            self._look()
            return (
                self._progress.behind_since is not None or len(self._parts) != before or len(self._parts) > 1
            )

    def _is_as_seen(self) -> bool:
        """Whether the path is the one file that was read, and no byte came since: most looks end here."""
        parts = self._parts[:2]
        if len(parts) != 1 or not self._is_there or self._trouble or self._look_again_at < float("inf"):
            return False
        (part,) = parts
        if part.file is None or part.is_truncated or part.ended_at is not None or part.left_at is not None:
            return False
        try:
            status = os.stat(self._path)
        except OSError:
            return False
        is_read = status.st_size == part.seen_bytes == part.record.place.offset
        is_same = (status.st_dev, status.st_ino) == part.file.identity
        return is_read and is_same and not self._stopping.is_set()

    @property
    def is_there(self) -> bool:
        """Whether its file was there at the last look."""
        return self._is_there

    def _look(self, *, at_end: bool = False, known: Iterable[ReplayRecord] = ()) -> None:
        now_s = time.monotonic()
        try:
            status = os.stat(self._path)
        except (FileNotFoundError, NotADirectoryError):
            self._leave(None, now_s)
            self._is_there, self._trouble = False, ""
            self._reason = f"{self._path} is not there (yet)"
            return
        except OSError as error:
            self._trouble = f"{self._path}: {error.strerror}"
            return
        identity = (status.st_dev, status.st_ino)
        with self._lock:
            self._leave(identity, now_s)
            current = next((part for part in self._parts if self._is_current(part, identity)), None)
            if current is not None:
                current.left_at = None
                if status.st_size != current.seen_bytes:
                    current.seen_bytes, current.grew_at = status.st_size, now_s
                if current.behind_bytes:
                    self._progress.fall_behind(now_s)
                self._is_there, self._trouble, self._reason = True, "", ""
                if now_s >= self._look_again_at:  # a listing may lack a file that is renamed meanwhile
                    self._look_again_at = float("inf")
                    self._take_missed()
                return
        self._take_new(identity, at_end=at_end, known=known)

    @staticmethod
    def _is_current(part: Part, identity: tuple[int, int]) -> bool:
        is_it = part.file is not None and part.file.identity == identity and not part.is_truncated
        return is_it and part.ended_at is None

    def _leave(self, identity: tuple[int, int] | None, now_s: float) -> None:
        for part in self._parts:
            if part.left_at is None and not (part.file and part.file.identity == identity):
                part.left_at = now_s

    def _take_new(self, identity: tuple[int, int], *, at_end: bool, known: Iterable[ReplayRecord]) -> None:
        if owner := self._office.owner(identity, self.follow_id):
            self._trouble = f"{self._path} is followed already, as {owner}"
            return
        unread = self.follow.unread
        at_end = at_end or unread in ([], list(identity))
        try:
            if not at_end:
                self._take_missed()
            file = open_log(self._path, self._office.door)
            head = file.read(0, HEAD_BYTES)
            if file.identity != identity and not at_end:
                self._take_missed()  # it was rotated between the two
        except PermissionError:
            self._trouble = f"no permission to read {self._path}: add the replayer's user to its group"
            return
        except FileNotFoundError:
            return  # it was rotated meanwhile; the next look finds the next one
        except (OSError, SourceError) as error:
            self._trouble = f"{self._path} cannot be followed: {error}"
            return
        if b"\0" in head or file.size() is None:
            file.close()
            self._trouble = f"{self._path} is a binary file, expected lines of text"
            return
        if at_end:
            begin = last_line_end(file)
        else:
            begin = max(sent_before(file, known), self._known.left_of(file, head))
        for part in list(self._parts):  # it has come back: its end is not watched any more
            if part.ended_at is not None and part.file and part.file.identity == file.identity:
                self._drop(part)
        self._trouble = self._reason = ""
        self._append(file, begin=begin)
        if unread is not None:
            self._change_follow(unread=None)
        self._is_there, self._look_again_at = True, time.monotonic() + _LOOK_AGAIN_S

    def _append(
        self,
        file: OpenLog | None,
        *,
        begin: int = 0,
        is_late: bool = False,
        identity: tuple[int, int] = (0, 0),
        path: Path | None = None,
    ) -> Part:
        """Begin a generation; its number is taken first, so that it is never taken twice."""
        number = self._change_follow(next_number=self.follow.next_number + 1).next_number - 1
        device, inode = file.identity if file else identity
        where = path or (file.path if file else self._path)
        generation = Generation(
            self.follow_id,
            self.follow.path,
            os.path.realpath(where),
            self.follow.host,
            device,
            inode,
            begin=begin,
            head=Head.of(file.read(0, HEAD_BYTES)) if file else Head(),
            written_at=file.written_at() if file else 0.0,
            is_late=is_late,
            olddir=self.follow.olddir,
        )
        spec = ReplaySpec(
            record_id(self.follow.prefix, number),
            self._path.as_uri(),
            "max",
            "durable",
            limit=None,
            addresses=self.follow.addresses,
        )
        record = ReplayRecord(spec, place=Place(0, begin, begin), generation=generation)
        self._office.save(record, is_new=True)
        self._known.add(record)
        part = Part(record, file, is_late=is_late)
        with self._lock:
            self._parts.append(part)
        return part

    # ------------------------------------------------------------------ sending

    def turn(self) -> float | None:
        """Send the next batch, if there is one.

        Returns:
            After how many seconds the next turn is due; None: when something happens.

        Raises:
            SinkUnavailableError: not now; the same batch is due again.
            InterruptedReplayError: the replayer halts.
        """
        with self._lock:
            parts = sorted(self._parts, key=lambda part: part.left_at is None)  # old ones first
        for part in parts:
            try:
                wait_s = self._turn_of(part)
            except SinkError as error:
                self._finish(part, "failed", str(error))
                return None
            except (OSError, SourceError) as error:
                self._trouble = f"{self._path} cannot be read: {error}"
                return _RETRY_S
            if wait_s is not None:
                return wait_s
            if self._holds_up(part):
                break
        return self._idle()

    def _turn_of(self, part: Part) -> float | None:
        """Send a batch of one file; None: nothing of it is to be sent."""
        now_s = time.monotonic()
        if part.ended_at is not None:
            return 0.0 if self._watch_old(part, now_s) else None
        if part.record.state == "failed":
            if self._stopping.is_set():
                self._give_up(part)
                return 0.0
            return None
        part.grow(now_s)
        if part.in_flight is None:
            if self._stopping.is_set():
                self._finish(part, "done", "not followed any more")
                return 0.0
            was_whole = not part.is_truncated
            part.in_flight = self._next(part)
            if part.is_truncated and was_whole:
                return 0.0
        if part.in_flight is not None:
            self._deliver(part)
            return LINGER_S if part.left_at is None and not part.behind_bytes else 0.0
        if part.file is not None and part.file.damage:
            part.loss = f"{part.file.path}: {part.file.damage}"
        if self._is_over(part, now_s):
            self._end(part)
            return 0.0
        return None

    def _holds_up(self, part: Part) -> bool:
        """Whether the files behind this one have to wait."""
        if part.ended_at is not None or part.is_late:
            return False
        if part.left_at is None or part.record.state == "failed":
            return True
        quiet_s = time.monotonic() - max(part.left_at, part.grew_at)
        return quiet_s < self._office.settings.follow_quiet_s

    def _is_over(self, part: Part, now_s: float) -> bool:
        if part.left_at is None:
            return False
        if part.file is None or part.file.size() is None or part.loss:
            return True
        settings = self._office.settings
        wait_s = settings.follow_reopen_s if part.is_late else settings.follow_end_s
        return now_s - max(part.left_at, part.grew_at) >= wait_s

    def _idle(self) -> float | None:
        """Nothing is to be sent: when to look at old files again."""
        with self._lock:
            live = [part for part in self._parts if part.ended_at is None]
            if not any(part.behind_bytes for part in live):
                self._progress.behind_since = None
            if any(part.left_at is not None and not part.is_late for part in live):
                return min(_ROTATED_LOOK_S, max(0.05, self._office.settings.follow_quiet_s / 2))
            return _OLD_LOOK_S if len(self._parts) > 1 else None

    def _next(self, part: Part) -> tuple[Batch | SetAside, bytes] | None:
        plain = unread(part)
        if (
            part.file is not None
            and not part.is_truncated
            and self._was_truncated(part, part.record.place.offset)
        ):
            self._truncated(part)
            return None
        return due(part, plain, self._office.settings.max_line_bytes)

    def _deliver(self, part: Part) -> None:
        assert part.in_flight is not None
        item, plain = part.in_flight
        if isinstance(item, Batch):
            try:
                if not part.is_tried:
                    self._office.gate.must_be_open()
                if not part.is_fastened:
                    self._fasten(part, item.lines)
            except SinkUnavailableError:
                if not part.is_tried:  # its bytes are in the file, and not held meanwhile
                    part.in_flight = None
                raise
            lines = self._office.treated(part.record, item.lines)
            item, plain = treated(part.record.place, item, plain, lines, self._office.settings.max_line_bytes)
        else:
            self._settle_addresses(part)
            (prefix,) = self._office.treated(part.record, [item.line.prefix])
            item = replace(item, line=replace(item.line, prefix=prefix))
        if isinstance(item, Batch):
            is_repeat, part.is_tried = part.is_tried, True
            self._office.send(part.record, item, is_repeat=is_repeat)
            digest, set_aside = Digest.of(item.lines), 0
        else:
            self._office.set_aside(part.record, item)
            digest, set_aside = Digest(), 1
        self._settle(part, item.end, plain, digest, set_aside)

    def _fasten(self, part: Part, lines: list[bytes]) -> None:
        if part.file is not None and not part.generation.head.size_bytes:  # it was empty when it was begun
            head = Head.of(part.file.read(0, HEAD_BYTES))
            part.record = part.record.changed(generation=replace(part.generation, head=head))
            self._office.save(part.record)
            self._known.add(part.record)
        if not self.follow.taken_format:
            taken, warning = self._office.format_of(self.follow, lines)
            self._change_follow(taken_format=taken, warning=warning)
        self._settle_addresses(part)
        part.record = self._office.fasten(part.record)
        part.is_fastened = True

    def _settle_addresses(self, part: Part) -> None:
        """Before the first line of a file leaves; or what is kept of one that is too long."""
        if part.record.treatment is None and part.record.spec.addresses != "keep":
            part.record = self._office.begun(self.follow, part.record)
            self._office.save(part.record)

    def _change_follow(self, **changes: Any) -> Follow:
        with self._lock:
            changed = replace(self.follow, **changes)
            self._office.save_follow(changed)
            self.follow = changed
            return changed

    def _settle(self, part: Part, end: Place, plain: bytes, digest: Digest, set_aside: int) -> None:
        record, generation = part.record, part.generation
        if plain:
            part.ordered.add(plain)
        elif part.file is not None:
            at = record.place.offset
            while at < end.offset and (block := part.file.read(at, min(READ_BYTES, end.offset - at))):
                part.ordered.add(block)
                at += len(block)
        generation = replace(generation, chain=part.ordered.chain, rest=part.ordered.rest)
        if part.file is not None and not part.is_truncated:
            if generation.head.size_bytes < HEAD_BYTES:
                generation = replace(generation, head=Head.of(part.file.read(0, HEAD_BYTES)))
            generation = replace(generation, written_at=part.file.written_at())
        changed = record.changed(
            digest=record.digest + digest,
            set_aside=record.set_aside + set_aside,
            place=end,
            generation=generation,
        )
        self._office.save(changed)
        with self._lock:
            self._known.add(changed)
            part.record, part.in_flight, part.is_tried = changed, None, False
            self._trouble = ""
            self._progress.sent(digest.lines, is_behind=bool(part.behind_bytes))

    # ------------------------------------------------------------------ the ends of files

    def _end(self, part: Part) -> None:
        """The file is over: its unfinished last line is sent as it is, then its record is done."""
        generation = part.generation
        if part.file is not None and generation.cut is None and not part.loss:
            offset = part.record.place.offset
            rest = 0
            while block := part.file.read(offset + rest, READ_BYTES):
                rest += len(block)
            if rest:  # the same bytes are sent again after a kill, whatever is added meanwhile
                changed = part.record.changed(generation=replace(generation, cut=offset + rest))
                self._office.save(changed, is_new=True)
                part.record = changed
                return
        self._finish(part, "done", None)

    def _finish(self, part: Part, state: Any, reason: str | None) -> None:
        generation, place = part.generation, part.record.place
        if part.loss and state == "done":
            now = now_text()
            since = datetime.fromtimestamp(generation.written_at, UTC).isoformat(timespec="milliseconds")
            generation = replace(
                generation, unknown=Unknown(place.line + 1, place.offset, since, now, part.loss)
            )
            log.warning("%s: unknown behind line %d: %s", part.record.spec.replay_id, place.line, part.loss)
        record = part.record.changed(
            state=state, reason=reason, finished_at=now_text(), generation=generation
        )
        self._office.save(record)
        with self._lock:
            part.record = record
            self._known.add(record)
            if state == "done":
                part.ended_at = time.monotonic()
                self._progress.end(record)
            if part.file is None or part.file.size() is None or part.is_truncated or self._stopping.is_set():
                self._drop(part)

    def _give_up(self, part: Part) -> None:
        """What has failed, and nobody follows any more."""
        part.record = part.record.changed(given_up_at=now_text())
        self._office.save(part.record)
        part.ended_at = time.monotonic()
        with self._lock:
            self._drop(part)

    def count(self, records: Iterable[ReplayRecord]) -> None:
        """Take note of generations that are over."""
        for record in records:
            self._progress.end(record)

    def fold(self, records: list[ReplayRecord]) -> None:
        """Records of generations go, and what was unknown of them with it."""
        with self._lock:
            self.follow = self.follow.with_folded(records)
            self._office.save_follow(self.follow)
            self._progress.forget(records)

    def forget_format(self, prefix: str) -> None:
        """Nobody can need the format of an earlier prefix."""
        with self._lock:
            self.follow = self.follow.without_format(prefix)
            self._office.save_follow(self.follow)

    def _drop(self, part: Part) -> None:
        if part.file is not None:
            part.file.close()
            part.file = None
        if part.ended_at is not None:
            self._parts.remove(part)

    def _watch_old(self, part: Part, now_s: float) -> bool:
        """A file that has ended is kept open for a while; tells whether a server still writes to it."""
        assert part.ended_at is not None
        if part.file is None:
            return False
        with self._lock:
            if part not in self._parts or part.file is None:
                return False
            if (part.file.size() or 0) > part.record.place.offset:
                self._parts.remove(part)
                late = self._append(part.file, begin=part.record.place.offset, is_late=True)
                late.left_at = now_s
                return True
        if now_s - part.ended_at >= self._office.settings.follow_reopen_s:
            with self._lock:
                self._drop(part)
        return False

    def _was_truncated(self, part: Part, offset: int) -> bool:
        file, head = part.file, part.generation.head
        assert file is not None
        size = file.size()
        if size is None:
            return False
        return size < offset or not head.fits(file.read(0, head.size_bytes))

    def _truncated(self, part: Part) -> None:
        """Bytes were taken away: go on in the copy that was made before, if there is one."""
        file = part.file
        assert file is not None
        found = find(part.generation, part.record.place.offset, self._office.door, but=file.identity)
        part.loss = (
            f"{self._path} was truncated (copytruncate; or a power cut took its end): what was written "
            "between "
            + ("the copy and the truncation" if found else "the last reading and the truncation")
            + " cannot be known"
        )
        with self._lock:
            part.is_truncated = True
            part.left_at = part.grew_at = time.monotonic() - _LONG_AGO_S
            part.file, part.ordered = found or (None, part.ordered)
            file.close()
        with self._looking:
            self._look()

    # ------------------------------------------------------------------ stopping

    def stop(self) -> None:
        """Follow no more once what is in flight is acknowledged."""
        self._stopping.set()

    def revive(self) -> None:
        """Let what has failed go on."""
        with self._lock:
            for part in self._parts:
                if part.record.state == "failed":
                    part.record = part.record.changed(state="running", reason=None, finished_at=None)
                    self._office.save(part.record)

    def close(self) -> None:
        """Let go of the files; records stay as they are."""
        with self._lock:
            for part in self._parts:
                if part.file is not None:
                    part.file.close()
                    part.file = None
            self._parts.clear()
