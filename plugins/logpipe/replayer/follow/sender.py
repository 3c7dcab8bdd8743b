"""Sends the files of a followed log: which one has its turn, its next batch, and what its end leads to."""

import logging
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from logpipe.digest import Digest
from logpipe.replayer.errors import SinkError, SinkUnavailableError, SourceError
from logpipe.replayer.feed import LINGER_S, Batch, Place
from logpipe.replayer.follow.files import find
from logpipe.replayer.follow.generation import HEAD_BYTES, Head, Unknown
from logpipe.replayer.follow.looker import Looker
from logpipe.replayer.follow.office import Office
from logpipe.replayer.follow.part import LONG_AGO_S, READ_BYTES, Part, due, treated, unread
from logpipe.replayer.follow.state import LogState
from logpipe.replayer.record import now_text

_RETRY_S = 5.0  # a file that could not be read is tried again after that time
_ROTATED_LOOK_S = 1.0  # an old file may stand in a folder that is not watched
_OLD_LOOK_S = 10.0

log = logging.getLogger(__name__)


class Sender:
    """Takes a log's turns, by one thread at a time.

    Args:
        state: has the parts.
        looker: looks what a truncated file is now.
        office: sends and records.
    """

    def __init__(self, state: LogState, looker: Looker, office: Office) -> None:
        self._log = state
        self._looker = looker
        self._office = office

    def turn(self) -> float | None:
        """Send the next batch, if there is one.

        Returns:
            After how many seconds the next turn is due; None: when something happens.

        Raises:
            SinkUnavailableError: not now; the same batch is due again.
            InterruptedReplayError: the replayer halts.
        """
        with self._log.lock:
            parts = sorted(self._log.parts, key=lambda part: part.left_at is None)  # old ones first
        for part in parts:
            try:
                wait_s = self._turn_of(part)
            except SinkError as error:
                self._finish(part, "failed", str(error))
                return None
            except (OSError, SourceError) as error:
                self._log.trouble = f"{self._log.path} cannot be read: {error}"
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
            if self._log.stopping.is_set():
                self._give_up(part)
                return 0.0
            return None
        part.grow(now_s)
        if part.in_flight is None:
            if self._log.stopping.is_set():
                self._finish(part, "done", "not followed any more")
                return 0.0
            plain = unread(part)
            if part.file is not None and not part.is_truncated and part.lost_bytes():
                self._truncated(part)
                return 0.0
            part.in_flight = due(part, plain, self._office.settings.max_line_bytes)
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
        with self._log.lock:
            live = [part for part in self._log.parts if part.ended_at is None]
            if not any(part.behind_bytes for part in live):
                self._log.progress.behind_since = None
            if any(part.left_at is not None and not part.is_late for part in live):
                return min(_ROTATED_LOOK_S, max(0.05, self._office.settings.follow_quiet_s / 2))
            return _OLD_LOOK_S if len(self._log.parts) > 1 else None

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
            self._log.known.add(part.record)
        if not self._log.follow.taken_format:
            taken, warning = self._office.format_of(self._log.follow, lines)
            self._log.change(taken_format=taken, warning=warning)
        self._settle_addresses(part)
        part.record = self._office.fasten(part.record)
        part.is_fastened = True

    def _settle_addresses(self, part: Part) -> None:
        """Before the first line of a file leaves; or what is kept of one that is too long."""
        if part.record.treatment is None and part.record.spec.addresses != "keep":
            part.record = self._office.begun(self._log.follow, part.record)
            self._office.save(part.record)

    def _settle(self, part: Part, end: Place, plain: bytes, digest: Digest, set_aside: int) -> None:
        changed, ordered = part.acknowledged(end, plain, digest, set_aside)
        self._office.save(changed)
        with self._log.lock:
            self._log.known.add(changed)
            part.record, part.ordered, part.in_flight, part.is_tried = changed, ordered, None, False
            self._log.trouble = ""
            self._log.progress.sent(digest.lines, is_behind=bool(part.behind_bytes))

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
        with self._log.lock:
            part.record = record
            self._log.known.add(record)
            if state != "done":
                return  # its file is read on once it is revived
            part.ended_at = time.monotonic()
            self._log.progress.end(record)
            is_final = part.file is None or part.file.size() is None or part.is_truncated
            if is_final or self._log.stopping.is_set():
                self._log.drop(part)

    def _give_up(self, part: Part) -> None:
        """What has failed, and nobody follows any more."""
        part.record = part.record.changed(given_up_at=now_text())
        self._office.save(part.record)
        part.ended_at = time.monotonic()
        with self._log.lock:
            self._log.drop(part)

    def _watch_old(self, part: Part, now_s: float) -> bool:
        """A file that has ended is kept open for a while; tells whether a server still writes to it."""
        assert part.ended_at is not None
        if part.file is None:
            return False
        with self._log.lock:
            if part not in self._log.parts or part.file is None:
                return False
            if (part.file.size() or 0) > part.record.place.offset:
                self._log.parts.remove(part)
                late = self._log.append(part.file, begin=part.record.place.offset, is_late=True)
                late.left_at = now_s
                return True
        if now_s - part.ended_at >= self._office.settings.follow_reopen_s:
            with self._log.lock:
                self._log.drop(part)
        return False

    def _truncated(self, part: Part) -> None:
        """Bytes were taken away: go on in the copy that was made before, if there is one."""
        file = part.file
        assert file is not None
        found = find(part.generation, part.record.place.offset, self._office.door, but=file.identity)
        part.loss = (
            f"{self._log.path} was truncated (copytruncate; or a power cut took its end): what was written "
            "between "
            + ("the copy and the truncation" if found else "the last reading and the truncation")
            + " cannot be known"
        )
        with self._log.lock:
            part.is_truncated = True
            part.left_at = part.grew_at = time.monotonic() - LONG_AGO_S
            part.file, part.ordered = found or (None, part.ordered)
            file.close()
        with self._log.looking:
            self._looker.see()
