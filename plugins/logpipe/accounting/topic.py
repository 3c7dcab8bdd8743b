"""Reads the topic from its first record to its end at the time of the call, in bounded memory."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource

from logpipe.committed import committed_offsets
from logpipe.digest import Digest
from logpipe.settings import Settings

BATCH_RECORDS = 10_000
BATCH_WAIT_S = 0.1
TIMEOUT_S = 30.0


class TopicError(Exception):
    """The topic cannot be read; the message names it and says why."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the topic. ``key`` is ``<replay>:<line number>``, or None for a line without identity."""

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes


@dataclass
class IdentityFilter:
    """Tells a repeated record from a new one.

    Lines of one replay stand in order within a partition; only a resend after a lost acknowledgement
    repeats some. So a record is a repeat exactly when its number is not above the highest seen for its
    replay and partition. Holds one number a replay and partition.
    """

    highest: dict[tuple[int, bytes], int] = field(default_factory=dict)

    def is_new(self, record: Record) -> bool:
        """Whether this record's line was not seen before; a record without identity always is."""
        if record.key is None:
            return True
        replay, _, number = record.key.rpartition(b":")
        place = (record.partition, replay)
        line_number = int(number)
        if line_number <= self.highest.get(place, 0):
            return False
        self.highest[place] = line_number
        return True


def _consumer(settings: Settings, group: str) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": group,
            "enable.auto.commit": False,
            "enable.partition.eof": False,
            # The default of 1 s caps reading at about 130,000 lines/s.
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32768,
            "log_level": 2,
        }
    )


def end_offsets(settings: Settings) -> dict[int, tuple[int, int]]:
    """First offset and end offset (one past the last record) of every partition.

    Raises:
        TopicError: no broker, or no such topic.
    """
    consumer = _consumer(settings, "logpipe-accounting")
    try:
        metadata = consumer.list_topics(settings.topic, timeout=TIMEOUT_S).topics[settings.topic]
        if metadata.error is not None:
            raise TopicError(f"Topic {settings.topic} at {settings.kafka_bootstrap}: {metadata.error.str()}")
        return {
            partition: consumer.get_watermark_offsets(
                TopicPartition(settings.topic, partition), timeout=TIMEOUT_S
            )
            for partition in sorted(metadata.partitions)
        }
    except KafkaException as error:
        raise TopicError(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def expired_records(settings: Settings) -> int:
    """Records that the topic held and retention took. Raises as `end_offsets`."""
    return sum(first for first, _ in end_offsets(settings).values())


def records(settings: Settings, ends: dict[int, tuple[int, int]] | None = None) -> Iterator[Record]:
    """Every record below the given end offsets (default: the ends at the time of the call).

    Raises:
        TopicError: the topic cannot be read, or reading makes no progress for 30 s.
    """
    ends = end_offsets(settings) if ends is None else ends
    wanted = {partition: end for partition, (first, end) in ends.items() if end > first}
    consumer = _consumer(settings, "logpipe-accounting")
    try:
        consumer.assign(
            [TopicPartition(settings.topic, partition, ends[partition][0]) for partition in wanted]
        )
        progress_at = time.monotonic()
        while wanted:
            # Waits for a full batch or the whole timeout: at the topic's end there is no full batch.
            messages = consumer.consume(BATCH_RECORDS, BATCH_WAIT_S)
            if messages:
                progress_at = time.monotonic()
            elif time.monotonic() - progress_at > TIMEOUT_S:
                raise TopicError(
                    f"Topic {settings.topic}: no record for {TIMEOUT_S:.0f} s, "
                    f"with partitions {sorted(wanted)} not read to their ends"
                )
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF or error.retriable():
                        continue
                    raise TopicError(f"Topic {settings.topic}: {error.str()}")
                partition, offset = cast(int, message.partition()), cast(int, message.offset())
                end = wanted.get(partition)
                if end is None or offset >= end:
                    continue
                yield Record(partition, offset, message.timestamp()[1], message.key(), message.value() or b"")
                if offset == end - 1:
                    del wanted[partition]
    except KafkaException as error:
        raise TopicError(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def consumer_lag(settings: Settings) -> dict[int, int]:
    """Lines of each partition that agent 2 has not committed yet.

    Raises:
        TopicError: no broker, or no such topic.
    """
    ends = end_offsets(settings)
    return {
        partition: ends[partition][1] - offset for partition, offset in _next_offsets(settings, ends).items()
    }


def _next_offsets(settings: Settings, ends: dict[int, tuple[int, int]]) -> dict[int, int]:
    """Agent 2's next offset in each partition: the first one where it has committed none."""
    client = {"bootstrap.servers": settings.kafka_bootstrap}
    try:
        found = committed_offsets(client, settings.consumer_group, settings.topic, ends, TIMEOUT_S)
    except KafkaException as error:
        raise TopicError(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}") from None
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
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 2})
    resource = ConfigResource(ConfigResource.Type.TOPIC, settings.topic)
    try:
        config = admin.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result(TIMEOUT_S)
    except KafkaException as error:
        raise TopicError(
            f"Topic {settings.topic} at {settings.kafka_bootstrap}: {error.args[0].str()}"
        ) from None
    kept_ms = int(config["retention.ms"].value)
    return None if kept_ms < 0 else kept_ms / 1000


@dataclass(frozen=True)
class TopicDigest:
    """What the topic holds: lines with an identity (each once), lines without, and repeats left out."""

    identified: Digest
    anonymous: Digest
    repeats: int

    @property
    def total(self) -> Digest:
        """All lines, each identity once."""
        return self.identified + self.anonymous
