"""What Kafka says about the topic: only how many partitions it has. Lines go by agent 1."""

from collections.abc import Callable

from logpipe.clients.kafka import Kafka, TopicError
from logpipe.replayer.errors import SinkError, SinkUnavailableError
from logpipe.settings import Settings

_TIMEOUT_S = 5.0


def partition_count(settings: Settings) -> int:
    """The number of the topic's partitions.

    Raises:
        SinkUnavailableError: Kafka does not answer within some seconds, or has no such topic.
    """
    try:
        return Kafka.of(settings, _TIMEOUT_S).existing(settings.topic).partitions
    except TopicError as error:
        raise SinkUnavailableError(str(error)) from None


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
