"""Lines of profile memory: a chain says what HDFS should hold of them, and the topic is where they are."""

import re
from collections.abc import Iterator
from dataclasses import replace

from logpipe.contracts.chain import FILE_PREFIX, Link
from logpipe.digest import Digest
from logpipe.sealing.chains import Chain
from logpipe.sealing.place import Place
from logpipe.sealing.ranges import PartitionReader, TextDigest, blocks_of

MEMORY_NAME = re.compile(rf"{FILE_PREFIX}\.\d+\.log")  # a file that profile memory wrote
MEMORY_IN_USE_NAME = re.compile(rf"_{FILE_PREFIX}\.\d+\.log\.tmp")


class NotConfirmedError(Exception):
    """The topic holds other lines than a memory link says; the message names both."""


def reader_of(place: Place, chain: Chain, link: Link) -> PartitionReader:
    """Reads a link's range again. Raises as `PartitionReader`."""
    before = chain.before(link)
    latest_ms = before.last_arrival_ms if before else 0
    return PartitionReader(
        place.settings,
        link.topic_id,
        link.partition,
        link.first,
        link.next,
        chain.marks_before(link),
        latest_ms,
    )


def blocks_of_day(place: Place, chain: Chain, link: Link) -> Iterator[bytes]:
    """The day's lines of a memory link, from the topic. Raises as `PartitionReader`."""
    return blocks_of(reader_of(place, chain, link).lines(link.first, link.next, place.between_ms))


def part_of_day(place: Place, chain: Chain, link: Link) -> Link:
    """A memory link with the sums of the day only, which are counted in the topic.

    Raises:
        RangeGoneError: the topic does not hold its range any more.
        NotConfirmedError: the topic holds something else.
    """
    reader = reader_of(place, chain, link)
    text = TextDigest()
    for block in blocks_of(reader.lines(link.first, link.next, place.between_ms)):
        text.add(block)
    sums = reader.sums
    found = sums.digest.build()
    begin_ms, end_ms = place.between_ms
    is_whole = begin_ms <= link.first_arrival_ms and link.last_arrival_ms < end_ms
    if is_whole and found != link.digest:
        raise NotConfirmedError(
            f"partition {link.partition}, offsets {link.first} to {link.next}: the topic holds {found.lines} "
            f"lines, which are not the {link.digest.lines} of the link"
        )
    return replace(
        link,
        digest=found,
        anonymous=sums.anonymous.build(),
        text=text.digest,
        replays={replay: builder.build() for replay, builder in sums.replays.items()},
        repeats=sums.repeats,
        foreign=sums.foreign,
    )


def nothing_of(link: Link) -> Link:
    """A memory link without lines, where the files of profile memory are kept instead."""
    return replace(link, digest=Digest(), anonymous=Digest(), text=Digest(), replays={}, repeats=0, foreign=0)
