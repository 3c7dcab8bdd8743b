"""Reads the lines on HDFS, in bounded memory."""

from collections.abc import Iterable, Iterator
from datetime import date

from logpipe.clients.hdfs import Hdfs, HdfsAbsentError, HdfsError
from logpipe.contracts.chain import FILE_PREFIX, IN_USE_NAME, file_name
from logpipe.contracts.days import DAY
from logpipe.digest import Digest

BATCH_BYTES = 4 << 20


class DamagedError(RuntimeError):
    """A sealed day's files do not hold what its manifest says; the message says what to do."""


def days(hdfs: Hdfs, logs_dir: str) -> list[str]:
    """Names of the dated folders, ``%y-%m-%d``, oldest first. Raises HdfsError."""
    return [entry.name for entry in hdfs.list(logs_dir) if entry.is_folder and DAY.fullmatch(entry.name)]


def files(hdfs: Hdfs, folder: str) -> list[str]:
    """Paths of the files with lines in a day's folder, those in use included. Raises HdfsError."""
    return [
        f"{folder}/{entry.name}"
        for entry in hdfs.list(folder)
        if not entry.is_folder and entry.name.removeprefix("_").startswith(FILE_PREFIX)
    ]


def lines(hdfs: Hdfs, path: str) -> Iterator[list[bytes]]:
    """A file's lines, in lists of what one block holds, up to what can be read of it now.

    Raises:
        HdfsAbsentError: it is not there.
        HdfsError: HDFS does not answer, or refuses.
    """
    rest = b""
    for block in hdfs.blocks(path):
        *whole, rest = (rest + block).split(b"\n")
        yield whole
    if rest:
        yield [rest]


def proved(hdfs: Hdfs, path: str, expected: Digest, day: date) -> Iterator[list[bytes]]:
    """The lines of a sealed day's file; at their end it is known that these are the ones.

    Raises:
        DamagedError: they are not.
    """
    digest = Digest()
    try:
        for some in lines(hdfs, path):
            digest += Digest.of(some)
            yield some
    except HdfsError as error:
        raise DamagedError(f"{path} cannot be read: {error}. `make repair DATE={day}` mends it") from None
    if digest != expected:
        raise DamagedError(
            f"{path} has {digest.lines:,} lines and not just the {expected.lines:,} of its manifest: "
            f"`make repair DATE={day}` mends it"
        )


def batches(blocks: Iterable[list[bytes]]) -> Iterator[list[bytes]]:
    """Lists of lines joined to lists that are worth a parse."""
    batch: list[bytes] = []
    size = 0
    for some in blocks:
        batch += some
        size += sum(map(len, some))
        if size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def lines_of_either(hdfs: Hdfs, path: str, other: str) -> Iterator[list[bytes]]:
    """As `lines`, of a file that may have its other name, in use or final, by now."""
    try:
        yield from lines(hdfs, path)
    except HdfsAbsentError:
        if other == path:
            raise
        yield from lines(hdfs, other)


def digest_file(hdfs: Hdfs, path: str) -> Digest:
    """Digest a file's lines; one that was in use may have its final name by now. Errors as `lines`."""
    found = lines_of_either(hdfs, path, final_name(path))
    return sum((Digest.of(some) for some in found), start=Digest())


def final_name(path: str) -> str:
    """The name that an in-use file gets when it is closed."""
    folder, _, name = path.rpartition("/")
    if range_in_use := IN_USE_NAME.fullmatch(name):
        partition, epoch, first = map(int, range_in_use.group(1, 2, 3))
        return f"{folder}/{file_name(partition, epoch, first)}"
    return f"{folder}/{name.removeprefix('_').removesuffix('.tmp')}"
