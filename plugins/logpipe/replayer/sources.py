"""What every kind of source offers: a stream of bytes from an offset on, and a version to pin it by."""

import contextlib
from dataclasses import dataclass
from typing import Protocol

from logpipe.replayer.errors import SourceChangedError

BLOCK_BYTES = 256 * 1024  # read at a time; with the blocks on their way, it bounds the memory of a replay
NETWORK_TIMEOUT_S = 60.0  # without a byte; a slow server that sends something is waited for


@dataclass(frozen=True, slots=True)
class SourceVersion:
    """What pins a source; None where the server does not tell.

    Attributes:
        size_bytes: size of the file as served (compressed where it is a gzip file).
        modified_at: time of the last modification, ISO-8601 UTC.
    """

    size_bytes: int | None = None
    modified_at: str | None = None

    def must_equal(self, now: "SourceVersion") -> None:
        """Compare with the version found now, field by field as far as both are known.

        Raises:
            SourceChangedError: they differ; the message names both.
        """
        for name in ("size_bytes", "modified_at"):
            before, after = getattr(self, name), getattr(now, name)
            if before is not None and after is not None and before != after:
                raise SourceChangedError(
                    f"the source changed since this replay began: it was {self}, it is now {now}; "
                    "replay the new one under another replay_id"
                )

    def __str__(self) -> str:
        size = "of unknown size" if self.size_bytes is None else f"{self.size_bytes} bytes"
        return f"{size}, modified {self.modified_at or 'at an unknown time'}"


class SourceStream(Protocol):
    """An open source.

    Attributes:
        version: the version that is being read.
        start: offset of the first byte it gives: the one asked for, or 0 if the server can't seek.
        tells_end: whether a transfer that is cut short can be told from the end of the file.
    """

    version: SourceVersion
    start: int
    tells_end: bool

    def read(self, max_bytes: int) -> bytes:
        """Bytes as soon as there are any, empty at the end.

        Raises:
            SourceError: the transfer broke.
        """

    def close(self) -> None:
        """Let go of connections and files; never raises."""


class Source(Protocol):
    """A file that can be opened, again and again."""

    def open(self, offset: int) -> SourceStream:
        """Open for reading from the offset on.

        Raises:
            SourceError: it can't be opened; ``transient`` tells whether trying again may help.
        """


def close_quietly(*closers: object) -> None:
    """Call each ``close()``, ignoring errors: the other side may be gone already."""
    for closer in closers:
        with contextlib.suppress(Exception):
            closer.close()  # type: ignore[attr-defined]
