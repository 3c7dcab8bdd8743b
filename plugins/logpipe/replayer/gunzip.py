"""Plain blocks of a source, gzip or not, in bounded memory."""

import re
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from logpipe.replayer.errors import SourceDamagedError, SourceError
from logpipe.settings import Settings

GZIP_MAGIC = b"\x1f\x8b"
# Begins no line of text; sent as lines, it would stay in the topic and on HDFS.
_OTHERS = {
    "zip": rb"PK\x03\x04",
    "bzip2": rb"BZh[1-9]1AY&SY",
    "xz": rb"\xfd7zXZ\x00",
    "zstd": rb"\x28\xb5\x2f\xfd",
}
GZIP_STEP_BYTES = 16 * 1024  # of gzip input at a time, so that progress is seen within a small file too
MAX_BLOCK_BYTES = 256 * 1024  # of output at a time, however well the input was compressed
_GZIP_WBITS = 31


@dataclass(frozen=True, slots=True)
class PlainBlock:
    """Some uncompressed bytes.

    Attributes:
        plain: the bytes.
        source_bytes: bytes of the source that were read to get to their end.
    """

    plain: bytes
    source_bytes: int


def is_gzip(head: bytes) -> bool:
    """Whether a file that begins with these bytes is a gzip file."""
    return head.startswith(GZIP_MAGIC)


def must_be_readable(head: bytes) -> None:
    """Refuse what was packed in another way.

    Raises:
        SourceError: these first bytes of a file say so.
    """
    for name, magic in _OTHERS.items():
        if re.match(magic, head):
            raise SourceError(
                f"the file is packed with {name}, expected lines of text, or gzip: unpack it first"
            )


def pass_through(blocks: Iterable[bytes], offset: int = 0) -> Iterator[PlainBlock]:
    """Blocks of a plain source that is read from the offset on."""
    for block in blocks:
        offset += len(block)
        yield PlainBlock(block, offset)


@dataclass(frozen=True, slots=True)
class UnpackLimits:
    """How much a gzip file may unfold to; one that says nothing is a bomb of kilobytes to a full disk."""

    gigabytes: int
    lines: int

    @classmethod
    def of(cls, settings: Settings) -> "UnpackLimits":
        """Those of the settings."""
        return cls(settings.max_unpacked_gb, settings.max_unpacked_lines)

    def check(self, plain_bytes: int, lines: int) -> None:
        """Look at what was unfolded so far.

        Raises:
            SourceError: it is too much; the message names the setting.
        """
        for found, most, unit, setting in (
            (plain_bytes, self.gigabytes * 2**30, "bytes", "LOGPIPE_MAX_UNPACKED_GB"),
            (lines, self.lines, "lines", "LOGPIPE_MAX_UNPACKED_LINES"),
        ):
            if found > most:
                raise SourceError(
                    f"the gzip file unfolds to more than {most} {unit}: if it is no bomb, raise {setting}"
                )


def gunzip(blocks: Iterable[bytes], limits: UnpackLimits | None = None) -> Iterator[PlainBlock]:
    """Decompress a gzip file of one or more members; zero bytes may pad its end.

    Args:
        blocks: of the file.
        limits: None for a file that this machine's own rotation has compressed.

    Raises:
        SourceError: it holds nothing, or more than the limits.
        SourceDamagedError: it is cut short, broken, or followed by something else; everything that could be
            decompressed in steps of `GZIP_STEP_BYTES` before the damage has been given out.
    """
    decompressor: zlib._Decompress | None = None
    done = 0
    plain_bytes = lines = 0
    for block in blocks:
        for begin in range(0, len(block), GZIP_STEP_BYTES):
            step = block[begin : begin + GZIP_STEP_BYTES]
            done += len(step)
            while True:
                if decompressor is None:
                    step = step if done == len(step) else step.lstrip(b"\0")
                    if not step:
                        break
                    if plain_bytes and not GZIP_MAGIC.startswith(step[: len(GZIP_MAGIC)]):
                        raise SourceDamagedError(
                            f"the gzip file's data end before its byte {done - len(step)}, and something "
                            "else follows: everything before it was read"
                        )
                    decompressor = zlib.decompressobj(_GZIP_WBITS)
                try:
                    plain = decompressor.decompress(step, MAX_BLOCK_BYTES)
                except zlib.error as error:
                    raise SourceDamagedError(
                        f"the gzip data are damaged near byte {done} of the file ({error}), "
                        f"after {plain_bytes} uncompressed bytes"
                    ) from error
                if plain:
                    plain_bytes += len(plain)
                    lines += plain.count(b"\n")
                    if limits is not None:
                        limits.check(plain_bytes, lines)
                    yield PlainBlock(plain, done)
                if decompressor.eof:
                    step = decompressor.unused_data
                    decompressor = None
                    continue
                step = decompressor.unconsumed_tail
                if not step and len(plain) < MAX_BLOCK_BYTES:
                    break
    if decompressor is not None:
        rest = decompressor.flush()
        if rest:
            plain_bytes += len(rest)
            yield PlainBlock(rest, done)
        raise SourceDamagedError(
            f"the gzip file is cut short: it ends after {done} bytes ({plain_bytes} uncompressed) "
            "in the middle of its data"
        )
    if not plain_bytes:
        raise SourceError("the gzip file holds nothing (0 bytes uncompressed)")
