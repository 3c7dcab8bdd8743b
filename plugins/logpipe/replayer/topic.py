"""What Kafka says about the topic: only how many partitions it has. Lines go by agent 1."""

from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException

from logpipe.replayer.errors import SinkError, SinkUnavailableError
from logpipe.settings import Settings

_TIMEOUT_S = 5.0


def partition_count(settings: Settings) -> int:
    """The number of the topic's partitions.

    Raises:
        SinkUnavailableError: Kafka does not answer within some seconds, or has no such topic.
    """
    where = f"Kafka at {settings.kafka_bootstrap}"
    consumer = Consumer(
        {
            "bootstrap.servers": settings.kafka_bootstrap,
            "group.id": "none",
            "allow.auto.create.topics": False,
            "log_level": 2,
        }
    )
    try:
        found = consumer.list_topics(settings.topic, _TIMEOUT_S).topics[settings.topic]
    except KafkaException as error:
        raise SinkUnavailableError(f"{where} does not answer: {error.args[0].str()}") from None
    finally:
        consumer.close()
    if found.error is not None or not found.partitions:
        reason = found.error.str() if found.error else "it has no partitions"
        raise SinkUnavailableError(f"{where} does not serve the topic {settings.topic}: {reason}")
    return len(found.partitions)


def still_has(partitions: int, settings: Settings) -> Callable[[], None]:
    """A check that the topic has not fewer partitions than a replay's record says.

    The check raises `SinkError` if it has, and `SinkUnavailableError` as `partition_count` does.
    """

    def check() -> None:
        now = partition_count(settings)
        if now < partitions:
            raise SinkError(
                f"topic {settings.topic} has {now} partitions, expected {partitions}, which it had when this "
                "replay began and by which its lines are placed: give it as many again, or replay under "
                "another replay_id"
            )

    return check
