"""One followed log: which files it consists of, and what of them is to be sent next."""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from logpipe.digest import Digest
from logpipe.identity import CHUNK_LINES
from logpipe.replayer.errors import SinkError, SinkUnavailableError, SourceError
from logpipe.replayer.feed import BATCH_BYTES, BATCH_LINES, LINGER_S, Batch, Place, SetAside
from logpipe.replayer.follow.files import (
    MovedError,
    OpenLog,
    Rotated,
    find,
    identity_of,
    is_copy,
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
from logpipe.replayer.follow.ordered import OrderedHash
from logpipe.replayer.follow.store import Follow
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.lines import LineSplitter, LongLine
from logpipe.replayer.record import ReplayRecord, ReplaySpec, now_text
from logpipe.settings import Settings

BEHIND_S = 5.0  # a log that is so long behind says so
_READ_BYTES = BATCH_BYTES
_RETRY_S = 5.0  # a file that could not be read is tried again after that time
_ROTATED_LOOK_S = 1.0  # an old file may stand in a folder that is not watched
_OLD_LOOK_S = 10.0
_RATE_S = 10.0
_LONG_AGO_S = 1e9
_LOOKS = 10  # at a folder whose files are renamed meanwhile
_KNOWN = 50  # generations whose files may still be there
_SLACK_S = 60.0  # a file may be written to later than the one that took its place
_LOOK_AGAIN_S = 2.0
_SAME_TIME_S = 0.001  # a compressed file has the time of the plain one

log = logging.getLogger(__name__)


class Office(Protocol):
    """What a log needs of the replayer."""

    settings: Settings
    door: FrontDoor

    def save(self, record: ReplayRecord, *, is_new: bool = False) -> None:
        """Record on the disk, however long that takes, and let others see it."""

    def save_follow(self, follow: Follow) -> None:
        """Record what is followed."""

    def fasten(self, record: ReplayRecord) -> ReplayRecord:
        """Fix the partitions and let other hosts know of them, before the first line is sent."""

    def format_of(self, follow: Follow, lines: list[bytes]) -> tuple[str, str]:
        """The format of a log by its first lines, registered; and what is wrong with it."""

    def begun(self, follow: Follow, record: ReplayRecord) -> ReplayRecord:
        """The record, and what becomes of addresses in its lines."""

    def treated(self, record: ReplayRecord, lines: list[bytes]) -> list[bytes]:
        """The lines as they are sent."""

    def must_be_open(self) -> None:
        """Raise SinkUnavailableError while the agent is away."""

    def send(self, record: ReplayRecord, batch: Batch, *, is_repeat: bool) -> None:
        """Return once it is acknowledged."""

    def set_aside(self, record: ReplayRecord, item: SetAside) -> None:
        """Keep a line that is too long."""

    def owner(self, identity: tuple[int, int], follow_id: str) -> str | None:
        """Another followed log that reads this file already."""

    def records(self, follow_id: str) -> list[ReplayRecord]:
        """Records of a log's generations that are kept, in their order."""


@dataclass(eq=False)
class Part:
    """A file that is read.

    Attributes:
        record: of the generation.
        file: open; None: it is gone, and what is left of it is not known.
        left_at: since when the log is another file, of the monotonic clock; None: it is this one.
        grew_at: when it was last seen to grow.
        loss: why what follows its end is not known, if so.
        in_flight: what is sent, with its bytes, and was not acknowledged.
        is_tried: whether it was sent at least once.
        ended_at: since when it is over; it is watched on.
    """

    record: ReplayRecord
    file: OpenLog | None
    ordered: OrderedHash = field(default_factory=OrderedHash)
    left_at: float | None = None
    grew_at: float = field(default_factory=time.monotonic)
    seen_bytes: int = -1
    loss: str = ""
    is_truncated: bool = False
    in_flight: tuple[Batch | SetAside, bytes] | None = None
    is_tried: bool = False
    is_fastened: bool = False
    is_late: bool = False
    ended_at: float | None = None

    @property
    def generation(self) -> Generation:
        """Of the record."""
        assert self.record.generation is not None
        return self.record.generation

    @property
    def behind_bytes(self) -> int:
        """Bytes that are not acknowledged yet, as far as known."""
        return max(0, self.seen_bytes - self.record.place.offset)

    def grow(self, now_s: float) -> None:
        """Take note of its size."""
        size = self.file.size() if self.file else None
        if size is not None and size != self.seen_bytes:
            self.seen_bytes, self.grew_at = size, now_s


class FollowedLog:
    """One path. `look` and `turn` are called by threads of their own, each by one at a time.

    Args:
        follow: what was asked for.
        office: what it works with.
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
        self._behind_since: float | None = None
        self._rates: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])
        self._sent = 0
        self._ended = Digest(follow.folded_lines, follow.folded_bytes)
        self._unknown: list[dict[str, Any]] = []
        self._left_out: set[tuple[int, int]] = set()  # files from before it was followed
        self._known: dict[int, tuple[Generation, int]] = {}
        self._stopping = threading.Event()

    # ------------------------------------------------------------------ what is seen from outside

    @property
    def follow_id(self) -> str:
        """Begins the ids of its generations."""
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
        newest = _newest(list(self._parts))
        return newest.generation.file if newest else str(self._path)

    def to_json(self) -> dict[str, Any]:
        """As others see it."""
        now_s = time.monotonic()
        with self._lock:
            live = [part for part in self._parts if part.ended_at is None]
            digest = sum((part.record.digest for part in live), start=self._ended)
            behind = sum(part.behind_bytes for part in live)
            current = _newest(live)
            failed = next((part.record for part in live if part.record.state == "failed"), None)
            since, rates = self._behind_since, list(self._rates)
            unknown = list(self._unknown)
        behind_s = now_s - since if since is not None else 0.0
        recent = [rate for rate in rates if now_s - rate[0] <= _RATE_S] and rates
        elapsed_s = now_s - rates[0][0]
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
        reasons = [*said, self.sink_trouble, self.follow.warning]
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
            "lines_per_s": round((self._sent - rates[0][1]) / max(1.0, elapsed_s), 1) if recent else 0.0,
            "unknown": unknown,
        }

    # ------------------------------------------------------------------ beginning and going on

    def begin(self) -> None:
        """Take the files that there are at the first time, as was asked for."""
        with self._looking, self._lock:
            known = self._office.records(self.follow_id)
            for record in known:
                self._remember(record)
                self._count_ended(record)
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

    def go_on(self) -> None:
        """Find the files of the generations that were running, and those that came since."""
        with self._looking, self._lock:
            records = self._office.records(self.follow_id)
            for record in records:
                self._remember(record)
                if record.state != "running":
                    self._count_ended(record)
            missed = self._missed()
            for record in records[-_KNOWN:]:
                if record.state != "running":
                    self._take_late(record, missed)
            running = [record for record in records if record.state == "running"]
            # Files of which nothing is known but the inode, which may be another one's now, come last.
            for record in sorted(running, key=lambda one: one.generation.head.size_bytes == 0):  # type: ignore[union-attr]
                self._reopen(record, missed)
            self._take_missed()
            self._parts.sort(key=lambda part: number_of(part.record.spec.replay_id))
            self._look()

    def _remember(self, record: ReplayRecord) -> None:
        """So that no other file is taken for a generation's, nor its file for another one's."""
        assert record.generation is not None
        number = number_of(record.spec.replay_id)
        self._known[number] = record.generation, record.place.offset
        before = max(each.written_at for each, _ in self._known.values()) - 2 * _SLACK_S
        while len(self._known) > _KNOWN and self._known[min(self._known)][0].written_at < before:
            del self._known[min(self._known)]

    def _missed(self) -> list[Rotated]:
        """Old files that were written to since the last look, or shortly before: one may be unknown."""
        since = max((each.written_at for each, _ in self._known.values()), default=self.follow.created_at)
        since -= _SLACK_S
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
        """Whether it is the file of a generation that was begun, compressed or not, or a copy of one."""
        known = self._known_now()
        if old.is_unreadable:
            return any(_is_of(old, generation) for generation, _, _ in known)
        file = self._opened(old)
        if file is None:
            return False
        try:
            head = file.read(0, HEAD_BYTES)
            return any(
                generation.head.fits(head)
                and (
                    old.identity == (generation.device, generation.inode)
                    or _is_of(old, generation)
                    or lost_bytes  # its copy may end before what was read of it
                    or proves(file, generation, offset) is not None
                )
                for generation, offset, lost_bytes in known
            ) or any(is_copy(file, part.file) for part in list(self._parts) if part.file is not None)
        except (OSError, SourceError):
            return False
        finally:
            file.close()

    def _known_now(self) -> list[tuple[Generation, int, bool]]:
        """The generations that have a head, their places, and whether bytes of theirs were lost.

        Of what is open the head is as it is now.
        """
        open_now = {number_of(part.record.spec.replay_id): part for part in list(self._parts)}
        known = []
        for number, (recorded, offset) in self._known.items():
            part, generation = open_now.get(number), recorded
            is_truncated = part is not None and part.is_truncated
            if part is not None and part.file is not None and not is_truncated:
                begin = part.file.read(0, HEAD_BYTES)
                if recorded.head.fits(begin):  # else it was truncated, and nobody has noticed yet
                    generation = replace(recorded, head=Head.of(begin))
            if generation.head.size_bytes:
                known.append((generation, offset, is_truncated or generation.unknown is not None))
        return known

    def _rotated(self) -> list[Rotated]:
        try:
            return rotated(self._path)
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
            and len({each.inode for each, _ in self._known.values()}) == 1
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
        begin = self._sent_before(file, known)
        if begin and begin == file.size():
            file.close()
            return
        part = self._append(file, begin=begin)
        part.left_at = part.grew_at = quiet_since if file.size() is not None else now_s - _LONG_AGO_S

    def _sent_before(self, file: OpenLog, known: Iterable[ReplayRecord]) -> int:
        """How far earlier generations have sent a file."""
        places = [0]
        for record in known:
            generation = record.generation
            if generation and generation.head.size_bytes:
                try:
                    if proves(file, generation, record.place.offset) is not None:
                        places.append(record.place.offset)
                except (OSError, SourceError):
                    continue
        return max(places)

    # ------------------------------------------------------------------ looking

    def look(self) -> bool:
        """See which file the path is now; tells whether a turn is due."""
        with self._looking, self._lock:
            if self._stopping.is_set():
                return True
            before = len(self._parts)
            self._look()
            return self._behind_since is not None or len(self._parts) != before or len(self._parts) > 1

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
                if current.behind_bytes and self._behind_since is None:
                    self._behind_since = now_s
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
            begin = max(self._sent_before(file, known), self._left_of(file, head))
        for part in list(self._parts):  # it has come back: its end is not watched any more
            if part.ended_at is not None and part.file and part.file.identity == file.identity:
                self._drop(part)
        self._trouble = self._reason = ""
        self._append(file, begin=begin)
        self._is_there, self._look_again_at = True, time.monotonic() + _LOOK_AGAIN_S

    def _left_of(self, file: OpenLog, head: bytes) -> int:
        """Where to go on in a file that begins as one that was sent: it came back, or lost its end."""
        return max(
            (
                last_line_end(file, offset)
                for generation, offset in self._known.values()
                if file.identity == (generation.device, generation.inode)
                and generation.head.size_bytes
                and generation.head.fits(head)
            ),
            default=0,
        )

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
        )
        spec = ReplaySpec(
            record_id(self.follow_id, number),
            self._path.as_uri(),
            "max",
            "durable",
            limit=None,
            addresses=self.follow.addresses,
        )
        record = ReplayRecord(spec, place=Place(0, begin, begin), generation=generation)
        self._office.save(record, is_new=True)
        self._remember(record)
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
                self._behind_since = None
            if any(part.left_at is not None and not part.is_late for part in live):
                return min(_ROTATED_LOOK_S, max(0.05, self._office.settings.follow_quiet_s / 2))
            return _OLD_LOOK_S if len(self._parts) > 1 else None

    def _next(self, part: Part) -> tuple[Batch | SetAside, bytes] | None:
        """The lines that are due, with their bytes."""
        record, generation, file = part.record, part.generation, part.file
        if file is None:
            return None
        offset = record.place.offset
        most = _READ_BYTES if generation.cut is None else min(_READ_BYTES, generation.cut - offset)
        plain = file.read(offset, most) if most > 0 else b""
        if not part.is_truncated and self._was_truncated(part, offset):
            self._truncated(part)
            return None
        if not plain:
            return None
        end = plain.rfind(b"\n") + 1
        is_cut = generation.cut is not None and offset + len(plain) == generation.cut
        if not end and is_cut:
            return self._item(record, plain)
        if end:
            return self._item(record, plain[:end])
        return self._long(part, plain) if len(plain) == _READ_BYTES else None

    def _item(self, record: ReplayRecord, plain: bytes) -> tuple[Batch | SetAside, bytes]:
        place = record.place
        splitter = LineSplitter(self._office.settings.max_line_bytes)
        items = [*splitter.feed(plain), *splitter.finish()]
        first = items[0]
        if isinstance(first, LongLine):
            taken = plain[: first.length_bytes + 1]
            end = self._place(place, 1, len(taken))
            return SetAside(end.line, first, end), taken
        room = BATCH_LINES - place.line % CHUNK_LINES
        lines = list(first[:room])
        for item in items[1:]:
            if isinstance(item, LongLine) or len(lines) >= room:
                break
            lines += item[: room - len(lines)]
        taken = plain[: sum(map(len, lines)) + len(lines)]
        return Batch(place.line + 1, lines, self._place(place, len(lines), len(taken))), taken

    def _long(self, part: Part, plain: bytes) -> tuple[Batch | SetAside, bytes] | None:
        """A line of which more than a batch is there; read on to its end."""
        assert part.file is not None
        place = part.record.place
        splitter = LineSplitter(self._office.settings.max_line_bytes)
        at, cut = place.offset, part.generation.cut
        while plain:
            line, newline, _ = plain.partition(b"\n")
            items = [*splitter.feed(line + newline)]
            at += len(line) + len(newline)
            if at == cut:
                items += splitter.finish()
            if items:
                end = self._place(place, 1, at - place.offset)
                if isinstance(items[0], LongLine):
                    return SetAside(end.line, items[0], end), b""
                return Batch(end.line, items[0], end), b""
            plain = part.file.read(at, _READ_BYTES if cut is None else min(_READ_BYTES, cut - at))
        return None

    @staticmethod
    def _place(place: Place, lines: int, size_bytes: int) -> Place:
        offset = place.offset + size_bytes
        return Place(place.line + lines, offset, offset)

    def _deliver(self, part: Part) -> None:
        assert part.in_flight is not None
        item, plain = part.in_flight
        if isinstance(item, Batch):
            try:
                if not part.is_tried:
                    self._office.must_be_open()
                if not part.is_fastened:
                    self._fasten(part, item.lines)
            except SinkUnavailableError:
                if not part.is_tried:  # its bytes are in the file, and not held meanwhile
                    part.in_flight = None
                raise
            is_repeat, part.is_tried = part.is_tried, True
            sent = replace(item, lines=self._office.treated(part.record, item.lines))
            self._office.send(part.record, sent, is_repeat=is_repeat)
            digest, set_aside = Digest.of(sent.lines), 0
        else:
            (prefix,) = self._office.treated(part.record, [item.line.prefix])
            self._office.set_aside(part.record, replace(item, line=replace(item.line, prefix=prefix)))
            digest, set_aside = Digest(), 1
        self._settle(part, item.end, plain, digest, set_aside)

    def _fasten(self, part: Part, lines: list[bytes]) -> None:
        if part.file is not None and not part.generation.head.size_bytes:  # it was empty when it was begun
            head = Head.of(part.file.read(0, HEAD_BYTES))
            part.record = part.record.changed(generation=replace(part.generation, head=head))
            self._office.save(part.record)
            self._remember(part.record)
        if not self.follow.taken_format:
            taken, warning = self._office.format_of(self.follow, lines)
            self._change_follow(taken_format=taken, warning=warning)
        if part.record.treatment is None and part.record.spec.addresses != "keep":
            part.record = self._office.begun(self.follow, part.record)
            self._office.save(part.record)
        part.record = self._office.fasten(part.record)
        part.is_fastened = True

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
            while at < end.offset and (block := part.file.read(at, min(_READ_BYTES, end.offset - at))):
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
            self._remember(changed)
            part.record, part.in_flight, part.is_tried = changed, None, False
            self._trouble = ""
            self._sent += digest.lines
            now_s = time.monotonic()
            self._rates.append((now_s, self._sent))
            while len(self._rates) > 2 and now_s - self._rates[1][0] > _RATE_S:
                self._rates.popleft()
            if self._behind_since is not None and not part.behind_bytes:
                self._behind_since = None

    # ------------------------------------------------------------------ the ends of files

    def _end(self, part: Part) -> None:
        """The file is over: its unfinished last line is sent as it is, then its record is done."""
        generation = part.generation
        if part.file is not None and generation.cut is None and not part.loss:
            offset = part.record.place.offset
            rest = 0
            while block := part.file.read(offset + rest, _READ_BYTES):
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
            self._remember(record)
            if state == "done":
                part.ended_at = time.monotonic()
                self._count_ended(record)
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
            self._count_ended(record)

    def fold(self, record: ReplayRecord) -> None:
        """A generation's record goes."""
        with self._lock:
            self.follow = self.follow.with_folded(record.digest)
            self._office.save_follow(self.follow)

    def _count_ended(self, record: ReplayRecord) -> None:
        self._ended += record.digest
        unknown = record.generation.unknown if record.generation else None
        if unknown is not None:
            number = number_of(record.spec.replay_id)
            self._unknown.append(
                {
                    "generation": number,
                    "from_line": unknown.from_line,
                    "from_byte": unknown.from_byte,
                    "since": unknown.since,
                    "until": unknown.until,
                    "reason": unknown.reason,
                }
            )

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


def _newest(parts: list[Part]) -> Part | None:
    """The file that the path is, or was last."""
    return max(parts, key=lambda part: (part.left_at is None, part.left_at or 0.0), default=None)


def _is_of(old: Rotated, generation: Generation) -> bool:
    return abs(old.written_at - generation.written_at) < _SAME_TIME_S


def last_line_end(file: OpenLog, most: int | None = None) -> int:
    """Offset behind the last line end that a file has now, up to an offset; 0 when it has none."""
    size = file.size() or 0
    size = size if most is None else min(size, most)
    while size:
        begin = max(0, size - 65536)
        found = file.read(begin, size - begin).rfind(b"\n")
        if found >= 0:
            return begin + found + 1
        size = begin
    return 0
