"""Lines of profile memory: a chain says what HDFS should hold of them, and the topic is where they are."""

from dataclasses import replace

from logpipe.accounting.chain import Chain
from logpipe.accounting.ranges import TextDigest
from logpipe.contracts.chain import Link
from logpipe.digest import Digest
from logpipe.sealing.place import Place
from logpipe.sealing.rewrite import reader_of


class NotConfirmedError(Exception):
    """The topic holds other lines than a memory link says; the message names both."""


def part_of_day(place: Place, chain: Chain, link: Link) -> Link:
    """A memory link with the sums of the day only, which are counted in the topic.

    Raises:
        RangeGoneError: the topic does not hold its range any more.
        NotConfirmedError: the topic holds something else.
    """
    reader = reader_of(place, chain, link)
    text = TextDigest()
    for block in reader.blocks(link.first, link.next, place.between_ms):
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
        replays=sums.by_replay(),
        repeats=sums.repeats,
        foreign=sums.foreign,
    )


def nothing_of(link: Link) -> Link:
    """A memory link without lines, where the files of profile memory are kept instead."""
    return replace(link, digest=Digest(), anonymous=Digest(), text=Digest(), replays={}, repeats=0, foreign=0)
