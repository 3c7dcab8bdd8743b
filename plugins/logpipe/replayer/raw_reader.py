"""The bytes of a source, once each and in order, however often the transfer drops.

Where a transfer that was cut short looks like one that ended, the end is believed at the second sight: the
source is opened again, and gives nothing behind the same byte. Only a server that can't seek and breaks off
at the same byte twice can't be told from one whose file ends there.
"""

from collections.abc import Callable, Iterator

from logpipe.replayer.backoff import Backoff
from logpipe.replayer.errors import InterruptedReplayError, SourceChangedError, SourceError
from logpipe.replayer.file_source import FileSource
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.halt import Halt
from logpipe.replayer.sources import BLOCK_BYTES, Source, SourceStream, SourceVersion
from logpipe.replayer.urls import Login, SourceUrl

SOURCE_PATIENCE_S = 600.0  # without a byte from a source that was reached before
FIRST_CONTACT_PATIENCE_S = 60.0  # for a source that was never reached


def source_of(url: SourceUrl, door: FrontDoor, login: Login | None = None) -> Source:
    """Choose the kind of source by the URL's scheme.

    Args:
        url: of the source.
        door: which files may be read, and which servers be asked.
        login: for a server that asks for one.
    """
    if url.scheme == "file":
        return FileSource(url, door)
    # Their libraries take a quarter of a second to load, which whoever reads no such source need not spend.
    if url.scheme in ("ftp", "ftps"):
        from logpipe.replayer.ftp_source import FtpSource

        return FtpSource(url, login, door.network)
    from logpipe.replayer.http_source import HttpSource

    return HttpSource(url, login, door.network)


class RawReader:
    """Reads a source from an offset to its end, and reopens it where it was after a drop.

    Attributes:
        version: what the source is pinned by; known after the first successful opening.
        offset: bytes of the source before the next one to be read.
    """

    def __init__(
        self,
        source: Source,
        halt: Halt,
        *,
        pinned: SourceVersion | None = None,
        offset: int = 0,
        patience_s: float = SOURCE_PATIENCE_S,
        first_contact_patience_s: float = FIRST_CONTACT_PATIENCE_S,
        on_trouble: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self.version = pinned
        self.offset = offset
        self._source = source
        self._halt = halt
        self._patience_s = patience_s
        self._backoff = Backoff(patience_s if pinned else first_contact_patience_s)
        self._on_trouble = on_trouble
        self._stream: SourceStream | None = None
        self._seen_end: int | None = None

    def __iter__(self) -> Iterator[bytes]:
        """Blocks of at most `BLOCK_BYTES`.

        Raises:
            SourceError: the source failed for good, or for longer than patience lasts.
            SourceChangedError: it is not the version that it was.
            InterruptedReplayError: a halt was asked for while it was away.
        """
        try:
            while block := self._read():
                yield block
        finally:
            self.close()

    def close(self) -> None:
        """Let go of the source; it may be read on later."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None

    def _read(self) -> bytes:
        while True:
            try:
                block = self._read_once()
            except SourceError as error:
                self.close()
                self._pause(error)
            else:
                if block:
                    self._backoff.reset()
                    self._on_trouble(None)
                return block

    def _read_once(self) -> bytes:
        if self._stream is None:
            if self.version is not None and self.offset == self.version.size_bytes:
                return b""  # dropped at the very end: many servers refuse to seek there
            self._stream = self._reopen()
        block = self._stream.read(BLOCK_BYTES)
        self.offset += len(block)
        size = self.version.size_bytes if self.version else None
        if size is not None and self.offset > size:
            raise SourceChangedError(
                f"the source grew while it was read: it had {size} bytes, now it has more"
            )
        if not block and size is not None and self.offset < size:
            raise SourceError(f"the transfer ended after {self.offset} of {size} bytes", transient=True)
        if not block and not self._stream.tells_end and self._seen_end != self.offset:
            self._seen_end = self.offset
            raise SourceError(f"whether {self.offset} bytes are all is not told", transient=True)
        return block

    def _reopen(self) -> SourceStream:
        stream = self._source.open(self.offset)
        try:
            if self.version is not None:
                self.version.must_equal(stream.version)
            elif stream.version.size_bytes == 0:
                raise SourceError("the file is empty (0 bytes)")
            else:
                self.version = stream.version
                self._backoff = Backoff(self._patience_s)
            self._read_over(stream, self.offset - stream.start)
        except BaseException:
            stream.close()
            raise
        return stream

    def _read_over(self, stream: SourceStream, count: int) -> None:
        while count > 0:
            block = stream.read(min(count, BLOCK_BYTES))
            if not block:
                raise SourceError(
                    "the transfer ended while reading over what was sent before", transient=True
                )
            count -= len(block)
            if self._halt.asked:
                raise InterruptedReplayError

    def _pause(self, error: SourceError) -> None:
        if not error.transient:
            raise error
        pause_s = self._backoff.next_pause_s()
        if pause_s is None:
            raise SourceError(
                f"{error.reason}; gave up after trying again for {self._backoff.patience_s:.0f} s"
            ) from error
        self._on_trouble(f"{error.reason}; trying again")
        if self._halt.wait(pause_s):
            raise InterruptedReplayError
