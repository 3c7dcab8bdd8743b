"""Reads the topic, or ranges of it, in bounded memory; and what is known of its offsets."""

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from logpipe.clients.kafka import TIMEOUT_S, Kafka, Topic, TopicError
from logpipe.identity import Identities, Verdict
from logpipe.settings import Settings

BATCH_RECORDS = 10_000
BATCH_WAIT_S = 0.1


class RangeGoneError(TopicError):
    """The topic does not hold these offsets any more; the message names them."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the topic. ``key`` is ``<replay>:<line number>``, or None for a line without identity."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes


def _consumer(settings: Settings, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            # The default of 1 s caps reading at about 130,000 lines/s.
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32768,
            "log_level": 2,
        }
    )


def describe(settings: Settings) -> Topic:
    """Ask for the topic as it is.

    Raises:
        TopicError: no broker, or no such topic.
    """
    return Kafka.of(settings, TIMEOUT_S).offsets(settings.topic)


def end_offsets(settings: Settings) -> dict[int, tuple[int, int]]:
    """First offset and end offset of every partition. Raises as `describe`."""
    return describe(settings).offsets


def committed(settings: Settings, partitions: Iterable[int]) -> dict[int, int]:
    """What agent 2's group has committed; a partition without a commit is left out.

    Raises:
        TopicError: no broker answers.
    """
    return Kafka.of(settings, TIMEOUT_S).committed(settings.consumer_group, settings.topic, partitions)


def offsets_at(settings: Settings, timestamp_ms: int) -> dict[int, int]:
    """The offset of each partition's first record that is not older, or else of its next record.

    Raises:
        TopicError: no broker, or no such topic.
    """
    consumer = _consumer(settings, "logpipe-accounting")
    try:
        places = [
            TopicPartition(settings.topic, partition, timestamp_ms) for partition in end_offsets(settings)
        ]
        found = {place.partition: place.offset for place in consumer.offsets_for_times(places, TIMEOUT_S)}
        # The ends are read after that: what came meanwhile is later than the given time.
        ends = end_offsets(settings)
        return {partition: at if at >= 0 else ends[partition][1] for partition, at in found.items()}
    except KafkaException as error:
        raise TopicError(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def records(settings: Settings, ranges: dict[int, tuple[int, int]] | None = None) -> Iterator[Record]:
    """The records ``[first, next)`` of each partition, in the order of offsets; partitions take turns.

    Args:
        settings: whose topic.
        ranges: by partition; without them all that the topic holds at the time of the call.

    Raises:
        RangeGoneError: retention took some of them, or they are beyond the topic's end.
        TopicError: the topic cannot be read, or reading makes no progress for 30 s.
    """
    held = end_offsets(settings)
    ranges = held if ranges is None else ranges
    places = {partition: place for partition, place in ranges.items() if place[0] < place[1]}
    for partition, (first, next_) in places.items():
        low, high = held.get(partition, (0, 0))
        if first < low or next_ > high:
            raise RangeGoneError(
                f"Topic {settings.topic}, partition {partition}: offsets {first} to {next_} are not there "
                f"any more: it holds {low} to {high}"
            )
    consumer = _consumer(settings, "logpipe-accounting")
    try:
        consumer.assign(
            [TopicPartition(settings.topic, partition, first) for partition, (first, _) in places.items()]
        )
        progress_at = time.monotonic()
        while places:
            # Waits for that many or the whole timeout: at the topic's end there are no more.
            left = sum(next_ - first for first, next_ in places.values())
            messages = consumer.consume(min(BATCH_RECORDS, left), BATCH_WAIT_S)
            if messages:
                progress_at = time.monotonic()
            elif time.monotonic() - progress_at > TIMEOUT_S:
                raise TopicError(
                    f"Topic {settings.topic}: no record for {TIMEOUT_S:.0f} s, with offsets {places} of "
                    "partitions not read"
                )
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:
                        raise RangeGoneError(f"Topic {settings.topic}: retention took some of {places}")
                    if error.retriable():
                        continue
                    raise TopicError(f"Topic {settings.topic}: {error.str()}")
                partition, offset = cast(int, message.partition()), cast(int, message.offset())
                if partition not in places:
                    continue
                next_ = places[partition][1]
                if offset < next_:
                    yield Record(
                        partition, offset, message.timestamp()[1], message.key(), message.value() or b""
                    )
                places[partition] = (offset + 1, next_)
                if offset + 1 >= next_:
                    del places[partition]
    except KafkaException as error:
        raise TopicError(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def consumer_lag(settings: Settings) -> dict[int, int]:
    """Records of each partition that agent 2 has not committed: in profile durable, that are in no link yet.

    Raises:
        TopicError: no broker, or no such topic.
    """
    ends = end_offsets(settings)
    return {
        partition: ends[partition][1] - offset for partition, offset in _next_offsets(settings, ends).items()
    }


def _next_offsets(settings: Settings, ends: dict[int, tuple[int, int]]) -> dict[int, int]:
    """Agent 2's next offset in each partition: the first one where it has committed none."""
    found = committed(settings, ends)
    return {partition: found.get(partition, first) for partition, (first, _) in ends.items()}


@dataclass(frozen=True)
class Unread:
    """What agent 2 has not read of a partition: lines, those that retention took, and the oldest's time.

    ``timestamp_ms`` is None when all was read.
    """

    partition: int
    lines: int
    expired_lines: int
    timestamp_ms: int | None


def oldest_unread(settings: Settings) -> list[Unread]:
    """How far agent 2 is behind in each partition.

    Raises:
        TopicError: no broker, or no such topic.
    """
    ends = end_offsets(settings)
    consumer = _consumer(settings, settings.consumer_group)
    unread = []
    try:
        for partition, offset in _next_offsets(settings, ends).items():
            first, end = ends[partition]
            timestamp_ms = None
            if offset < end:
                consumer.assign([TopicPartition(settings.topic, partition, max(offset, first))])
                message = consumer.poll(TIMEOUT_S)
                if message is not None and message.error() is None:
                    timestamp_ms = message.timestamp()[1]
            unread.append(Unread(partition, end - offset, max(0, first - offset), timestamp_ms))
    except KafkaException as error:
        raise TopicError(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}") from None
    finally:
        consumer.close()
    return unread


def retention_s(settings: Settings) -> float | None:
    """For how long the topic keeps a record; None: for ever.

    Raises:
        TopicError: no broker, or no such topic.
    """
    kept_ms = int(Kafka.of(settings, TIMEOUT_S).config(settings.topic)["retention.ms"])
    return None if kept_ms < 0 else kept_ms / 1000


def topic_lines(settings: Settings) -> Iterator[bytes]:
    """The topic's lines, each identity once. Raises as `records`."""
    identities = Identities()
    for record in records(settings):
        if identities.judge(record.partition, record.key) is not Verdict.REPEAT:
            yield record.value
