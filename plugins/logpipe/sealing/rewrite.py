"""Lines that are missing or damaged on HDFS are written again from the topic, proved, then put in place."""

import contextlib
import logging
from collections.abc import Iterator

from logpipe.accounting.topic import TopicError
from logpipe.clients.hdfs import Entry, HdfsAbsentError, HdfsError, HdfsExistsError
from logpipe.contracts.chain import Link, in_use_name
from logpipe.contracts.sealed import Member, Part, SealedDay
from logpipe.digest import Digest
from logpipe.sealing.chains import Chain
from logpipe.sealing.place import Place, Reached, new_attempt
from logpipe.sealing.ranges import PartitionReader, TextDigest, blocks_of

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
    seen = TextDigest()
    try:
        for block in place.hdfs.blocks(f"{place.folder}/{name}") if read else ():
            seen.add(block)
    except HdfsError as error:  # its blocks are lost or damaged
        log.warning("%s", error)
        return False
    return not read or (seen.length_bytes, seen.digest) == (length_bytes, text)


def rewrite_link(place: Place, chain: Chain, link: Link, reached: Reached) -> None:
    """Write the file of a link again.

    Raises:
        LinesGoneError: the topic does not hold the range any more, or something else.
    """
    marks = chain.marks_before(link)
    attempt = new_attempt()
    staged = f"{place.sealing}/{attempt}/{link.file_name}"
    try:
        reader = PartitionReader(place.settings, link.topic_id, link.partition, link.first, link.next, marks)
        place.hdfs.write(staged, blocks_of(reader.lines(link.first, link.next)))
        found = reader.sums.digest.build()
        if found != link.digest:
            raise LinesGoneError(f"the topic holds {found.lines} lines that are not the {link.digest.lines}")
    except (TopicError, LinesGoneError) as error:
        place.delete_attempts([attempt])
        raise LinesGoneError(
            f"{place.folder}/{link.file_name} is missing or damaged and cannot be written again: {error}. "
            "Restore it from a backup; until then this day stays as it is"
        ) from None
    reached("range-written")
    place.put_in_place(staged, link.file_name)
    reached("range-in-place")
    place.delete_attempts([attempt])
    log.info("%s/%s is written again from the topic", place.folder, link.file_name)


def rewrite_sealed(place: Place, sealed: SealedDay, damaged: set[str], reached: Reached) -> None:
    """Write files of a sealed day again.

    Raises:
        LinesGoneError: the topic does not hold their records any more, or the files were not made of records.
    """
    attempt = new_attempt()
    readers: dict[int, PartitionReader] = {}
    members = iter(sealed.members())
    for file in sealed.files:  # each is made of the next members
        own = [next(members) for _ in range(file.members)]
        if file.name not in damaged:
            continue
        staged = f"{place.sealing}/{attempt}/{file.name}"
        text = TextDigest()
        try:
            if file is sealed.files[-1] and sealed.unconfirmed:
                raise LinesGoneError(f"it holds files of profile memory ({sealed.unconfirmed})")
            place.hdfs.write(staged, _observed(_blocks(place, own, readers), text))
            if (text.length_bytes, text.digest) != (file.length_bytes, file.text):
                raise LinesGoneError(f"the topic holds {text.digest.lines} lines, not its {file.text.lines}")
        except (TopicError, LinesGoneError) as error:
            place.delete_attempts([attempt])
            raise LinesGoneError(
                f"{place.folder}/{file.name} is missing or damaged and cannot be written again: {error}. "
                "Restore it from a backup, or `make forget` the day"
            ) from None
        reached("range-written")
        place.put_in_place(staged, file.name)
        reached("range-in-place")
        log.info("%s/%s is written again from the topic", place.folder, file.name)
    place.delete_attempts([attempt])


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
        yield from blocks_of(readers[id(part)].lines(member.first, member.next, between_ms))


def _observed(blocks: Iterator[bytes], text: TextDigest) -> Iterator[bytes]:
    for block in blocks:
        text.add(block)
        yield block
