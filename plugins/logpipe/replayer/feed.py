"""Numbered batches of lines from a stream of blocks, when they are due."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate
from typing import Protocol

from logpipe.identity import CHUNK_LINES
from logpipe.replayer.errors import InterruptedReplayError, SourceChangedError, SourceDamagedError
from logpipe.replayer.gunzip import PlainBlock
from logpipe.replayer.halt import Halt
from logpipe.replayer.lines import LineSplitter, LongLine
from logpipe.replayer.pace import Pace
from logpipe.replayer.pin import Pin, PinDigest
from logpipe.replayer.prefetch import EndOfSource

BATCH_LINES = 6 * CHUNK_LINES
BATCH_BYTES = 1 << 20  # a batch of one line may be longer
LINGER_S = 0.2  # how long a line may wait for others to share its batch
_LOOK_AROUND_S = 0.2  # how often a wait looks whether a halt was asked for


@dataclass(frozen=True, slots=True)
class Place:
    """A line end in the source.

    Attributes:
        line: number of the last line before it, from 1; 0 at the beginning.
        offset: plain bytes before it.
        source_bytes: bytes of the source (compressed, if it is) read to get there.
        pin: digest of what stands before it.
    """

    line: int = 0
    offset: int = 0
    source_bytes: int = 0
    pin: Pin = field(default_factory=Pin)


@dataclass(frozen=True, slots=True)
class Batch:
    """Lines that follow each other, the number of the first, and the place behind the last."""

    first_line: int
    lines: list[bytes]
    end: Place


@dataclass(frozen=True, slots=True)
class SetAside:
    """A line that is not sent, its number, and the place behind it."""

    number: int
    line: LongLine
    end: Place
    has_grown: bool = False  # what became of its addresses made it too long

    def reason(self, max_line_bytes: int) -> str:
        """Why it is not sent, for a person."""
        grown = " once its addresses are treated" if self.has_grown else ""
        return f"longer than {max_line_bytes} bytes{grown}"


def fitting(lines: Sequence[bytes], max_line_bytes: int) -> int:
    """How many lines there are before the first that is too long."""
    if max(map(len, lines), default=0) <= max_line_bytes:
        return len(lines)
    return next(at for at, line in enumerate(lines) if len(line) > max_line_bytes)


class Blocks(Protocol):
    """Where blocks come from."""

    def get(self, timeout_s: float) -> PlainBlock | EndOfSource | None:
        """The next one; None if none arrives in time."""


class LineFeed:
    """Cuts the stream into batches; goes over what was sent before a resume and checks it on the way.

    Args:
        blocks: from the place ``resume.pin`` begins at.
        splitter: a fresh one.
        resume: behind the last line that was settled before.
        pace: when lines are due; None: at once.
        limit: number of the last line to be sent; None: the source's last.
        rolling_pin: see `PinDigest`.
        is_compressed: whether the source's bytes are compressed, so that plain offsets are not its own.
        batch_lines: at most so many share a batch, whole chunks.
        treat: makes of some lines those that are sent; None: they are sent as they are. Places and pins are
            of the source's.

    Attributes:
        caught_up: whether what was sent before has been gone over.
    """

    def __init__(
        self,
        blocks: Blocks,
        splitter: LineSplitter,
        halt: Halt,
        *,
        resume: Place,
        pace: Pace | None,
        limit: int | None,
        rolling_pin: bool,
        is_compressed: bool,
        batch_lines: int = BATCH_LINES,
        treat: Callable[[Sequence[bytes]], list[bytes]] | None = None,
    ) -> None:
        self._blocks = blocks
        self._splitter = splitter
        self._halt = halt
        self._resume = resume
        self._pace = pace
        self._limit = limit
        self._is_compressed = is_compressed
        self._batch_lines = batch_lines
        self._treat = treat
        self._pin = PinDigest(resume.pin, rolling=rolling_pin)
        self._line = resume.pin.line
        self._offset = resume.pin.offset
        self._source_bytes = resume.source_bytes
        self._items: deque[list[bytes] | LongLine] = deque()
        self._lines: list[bytes] = []
        self._due_lines = 0
        self._next_due_s: float | None = None
        self._linger_until_s: float | None = None
        self._end: EndOfSource | None = None
        self.caught_up = resume.line == resume.pin.line

    def next(self, *, wait: bool) -> Batch | SetAside | None:
        """What is to be dealt with next.

        Args:
            wait: wait for it; otherwise None if it has not arrived, is not due, or may grow a little.

        Returns:
            None with ``wait`` at the end of the source or of the limit, or when a halt was asked for.

        Raises:
            SourceError: the source failed; everything before the failure has been given out.
        """
        while not self._halt.asked:
            self._fill(timeout_s=0.0)
            now_s = time.monotonic()
            if not self._lines and self._items:
                return self._take_long()
            self._count_due(now_s)
            if self._due_lines and self._is_batch_ready(now_s):
                return self._take_batch()
            if not wait:
                return None
            if self._lines:
                self._wait(now_s)
            elif self._end is None:
                self._fill(_LOOK_AROUND_S)
            else:
                if self._end.error is not None:
                    raise self._end.error
                return None
        return None

    def _fill(self, timeout_s: float) -> None:
        """Take in blocks until a full batch, a long line or the end is there, or none has arrived."""
        while self._end is None and len(self._lines) < self._batch_lines and not self._items:
            block = self._blocks.get(timeout_s)
            if block is None:
                return
            if isinstance(block, EndOfSource):
                self._take_end(block)
            else:
                self._source_bytes = block.source_bytes
                self._take_items(self._splitter.feed(block.plain))
            timeout_s = 0.0

    def _take_end(self, end: EndOfSource) -> None:
        if end.error is None or isinstance(end.error, SourceDamagedError):
            self._take_items(self._splitter.finish())
        if self._end is None:
            self._end = end
            if (
                not self.caught_up
                and not isinstance(end.error, InterruptedReplayError)
                and (end.error is None or isinstance(end.error, SourceDamagedError))
            ):
                raise SourceChangedError(
                    f"the source changed since this replay began: line {self._resume.line} was sent, "
                    f"it now ends with line {self._line}"
                )

    def _take_items(self, items: Iterator[list[bytes] | LongLine]) -> None:
        for item in items:
            rest = item if self.caught_up else self._go_over(item)
            if rest:
                self._items.append(rest)
        while self._items and isinstance(lines := self._items[0], list):
            self._lines += lines
            self._items.popleft()
        self._apply_limit()

    def _go_over(self, item: list[bytes] | LongLine) -> list[bytes] | LongLine | None:
        """Pass by what was settled before; give what comes after it."""
        rest: list[bytes] = []
        if isinstance(item, LongLine):
            self._advance_long(item)
        else:
            count = min(len(item), self._resume.line - self._line)
            rest = item[count:]
            self._advance(item[:count])
        if self._line == self._resume.line:
            self._check_resume()
        return rest

    def _check_resume(self) -> None:
        pin = self._pin.pin_at(self._line, self._offset)
        if pin.digest != self._resume.pin.digest:
            raise SourceChangedError(
                f"the source changed since this replay began: the bytes from {pin.offset} to line "
                f"{self._line} had the XXH64 digest {self._resume.pin.digest}, now {pin.digest}; "
                "replay the new one under another replay_id"
            )
        self._offset = self._resume.offset
        self.caught_up = True

    def _apply_limit(self) -> None:
        if self._limit is None:
            return
        room = self._limit - self._line
        if len(self._lines) >= room:
            del self._lines[room:]
            self._items.clear()
            self._end = EndOfSource(None)

    def _count_due(self, now_s: float) -> None:
        most = min(len(self._lines), self._room)
        if self._pace is None:
            self._due_lines = most
        else:
            while self._due_lines < most:
                if self._next_due_s is None:
                    self._next_due_s = self._pace.due_at_s(self._lines[self._due_lines], now_s)
                if self._next_due_s > now_s:
                    break
                self._next_due_s = None
                self._due_lines += 1
        if self._due_lines and self._linger_until_s is None:
            self._linger_until_s = now_s + LINGER_S

    def _is_batch_ready(self, now_s: float) -> bool:
        if self._due_lines >= self._room or now_s >= (self._linger_until_s or 0.0):
            return True
        is_all = self._due_lines == len(self._lines)
        return is_all and (self._end is not None or bool(self._items))

    @property
    def _room(self) -> int:
        """Lines that fit into the next batch: it ends with a chunk."""
        return self._batch_lines - self._line % CHUNK_LINES

    def _wait(self, now_s: float) -> None:
        """Until a line is due, the batch has lingered, or something arrives that it may wait for."""
        until_s = min(self._linger_until_s or float("inf"), self._next_due_s or float("inf"))
        wait_s = min(max(0.0, until_s - now_s), _LOOK_AROUND_S)
        if self._next_due_s is None:  # all lines are due, and more of them may fit
            self._fill(wait_s)
        else:
            self._halt.wait(wait_s)

    def _take_batch(self) -> Batch | SetAside:
        lines = sent = self._lines[: self._due_lines]
        fit = count = len(lines)
        if self._treat is not None:
            sent = self._treat(lines)
            fit = fitting(sent, self._splitter.max_line_bytes)
            count = max(1, fit)
        if sum(map(len, sent[:count])) > BATCH_BYTES:
            count = max(1, sum(end <= BATCH_BYTES for end in accumulate(map(len, sent[:count]))))
        del self._lines[:count]
        self._due_lines -= count
        if not self._due_lines:
            self._linger_until_s = None
        first_line = self._line + 1
        self._advance(lines[:count])
        if not fit:
            return SetAside(first_line, LongLine.of(sent[0]), self._place(), has_grown=True)
        return Batch(first_line, sent[:count], self._place())

    def _take_long(self) -> SetAside:
        line = self._items.popleft()
        assert isinstance(line, LongLine)
        self._advance_long(line)
        end = self._place()
        self._take_items(iter(()))
        return SetAside(end.line, replace(line, prefix=self._treated(line.prefix)), end)

    def _treated(self, begin: bytes) -> bytes:
        return begin if self._treat is None else self._treat([begin])[0]

    def _advance(self, lines: list[bytes]) -> None:
        if lines:
            self._line += len(lines)
            self._offset += sum(map(len, lines)) + len(lines)
            self._pin.add_lines(lines)

    def _advance_long(self, line: LongLine) -> None:
        self._line += 1
        self._offset += line.length_bytes + 1
        self._pin.add_long(line)

    def _place(self) -> Place:
        source_bytes = self._source_bytes if self._is_compressed else min(self._offset, self._source_bytes)
        return Place(self._line, self._offset, source_bytes, self._pin.pin_at(self._line, self._offset))
