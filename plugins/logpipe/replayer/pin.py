"""The digest that proves at a resume that the source still begins as what was sent."""

from dataclasses import dataclass
from struct import Struct

import xxhash

from logpipe.replayer.lines import LongLine

_LONG_LINE = Struct(">QQ").pack
SPAN_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Pin:
    """XXH64 over the source's plain bytes between two line ends.

    Attributes:
        line: number of the last line before the begin (0: the begin of the source).
        offset: plain bytes before the begin.
        digest: over the lines after the begin, up to the place that the pin was taken at, 16 hex digits.
    """

    line: int = 0
    offset: int = 0
    digest: str = ""


class PinDigest:
    """Runs along with the lines and gives a `Pin` at any line end.

    With ``rolling`` the begin follows at a distance of one to two `SPAN_BYTES`, for sources that are resumed
    by seeking; without, it stays, for sources that are read over from their beginning anyway.
    A long line takes part by its length and hash.
    """

    def __init__(self, begin: Pin, *, rolling: bool) -> None:
        self._rolling = rolling
        self._begin = (begin.line, begin.offset)
        self._hash = xxhash.xxh64()
        self._next_begin = self._begin
        self._next_hash = xxhash.xxh64()

    def add_lines(self, lines: list[bytes]) -> None:
        """Take in lines."""
        self._add(b"\n".join(lines) + b"\n")

    def add_long(self, line: LongLine) -> None:
        """Take in a line that was too long to be held."""
        self._add(_LONG_LINE(line.length_bytes, line.hash))

    def pin_at(self, line: int, offset: int) -> Pin:
        """The pin for the place behind what was taken in."""
        pin = Pin(*self._begin, self._hash.hexdigest())
        if self._rolling and offset - self._next_begin[1] >= SPAN_BYTES:
            self._begin, self._hash = self._next_begin, self._next_hash
            self._next_begin, self._next_hash = (line, offset), xxhash.xxh64()
        return pin

    def _add(self, plain: bytes) -> None:
        self._hash.update(plain)
        if self._rolling:
            self._next_hash.update(plain)
