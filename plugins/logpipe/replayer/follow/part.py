"""A file of a followed log that is read, and the lines of it that are due."""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from logpipe.digest import Digest
from logpipe.identity import CHUNK_LINES
from logpipe.replayer.feed import BATCH_BYTES, BATCH_LINES, Batch, Place, SetAside, fitting
from logpipe.replayer.follow.files import Identity, OpenLog
from logpipe.replayer.follow.generation import HEAD_BYTES, Generation, Head
from logpipe.replayer.follow.ordered import OrderedHash
from logpipe.replayer.lines import LineSplitter, LongLine
from logpipe.replayer.record import ReplayRecord

READ_BYTES = BATCH_BYTES
LONG_AGO_S = 1e9  # so long ago was left, or grew, what is not waited for


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

    def is_at(self, identity: Identity) -> bool:
        """Whether it is the file that the path is now, and goes on."""
        is_it = self.file is not None and self.file.identity == identity and not self.is_truncated
        return is_it and self.ended_at is None

    def grow(self, now_s: float) -> None:
        """Take note of its size."""
        size = self.file.size() if self.file else None
        if size is not None and size != self.seen_bytes:
            self.seen_bytes, self.grew_at = size, now_s

    def lost_bytes(self) -> bool:
        """Whether acknowledged bytes are not in it any more: it is shorter, or begins otherwise."""
        file, head = self.file, self.generation.head
        assert file is not None
        size = file.size()
        if size is None:
            return False
        return size < self.record.place.offset or not head.fits(file.read(0, head.size_bytes))

    def acknowledged(
        self, end: Place, plain: bytes, digest: Digest, set_aside: int
    ) -> tuple[ReplayRecord, OrderedHash]:
        """Record and ordered hash, once what was in flight is acknowledged; these here stay as they are.

        Of a line that was read on to its end no bytes are given: they are read again.

        Raises:
            OSError: the file can't be read.
        """
        record, generation, ordered = self.record, self.generation, self.ordered.copy()
        if plain:
            ordered.add(plain)
        elif self.file is not None:
            at = record.place.offset
            while at < end.offset and (block := self.file.read(at, min(READ_BYTES, end.offset - at))):
                ordered.add(block)
                at += len(block)
        generation = replace(generation, chain=ordered.chain, rest=ordered.rest)
        if self.file is not None and not self.is_truncated:
            if generation.head.size_bytes < HEAD_BYTES:
                generation = replace(generation, head=Head.of(self.file.read(0, HEAD_BYTES)))
            generation = replace(generation, written_at=self.file.written_at())
        changed = record.changed(
            digest=record.digest + digest,
            set_aside=record.set_aside + set_aside,
            place=end,
            generation=generation,
        )
        return changed, ordered

    def close(self) -> None:
        """Close the file, if it is open."""
        if self.file is not None:
            self.file.close()
            self.file = None


def newest(parts: Iterable[Part]) -> Part | None:
    """The file that the path is, or was last."""
    return max(parts, key=lambda part: (part.left_at is None, part.left_at or 0.0), default=None)


def unread(part: Part) -> bytes:
    """What a file has behind the acknowledged place, as much as is sent at once."""
    if part.file is None:
        return b""
    offset, cut = part.record.place.offset, part.generation.cut
    most = READ_BYTES if cut is None else min(READ_BYTES, cut - offset)
    return part.file.read(offset, most) if most > 0 else b""


def due(part: Part, plain: bytes, max_line_bytes: int) -> tuple[Batch | SetAside, bytes] | None:
    """The lines that are to be sent next, with their bytes; a long one is read on to its end.

    Args:
        part: of which they are.
        plain: what `unread` gave.
        max_line_bytes: a longer line is set aside.
    """
    place = part.record.place
    end = plain.rfind(b"\n") + 1
    is_cut = part.generation.cut is not None and place.offset + len(plain) == part.generation.cut
    if plain and (end or is_cut):
        return _item(place, plain[:end] if end else plain, max_line_bytes)
    return _long(part, plain, max_line_bytes) if len(plain) == READ_BYTES else None


def _item(place: Place, plain: bytes, max_line_bytes: int) -> tuple[Batch | SetAside, bytes]:
    splitter = LineSplitter(max_line_bytes)
    items = [*splitter.feed(plain), *splitter.finish()]
    first = items[0]
    if isinstance(first, LongLine):
        taken = plain[: first.length_bytes + 1]
        end = _place(place, 1, len(taken))
        return SetAside(end.line, first, end), taken
    room = BATCH_LINES - place.line % CHUNK_LINES
    lines = list(first[:room])
    for item in items[1:]:
        if isinstance(item, LongLine) or len(lines) >= room:
            break
        lines += item[: room - len(lines)]
    taken = plain[: sum(map(len, lines)) + len(lines)]
    return Batch(place.line + 1, lines, _place(place, len(lines), len(taken))), taken


def treated(
    place: Place, batch: Batch, plain: bytes, lines: Sequence[bytes], max_line_bytes: int
) -> tuple[Batch | SetAside, bytes]:
    """What is sent of a batch, with its bytes in the file: up to a line that is too long now, or that one.

    Args:
        place: before the batch.
        batch: its lines as the file has them.
        plain: their bytes; of a line that was read on to its end none.
        lines: the same as they are to be sent.
        max_line_bytes: a longer line is set aside.
    """
    fit = fitting(lines, max_line_bytes)
    count, end = max(1, fit), batch.end
    if count < len(lines):
        plain = plain[: sum(map(len, batch.lines[:count])) + count]
        end = _place(place, count, len(plain))
    if fit:
        return Batch(batch.first_line, list(lines[:count]), end), plain
    return SetAside(batch.first_line, LongLine.of(lines[0]), end, has_grown=True), plain


def _long(part: Part, plain: bytes, max_line_bytes: int) -> tuple[Batch | SetAside, bytes] | None:
    """A line of which more than a batch is there; read on to its end."""
    assert part.file is not None
    place = part.record.place
    splitter = LineSplitter(max_line_bytes)
    at, cut = place.offset, part.generation.cut
    while plain:
        line, newline, _ = plain.partition(b"\n")
        items = [*splitter.feed(line + newline)]
        at += len(line) + len(newline)
        if at == cut:
            items += splitter.finish()
        if items:
            end = _place(place, 1, at - place.offset)
            if isinstance(items[0], LongLine):
                return SetAside(end.line, items[0], end), b""
            return Batch(end.line, items[0], end), b""
        plain = part.file.read(at, READ_BYTES if cut is None else min(READ_BYTES, cut - at))
    return None


def _place(place: Place, lines: int, size_bytes: int) -> Place:
    offset = place.offset + size_bytes
    return Place(place.line + lines, offset, offset)


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
