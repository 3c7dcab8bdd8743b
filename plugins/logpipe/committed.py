"""What a Kafka consumer group has committed."""

import time
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

# A coordinator that has just been chosen, or still loads its groups.
_NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
_POLL_S = 0.1


def committed_offsets(
    client: Mapping[str, Any], group: str, topic: str, partitions: Iterable[int], timeout_s: float
) -> dict[int, int]:
    """Return offsets by partition; a partition without a commit is left out. Blocks.

    A consumer asks, which joins no group. The admin client's own call ends the whole process when the
    group's coordinator has just moved: github.com/confluentinc/librdkafka/issues/5040.

    Args:
        client: configuration of a Kafka client, with ``bootstrap.servers``.
        group: the consumer group.
        topic: whose offsets.
        partitions: their numbers.
        timeout_s: for each question, and for asking again while the group has no coordinator.

    Raises:
        KafkaException: the brokers do not answer, or refuse.
    """
    places = [TopicPartition(topic, partition) for partition in partitions]
    deadline = time.monotonic() + timeout_s
    while True:
        consumer = Consumer({"log_level": 2, **client, "group.id": group, "enable.auto.commit": False})
        try:
            found = consumer.committed(places, timeout_s)
            return {place.partition: place.offset for place in found if place.offset >= 0}
        except KafkaException as error:
            if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                raise
        finally:
            consumer.close()
        time.sleep(_POLL_S)
