"""Lines that are missing or damaged on HDFS are written again from the topic, proved, then put in place."""

import contextlib
import logging
from collections.abc import Iterable, Iterator

from logpipe.accounting.chain import Chain
from logpipe.accounting.lines import digest_file
from logpipe.accounting.ranges import PartitionReader, TextDigest
from logpipe.clients.hdfs import Entry, HdfsAbsentError, HdfsError, HdfsExistsError
from logpipe.clients.kafka import TopicError
from logpipe.contracts.chain import Link, in_use_name
from logpipe.contracts.sealed import Member, Part, SealedDay
from logpipe.digest import Digest
from logpipe.sealing.place import Place, Reached, new_attempt

log = logging.getLogger(__name__)


class LinesGoneError(Exception):
    """Lines are missing on HDFS and cannot be written again; the message names them and says why."""


def settle(place: Place, link: Link) -> Entry | None:
    """The file of a link; one whose writer was killed between commit and rename gets its final name."""
    path = f"{place.folder}/{link.file_name}"
    if (entry := place.hdfs.status(path)) is not None:
        return entry
    in_use = in_use_name(link.partition, link.epoch, link.first, link.attempt)
    with contextlib.suppress(HdfsAbsentError, HdfsExistsError):  # it is not there, or its writer does it now
        place.hdfs.rename(f"{place.folder}/{in_use}", path)
    return place.hdfs.status(path)


def is_whole(
    place: Place, name: str, found: Entry | None, length_bytes: int, text: Digest, *, read: bool = True
) -> bool:
    """Whether a file of the day is there with its length and, when it is to be read, its digest."""
    if found is None or found.length_bytes != length_bytes:
        return False
    try:
        return not read or digest_file(place.hdfs, f"{place.folder}/{name}") == text
    except HdfsError as error:  # its blocks are lost or damaged
        log.warning("%s", error)
        return False


def reader_of(place: Place, chain: Chain, link: Link) -> PartitionReader:
    """Reads a link's range again. Raises as `PartitionReader`."""
    before = chain.before(link)
    marks = chain.marks_before(link) or {}
    latest_ms = before.last_arrival_ms if before else 0
    return PartitionReader(
        place.settings, link.topic_id, link.partition, link.first, link.next, marks, latest_ms
    )


def rewrite_link(place: Place, chain: Chain, link: Link, reached: Reached) -> None:
    """Write the file of a link again.

    Raises:
        LinesGoneError: the topic does not hold the range any more, or something else.
    """
    with _told(place, link.file_name, "; until then this day stays as it is"):
        blocks = reader_of(place, chain, link).blocks(link.first, link.next)
        _write_again(place, link.file_name, blocks, link.length_bytes, link.text, reached)


def rewrite_sealed(place: Place, sealed: SealedDay, damaged: set[str], reached: Reached) -> None:
    """Write files of a sealed day again.

    Raises:
        LinesGoneError: the topic does not hold their records any more, or the files were not made of records.
    """
    readers: dict[int, PartitionReader] = {}
    members = iter(sealed.members())
    for file in sealed.files:  # each is made of the next members
        own = [next(members) for _ in range(file.members)]
        if file.name not in damaged:
            continue
        with _told(place, file.name, ", or `make forget` the day"):
            if file is sealed.files[-1] and sealed.unconfirmed:
                raise LinesGoneError(f"it holds files of profile memory ({sealed.unconfirmed})")
            blocks = _blocks(place, own, readers)
            _write_again(place, file.name, blocks, file.length_bytes, file.text, reached)


@contextlib.contextmanager
def _told(place: Place, name: str, way_out: str) -> Iterator[None]:
    try:
        yield
    except (TopicError, LinesGoneError) as error:
        raise LinesGoneError(
            f"{place.folder}/{name} is missing or damaged and cannot be written again: {error}. "
            f"Restore it from a backup{way_out}"
        ) from None


def _write_again(
    place: Place, name: str, blocks: Iterable[bytes], length_bytes: int, text: Digest, reached: Reached
) -> None:
    attempt, seen = new_attempt(), TextDigest()
    staged = f"{place.sealing}/{attempt}/{name}"
    try:
        place.hdfs.write(staged, seen.through(blocks))
        if (seen.length_bytes, seen.digest) != (length_bytes, text):
            raise LinesGoneError(f"the topic holds {seen.digest.lines} lines that are not its {text.lines}")
        reached("range-written")
        place.put_in_place(staged, name)
        reached("range-in-place")
    finally:
        place.delete_attempts([attempt])
    log.info("%s/%s is written again from the topic", place.folder, name)


def _blocks(
    place: Place, own: list[tuple[Part, Member]], readers: dict[int, PartitionReader]
) -> Iterator[bytes]:
    """The blocks of consecutive members; ``readers`` go on by the part that they read."""
    for part, member in own:
        if id(part) not in readers:
            readers[id(part)] = PartitionReader(
                place.settings,
                part.topic_id,
                part.partition,
                part.members[0].first,
                part.members[-1].next,
                part.marks,
            )
        between_ms = None if member.kind == "lines" else place.between_ms
        yield from readers[id(part)].blocks(member.first, member.next, between_ms)
