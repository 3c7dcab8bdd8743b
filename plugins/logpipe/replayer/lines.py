r"""Splits blocks of bytes into lines, at ``\n`` and nothing else, in bounded memory."""

from collections.abc import Iterator
from dataclasses import dataclass

import xxhash

from logpipe.digest import HASH_SEED

KEPT_PREFIX_BYTES = 4096  # of a line that is too long


@dataclass(frozen=True, slots=True)
class LongLine:
    """A line over the limit: what is known of it without holding it.

    Attributes:
        length_bytes: its length, without the line end.
        hash: XXH64 of the whole line, as `logpipe.digest.line_hash` gives it.
        prefix: its first bytes, at most `KEPT_PREFIX_BYTES`.
    """

    length_bytes: int
    hash: int
    prefix: bytes

    @classmethod
    def of(cls, line: bytes) -> "LongLine":
        """A line that is held whole."""
        return _LongLineBuilder(line).build()


class LineSplitter:
    """Fed with blocks, gives lists of whole lines (without line ends) and `LongLine` in their order.

    It holds at most ``max_line_bytes`` and a block: the beginning of a line whose end was not seen yet.
    """

    def __init__(self, max_line_bytes: int) -> None:
        self.max_line_bytes = max_line_bytes
        self._parts: list[bytes] = []
        self._parts_bytes = 0
        self._long: _LongLineBuilder | None = None

    def feed(self, block: bytes) -> Iterator[list[bytes] | LongLine]:
        """Lines that end in this block."""
        first, newline, rest = block.partition(b"\n")
        if not newline:
            self._keep(block)
            return
        yield from self._end_line(first)
        lines = rest.split(b"\n")
        self._keep(lines.pop())
        if len(block) > self.max_line_bytes:
            yield from self._sort_out(lines)
        elif lines:
            yield lines

    def finish(self) -> Iterator[list[bytes] | LongLine]:
        """The last line, if it has bytes but no line end."""
        if self._parts_bytes or self._long:
            yield from self._end_line(b"")

    def _keep(self, piece: bytes) -> None:
        if self._long:
            self._long.add(piece)
        elif piece:
            self._parts.append(piece)
            self._parts_bytes += len(piece)
            if self._parts_bytes > self.max_line_bytes:
                self._long = _LongLineBuilder(self._take_parts())

    def _end_line(self, piece: bytes) -> Iterator[list[bytes] | LongLine]:
        self._keep(piece)
        if self._long:
            yield self._long.build()
            self._long = None
        else:
            yield [self._take_parts()]

    def _take_parts(self) -> bytes:
        line = b"".join(self._parts)
        self._parts = []
        self._parts_bytes = 0
        return line

    def _sort_out(self, lines: list[bytes]) -> Iterator[list[bytes] | LongLine]:
        begin = 0
        for index, line in enumerate(lines):
            if len(line) > self.max_line_bytes:
                if index > begin:
                    yield lines[begin:index]
                yield LongLine.of(line)
                begin = index + 1
        if begin < len(lines):
            yield lines[begin:]


class _LongLineBuilder:
    def __init__(self, begin: bytes) -> None:
        self._hash = xxhash.xxh64(begin, HASH_SEED)
        self._length_bytes = len(begin)
        self._prefix = begin[:KEPT_PREFIX_BYTES]

    def add(self, piece: bytes) -> None:
        self._hash.update(piece)
        self._length_bytes += len(piece)
        self._prefix += piece[: KEPT_PREFIX_BYTES - len(self._prefix)]

    def build(self) -> LongLine:
        return LongLine(self._length_bytes, self._hash.intdigest(), self._prefix)
