"""Files of a followed log: open ones, and those that rotation has renamed or compressed."""

import contextlib
import os
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from logpipe.replayer.errors import SourceDamagedError, SourceError
from logpipe.replayer.follow.generation import HEAD_BYTES, Generation
from logpipe.replayer.follow.ordered import SPAN_BYTES, OrderedHash, span_begin
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.gunzip import gunzip, is_gzip
from logpipe.replayer.record import ReplayRecord
from logpipe.settings import Settings

UNREADABLE = (".bz2", ".xz", ".zst", ".lz4", ".br")
COMPRESSED = (".gz", *UNREADABLE)
_BLOCK_BYTES = 256 * 1024
_LOOKS = 10
_PATIENT_LOOKS = 2
_PAUSE_S = 0.05

Identity = tuple[int, int]  # device and inode


class OpenLog(ABC):
    """A file of a log: plain bytes by their offset, whatever it is called meanwhile.

    Attributes:
        path: where it was opened.
        identity: device and inode.
        damage: why what is behind its last byte is not known; empty where there is nothing.
    """

    damage = ""

    def __init__(self, path: Path, descriptor: int, status: os.stat_result) -> None:
        self.path = path
        self._descriptor = descriptor
        self.identity: Identity = (status.st_dev, status.st_ino)

    @abstractmethod
    def read(self, offset: int, most: int) -> bytes:
        """Plain bytes from the offset on, fewer only at the end.

        Raises:
            OSError, SourceError: it cannot be read.
        """

    @abstractmethod
    def size(self) -> int | None:
        """Plain bytes that it has now; None: only its end tells."""

    def written_at(self) -> float:
        """When it was last written to, seconds since 1970; gzip hands on that of the plain file."""
        return os.fstat(self._descriptor).st_mtime

    def close(self) -> None:
        """Close the descriptor."""
        os.close(self._descriptor)


class PlainLog(OpenLog):
    """A plain file."""

    def read(self, offset: int, most: int) -> bytes:
        """By position: nobody else's reading moves it."""
        return os.pread(self._descriptor, most, offset)

    def size(self) -> int | None:
        """As the file system says."""
        return os.fstat(self._descriptor).st_size


class GzipLog(OpenLog):
    """A compressed file, which is over. Read forwards; going back begins anew."""

    def __init__(self, path: Path, descriptor: int, status: os.stat_result) -> None:
        super().__init__(path, descriptor, status)
        self._rewind()

    def _rewind(self) -> None:
        self._plain: Iterator[bytes] = (block.plain for block in gunzip(self._blocks()))
        self._kept = b""
        self._offset = 0
        self.damage = ""

    def _blocks(self) -> Iterator[bytes]:
        offset = 0
        while block := os.pread(self._descriptor, _BLOCK_BYTES, offset):
            offset += len(block)
            yield block

    def read(self, offset: int, most: int) -> bytes:
        """Unpack as far as is needed."""
        if offset < self._offset:
            self._rewind()
        while True:
            passed = min(len(self._kept), offset - self._offset)
            self._kept, self._offset = self._kept[passed:], self._offset + passed
            if len(self._kept) >= most or not (block := self._next()):
                return self._kept[:most]
            self._kept += block

    def _next(self) -> bytes:
        try:
            return next(self._plain, b"")
        except SourceDamagedError as error:
            self.damage = error.reason
        except SourceError:
            pass  # it holds nothing
        return b""

    def size(self) -> int | None:
        """Not known before its end."""
        return None


def open_log(path: Path, door: FrontDoor) -> OpenLog:
    """Open a file of a log.

    Raises:
        OSError, SourceError: it is away, may not be read, or is no file.
    """
    descriptor, status = door.open(str(path))
    try:
        if is_gzip(os.pread(descriptor, 2, 0)):
            return GzipLog(path, descriptor, status)
        return PlainLog(path, descriptor, status)
    except BaseException:
        os.close(descriptor)
        raise


class MovedError(Exception):
    """A file has another name than it had when its folder was listed: list it again."""


