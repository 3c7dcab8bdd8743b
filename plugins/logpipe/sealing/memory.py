"""Lines of profile memory: a chain says what HDFS should hold of them, and the topic is where they are.

Agent 2 of profile durable makes such links when it starts. Where it never does, the sealing of a day makes
them: they are the same, and who comes second finds the position taken.
"""

import logging
from dataclasses import replace

from logpipe.accounting.chain import Chain, own
from logpipe.accounting.ranges import PartitionReader, TextDigest
from logpipe.accounting.topic import committed, describe, offsets_at, records
from logpipe.clients.hdfs import HdfsAbsentError, HdfsExistsError, dumps
from logpipe.clients.kafka import Topic
from logpipe.contracts.chain import (
    ATTRIBUTE_BYTES,
    FLOOR_ATTRIBUTE,
    LINK_ATTRIBUTE,
    Link,
    Mark,
    Totals,
    open_name,
)
from logpipe.contracts.days import date_of, day_name, end_of_day_ms
from logpipe.digest import Digest, line_hash
from logpipe.sealing.place import Place, Reached, new_attempt
from logpipe.sealing.rewrite import reader_of

FIRST_EPOCH = 1

log = logging.getLogger(__name__)


def link_what_memory_read(place: Place, reached: Reached) -> None:
    """Make memory links up to the end of a day, in the partitions where profile memory has read that far.

    Raises:
        TopicError, HdfsError: Kafka or HDFS does not answer, or refuses.
    """
    settings = place.settings
    now = describe(settings)
    ends = offsets_at(settings, place.between_ms[1])
    read = committed(settings, ends)
    chains = place.reader.chains()  # read last: agent 2 of profile durable commits what it has linked
    for partition, end in ends.items():
        chain = chains.get(partition, Chain(partition))
        while chain.final(now.topic_id) < end <= read.get(partition, 0) and _agrees(place, chain, now):
            link = _next_link(place, chain, now, end)
            if not _commit(place, link):
                break  # another writer was first
            reached("memory-linked")
            chain = replace(chain, newest=link)


def _agrees(place: Place, chain: Chain, now: Topic) -> bool:
    """Whether the topic still is what the chain was read from; else it is agent 2's to begin an epoch."""
    link = chain.newest
    if link is None or link.kind not in ("lines", "memory") or link.next <= now.offsets[chain.partition][0]:
        return link is None or link.topic_id == now.topic_id
    if link.topic_id != now.topic_id or link.next > now.offsets[chain.partition][1]:
        return False
    last = next(records(place.settings, {chain.partition: (link.next - 1, link.next)}))
    return last.timestamp_ms == link.last_arrival_ms


def _next_link(place: Place, chain: Chain, now: Topic, end: int) -> Link:
    """The link behind a chain's end, up to an offset or its day's end; what retention took has its own."""
    settings, partition, before = place.settings, chain.partition, chain.newest
    first, low = chain.final(now.topic_id), now.offsets[partition][0]
    link = Link(
        kind="expired",
        topic=settings.topic,
        topic_id=now.topic_id,
        partition=partition,
        epoch=before.next_epoch if before else FIRST_EPOCH,
        first=first,
        next_epoch=before.next_epoch if before else FIRST_EPOCH,
        next=low,
        day=before.day if before else "",
        attempt=new_attempt(),
        marks=before.marks if before else {},
    )
    totals = before.totals if before else Totals()
    if first < low:
        return replace(link, totals=totals + own(link))
    begins_ms = next(records(settings, {partition: (first, first + 1)})).timestamp_ms
    day = max(day_name(begins_ms, settings.timezone), link.day)
    midnight = offsets_at(settings, end_of_day_ms(date_of(day), settings.timezone))[partition]
    until = min(end, midnight) if midnight > first else end
    reader = PartitionReader(
        settings,
        now.topic_id,
        partition,
        first,
        until,
        {name: mark.number for name, mark in link.marks.items()},
    )
    link = _counted(replace(link, kind="memory", next=until, day=day), reader)
    sums = reader.sums
    marks = dict(link.marks)
    for replay, digest in link.replays.items():
        marks[replay] = Mark(
            *sums.marks[replay], digest + (marks[replay].digest if replay in marks else Digest())
        )
    return replace(
        link,
        first_arrival_ms=sums.first_ms,
        last_arrival_ms=sums.last_ms,
        marks=marks,
        totals=totals + own(link),
    )


def _counted(link: Link, reader: PartitionReader, between_ms: tuple[int, int] | None = None) -> Link:
    """A link with the sums of what its range has, of all times or of these; the reader's are those too."""
    text = TextDigest()
    for block in reader.blocks(link.first, link.next, between_ms):
        text.add(block)
    sums = reader.sums
    return replace(
        link,
        digest=sums.digest.build(),
        anonymous=sums.anonymous.build(),
        repeats=sums.repeats,
        foreign=sums.foreign,
        text=text.digest,
        replays=sums.by_replay(),
    )


def _commit(place: Place, link: Link) -> bool:
    """Make it a part of the chain, in agent 2's steps; false when another writer has the position."""
    hdfs, folder = place.hdfs, place.layout.chain(link.partition)
    opened = f"{folder}/{open_name(link.epoch, link.first, link.day, link.attempt)}"
    hdfs.write(opened, b"")
    text = dumps(link.to_json())
    if len(text) > ATTRIBUTE_BYTES:
        side = f"side-{link.attempt}-{line_hash(text):016x}"
        hdfs.write(f"{folder}/{side}", text)
        text = dumps({"side": side})
    try:
        hdfs.set_attribute(opened, LINK_ATTRIBUTE, text)
        if link.name >= (hdfs.attribute(folder, FLOOR_ATTRIBUTE) or b"").decode():
            hdfs.rename(opened, f"{folder}/{link.name}")
            log.info("Partition %d: what profile memory read up to %d is linked", link.partition, link.next)
            return True
    except (HdfsAbsentError, HdfsExistsError) as error:
        log.info("Partition %d: another writer was first: %s", link.partition, error)
    hdfs.delete(opened)
    return False


class NotConfirmedError(Exception):
    """The topic holds other lines than a memory link says; the message names both."""


def part_of_day(place: Place, chain: Chain, link: Link) -> Link:
    """A memory link with the sums of the day only, which are counted in the topic.

    Raises:
        RangeGoneError: the topic does not hold its range any more.
        NotConfirmedError: the topic holds something else.
    """
    found = _counted(link, reader_of(place, chain, link), place.between_ms)
    begin_ms, end_ms = place.between_ms
    is_whole = begin_ms <= link.first_arrival_ms and link.last_arrival_ms < end_ms
    if is_whole and found.digest != link.digest:
        raise NotConfirmedError(
            f"partition {link.partition}, offsets {link.first} to {link.next}: the topic holds "
            f"{found.digest.lines} lines, which are not the {link.digest.lines} of the link"
        )
    return found


def nothing_of(link: Link) -> Link:
    """A memory link without lines, where the files of profile memory are kept instead."""
    return replace(link, digest=Digest(), anonymous=Digest(), text=Digest(), replays={}, repeats=0, foreign=0)
