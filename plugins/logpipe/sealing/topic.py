"""The topic, as far as sealing and repair need it: where a day ends in it, and ranges of records."""

import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient

from logpipe.accounting.topic import TIMEOUT_S, Record, TopicError, end_offsets
from logpipe.contracts.chain import topic_id_text
from logpipe.settings import Settings, zone_of

BATCH_RECORDS = 10_000


class RangeGoneError(TopicError):
    """The topic does not hold these offsets any more; the message names them."""


def day_name(timestamp_ms: int, zone: str) -> str:
    """The dated folder of a record."""
    return f"{datetime.fromtimestamp(timestamp_ms / 1000, zone_of(zone)):%y-%m-%d}"


def end_of_day_ms(day: date, zone: str) -> int:
    """The midnight after a day, Unix time."""
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone_of(zone))
    return int(midnight.timestamp() * 1000)


def topic_id(settings: Settings) -> str:
    """The topic's id as Java writes it.

    Raises:
        TopicError: no broker, or no such topic.
    """
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap, "log_level": 2})
    asked = admin.describe_topics(TopicCollection([settings.topic]), request_timeout=TIMEOUT_S)
    try:
        described = asked[settings.topic].result(TIMEOUT_S)
    except KafkaException as error:
        raise TopicError(
            f"Topic {settings.topic} at {settings.kafka_bootstrap}: {error.args[0].str()}"
        ) from None
    return topic_id_text(described.topic_id)


def offsets_at(settings: Settings, timestamp_ms: int) -> dict[int, int]:
    """The offset of each partition's first record that is not older, or else of its next record.

    Raises:
        TopicError: no broker, or no such topic.
    """
    consumer = _consumer(settings)
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


def read_range(settings: Settings, partition: int, first: int, next_: int) -> Iterator[Record]:
    """The records ``[first, next)`` of a partition, in bounded memory.

    Raises:
        RangeGoneError: retention took some of them, or they are beyond the topic's end.
        TopicError: the topic cannot be read, or reading makes no progress.
    """
    if first >= next_:
        return
    low, high = end_offsets(settings).get(partition, (0, 0))
    if first < low or next_ > high:
        raise RangeGoneError(
            f"Topic {settings.topic}, partition {partition}: offsets {first} to {next_} are not there any "
            f"more: it holds {low} to {high}"
        )
    consumer = _consumer(settings)
    try:
        consumer.assign([TopicPartition(settings.topic, partition, first)])
        progress_at = time.monotonic()
        while first < next_:
            messages = consumer.consume(min(BATCH_RECORDS, next_ - first), 0.05)
            if messages:
                progress_at = time.monotonic()
            elif time.monotonic() - progress_at > TIMEOUT_S:
                raise TopicError(
                    f"Topic {settings.topic}, partition {partition}: no record after offset {first} for "
                    f"{TIMEOUT_S:.0f} s"
                )
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:
                        raise RangeGoneError(
                            f"Topic {settings.topic}, partition {partition}: retention took offset {first}"
                        )
                    if error.retriable():
                        continue
                    raise TopicError(f"Topic {settings.topic}: {error.str()}")
                at = message.offset() or 0
                if at >= next_:
                    return
                yield Record(partition, at, message.timestamp()[1], message.key(), message.value() or b"")
                first = at + 1
    except KafkaException as error:
        raise TopicError(f"Kafka at {settings.kafka_bootstrap}: {error.args[0].str()}") from None
    finally:
        consumer.close()


def _consumer(settings: Settings) -> Consumer:
    return Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "logpipe-sealing",
            "enable.auto.commit": False,
            "auto.offset.reset": "error",
            "fetch.queue.backoff.ms": 10,
            "queued.max.messages.kbytes": 32768,
            "log_level": 2,
        }
    )