def open_old(path: Path, door: FrontDoor, identity: Identity | None = None) -> OpenLog:
    """Open a file that was put aside, or what it was compressed to since it was seen.

    Args:
        path: where it was seen.
        door: what may be read.
        identity: what it was then; None: whatever it is now.

    Raises:
        MovedError: it is another file now, or none.
        OSError, SourceError: as `open_log`.
    """
    try:
        opened = open_log(path, door)
    except FileNotFoundError:
        # It is deleted once its compressed twin is whole.
        try:
            return open_log(path.with_name(f"{path.name}.gz"), door)
        except FileNotFoundError:
            raise MovedError(str(path)) from None
    if identity is not None and opened.identity != identity:
        opened.close()
        raise MovedError(str(path))
    return opened


@dataclass(frozen=True, slots=True)
class Rotated:
    """A file that rotation has put aside."""

    path: Path
    identity: Identity
    written_at: float
    is_empty: bool = False

    @property
    def is_unreadable(self) -> bool:
        """Whether it is compressed by what is not read here."""
        return self.path.suffix in UNREADABLE


def is_rotated_name(name: str, log: str) -> bool:
    """Whether logrotate, or a server that rotates by itself, gives a log's old file this name.

    ``access.log.1``, ``access.log-20261129.gz``, and with the extension kept ``access-20261129.log``.
    """
    stem, dot, extension = log.rpartition(".")
    if name == log or not name.startswith(stem or log):  # a folder may have thousands of others
        return False
    plain = name
    for suffix in COMPRESSED:
        plain = plain.removesuffix(suffix)
    if not plain:
        return False
    old = r"[-._]?\d[\dT:._-]*(old|bak)?|[-._](old|bak)"
    return bool(
        re.fullmatch(rf"{re.escape(log)}({old})", plain)
        or (name != plain and plain == log)
        or (dot and re.fullmatch(rf"{re.escape(stem)}({old}){re.escape(dot + extension)}", plain))
    )


def rotated(log: Path, olddir: str = "") -> list[Rotated]:
    """The old files of a log, the oldest first; of a file and its compressed twin, the file.

    They stand in its folder, and in the one that rotation puts them into, if it is another. Where the log is
    a link, they are also those beside the file that it leads to whose names differ from that one's only in
    their digits.

    Raises:
        OSError: the folder cannot be read.
    """
    found = _named(log.parent, lambda name: is_rotated_name(name, log.name))
    if olddir:
        found += _named(Path(olddir), lambda name: name == log.name or is_rotated_name(name, log.name))
    if log.is_symlink():
        target = Path(os.path.realpath(log))
        shape = _shape(target.name)
        with contextlib.suppress(OSError):
            found += _named(target.parent, lambda name: name != target.name and _shape(name) == shape)
    paths = {each.path for each in found}
    kept = [
        each for each in found if each.path.suffix not in COMPRESSED or each.path.with_suffix("") not in paths
    ]
    # logrotate's numbers rise with age; of files of one moment they tell the order.
    return sorted(kept, key=lambda each: (each.written_at, -_number(each.path)))


def _named(folder: Path, is_wanted: Callable[[str], bool]) -> list[Rotated]:
    found = []
    with os.scandir(folder) as entries:
        for entry in entries:
            if is_wanted(entry.name) and entry.is_file(follow_symlinks=False):
                status = entry.stat(follow_symlinks=False)
                identity = (status.st_dev, status.st_ino)
                found.append(Rotated(Path(entry.path), identity, status.st_mtime, status.st_size == 0))
    return found


def _shape(name: str) -> str:
    for suffix in COMPRESSED:
        name = name.removesuffix(suffix)
    return re.sub(r"\d+", "0", name)


def _number(path: Path) -> int:
    digits = re.search(r"\.(\d{1,6})(\.\w+)?$", path.name)
    return int(digits[1]) if digits else 0


