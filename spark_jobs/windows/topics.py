"""The topics that the job writes."""

from logpipe.clients.kafka import Kafka
from logpipe.windows.commit import COMPACTED_WITHIN_MS
from windows.errors import WindowsError


def make_output(kafka: Kafka, topic: str, replicas: int, keep_days: int = 0) -> None:
    """Make a compacted topic of one partition, or check that the one that is there is compacted.

    Args:
        kafka: where.
        topic: its name.
        replicas: of a new one.
        keep_days: for so long a record is kept in a new one; 0: until another one replaces it.

    Raises:
        TopicError: the brokers do not answer, or refuse.
        WindowsError: a topic of that name is not compacted.
    """
    if kafka.describe(topic) is None:
        config = {
            "cleanup.policy": "compact,delete" if keep_days else "compact",
            "retention.ms": str(keep_days * 86_400_000 or -1),
            "max.compaction.lag.ms": str(COMPACTED_WITHIN_MS),
        }
        kafka.create(topic, 1, replicas, config)
        return
    policy = kafka.config(topic)["cleanup.policy"]
    if "compact" not in policy:
        raise WindowsError(
            f"Topic {topic} has cleanup.policy={policy}, expected compact: alter it, delete the "
            "topic (it is made again), or name another one"
        )