def proves(log: OpenLog, generation: Generation, offset: int) -> OrderedHash | None:
    """Whether a file is a generation's, by its head and the ordered hash up to the acknowledged place.

    Of the very file less than a span is read, of any other one everything.

    Returns:
        The hash, to go on with; None: it is another file, or shorter.
    """
    if not generation.head.fits(log.read(0, HEAD_BYTES)):
        return None
    is_same = log.identity == (generation.device, generation.inode) and isinstance(log, PlainLog)
    done = span_begin(offset - generation.begin) if is_same else 0
    ordered = OrderedHash(generation.chain if done else "")
    at = generation.begin + done
    while at < offset:
        plain = log.read(at, min(SPAN_BYTES, offset - at))
        if not plain:
            return None
        ordered.add(plain)
        at += len(plain)
    is_equal = offset == generation.begin or (ordered.chain, ordered.rest) == (
        generation.chain,
        generation.rest,
    )
    return ordered if is_equal else None


def is_copy(old: OpenLog, log: OpenLog) -> bool:
    """Whether a file is another one's beginning: the copy that ``copytruncate`` makes, or is making.

    Of a long one the first `SPAN_BYTES` and the last are compared.
    """
    size = old.size()
    if not size or old.identity == log.identity:
        return False
    tail = max(0, size - SPAN_BYTES)
    return all(old.read(at, SPAN_BYTES) == log.read(at, min(SPAN_BYTES, size - at)) for at in {0, tail})


def find(
    generation: Generation, offset: int, door: FrontDoor, *, but: Identity | None = None
) -> tuple[OpenLog, OrderedHash] | None:
    """Look for a generation's file: by its inode first, then by what it holds.

    Files are renamed meanwhile, all of a log's at once: then it looks again.

    Args:
        generation: what is known of it.
        offset: behind the last byte that was acknowledged.
        door: what may be read.
        but: a file that it is not.
    """
    for look in range(_LOOKS):
        try:
            found = _find(generation, offset, door, but)
        except MovedError:
            continue
        if found is not None or look >= _PATIENT_LOOKS:
            return found
        time.sleep(_PAUSE_S)  # a listing may lack a file that is renamed meanwhile
    return None


def _find(
    generation: Generation, offset: int, door: FrontDoor, but: Identity | None
) -> tuple[OpenLog, OrderedHash] | None:
    log = Path(generation.path)
    folders = {log.parent, Path(generation.file).parent, Path(generation.olddir or log.parent)}
    by_inode = _with_inode(folders, generation.inode)
    others: list[Path] = []
    has_moved = False
    # A file that is begun anew may have been empty as this one was: its inode is all that tells them apart.
    if generation.head.size_bytes:
        with contextlib.suppress(OSError):
            others = [each.path for each in rotated(log, generation.olddir) if not each.is_unreadable]
        others = [path for path in (*others, log) if path not in by_inode]
    for path in (*by_inode, *others):
        try:
            opened = open_old(path, door)
        except MovedError:
            has_moved = has_moved or path != log
            continue
        except (OSError, SourceError):
            continue
        has_moved = has_moved or (path in by_inode and opened.identity[1] != generation.inode)
        try:
            ordered = None if opened.identity == but else proves(opened, generation, offset)
        except (OSError, SourceError):
            ordered = None
        if ordered is not None:
            return opened, ordered
        opened.close()
    if has_moved:
        raise MovedError(generation.path)
    return None


def _with_inode(folders: set[Path], inode: int) -> list[Path]:
    found = []
    for folder in folders:
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            found += [Path(entry.path) for entry in entries if entry.inode() == inode and entry.is_file()]
    return found


def identity_of(path: Path | str) -> Identity | None:
    """Device and inode of the file that a path leads to; None: there is none, or it cannot be asked for."""
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


def read_again(record: ReplayRecord, settings: Settings) -> Iterator[bytes]:
    """The bytes of a generation that were acknowledged, from its file, wherever it is now.

    Raises:
        SourceError: it is nowhere.
    """
    generation, end = record.generation, record.place.offset
    assert generation is not None
    found = find(generation, end, FrontDoor.of(settings))
    if found is None:
        raise SourceError(
            f"file {record.spec.replay_id} of this log is gone: rotated away, and no file beside it is it"
        )
    file, _ = found
    try:
        at = generation.begin
        while at < end and (plain := file.read(at, min(SPAN_BYTES, end - at))):
            yield plain
            at += len(plain)
    except OSError as error:
        raise SourceError(f"{file.path} cannot be read: {error.strerror}") from error
    finally:
        file.close()
