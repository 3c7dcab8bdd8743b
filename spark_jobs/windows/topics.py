"""What the job asks of Kafka: is the topic there, is it still the same, are the output topics there."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
    TopicDescription,
)

from logpipe.contracts.chain import java_id
from logpipe.windows.commit import COMPACTED_WITHIN_MS
from windows.errors import WindowsError

TIMEOUT_S = 10.0


@dataclass(frozen=True)
class OutputTopic:
    """A topic that the job writes."""

    name: str
    keep_days: int


class Topics:
    """Kafka's topics. Methods raise `confluent_kafka.KafkaException` when the broker does not answer.

    Args:
        client: configuration of a client of librdkafka, with ``bootstrap.servers``.
    """

    def __init__(self, client: Mapping[str, Any]) -> None:
        self._configuration = client
        self._admin = self._client()

    def _client(self) -> AdminClient:
        return AdminClient(
            {
                **self._configuration,
                "socket.timeout.ms": 10_000,
                "log_level": 0,
                "client.id": "windows",
            }
        )

    def _describe(self, topic: str) -> TopicDescription | None:
        admin = self._admin  # must outlive its futures, and another thread may put a new one in its place
        future = admin.describe_topics(TopicCollection([topic]), request_timeout=TIMEOUT_S)[topic]
        try:
            return future.result(TIMEOUT_S)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise

    def topic_id(self, topic: str) -> str | None:
        """The id that Kafka gave the topic when it was made; None when there is no such topic."""
        description = self._describe(topic)
        return None if description is None else java_id(description.topic_id)

    def end_offsets(self, topic: str) -> dict[int, int]:
        """Next offset of each partition; empty when there is no such topic."""
        return self._every(topic, OffsetSpec.latest())

    def first_offsets(self, topic: str) -> dict[int, int]:
        """Oldest offset that each partition holds; empty when there is no such topic."""
        return self._every(topic, OffsetSpec.earliest())

    def _every(self, topic: str, spec: OffsetSpec) -> dict[int, int]:
        description = self._describe(topic)
        parts = [] if description is None else description.partitions
        return self._offsets(topic, {part.id: spec for part in parts})

    def first_after(self, topic: str, times_ms: dict[int, int]) -> dict[int, int]:
        """First record of each partition that is newer than a time; of those that hold such a record."""
        specs = {part: OffsetSpec.for_timestamp(time_ms + 1) for part, time_ms in times_ms.items()}
        return {part: offset for part, offset in self._offsets(topic, specs).items() if offset >= 0}

    def _offsets(self, topic: str, specs: dict[int, OffsetSpec]) -> dict[int, int]:
        if not specs:
            return {}
        wanted = {TopicPartition(topic, part): spec for part, spec in specs.items()}
        try:
            return self._listed(wanted)
        except KafkaException:
            # What a client knew of leaders before a broker's restart (their epochs, or that there were none)
            # it believes for minutes; each way of it has an error of its own.
            self._admin = self._client()
            return self._listed(wanted)

    def _listed(self, wanted: dict[TopicPartition, OffsetSpec]) -> dict[int, int]:
        admin = self._admin
        futures = admin.list_offsets(wanted, request_timeout=TIMEOUT_S)
        return {part.partition: future.result(TIMEOUT_S).offset for part, future in futures.items()}

    def replicas(self, topic: str) -> int:
        """Replicas of the topic's first partition."""
        description = self._describe(topic)
        return len(description.partitions[0].replicas) if description is not None else 1

    def make_output(self, topic: OutputTopic, partitions: int, replicas: int) -> None:
        """Make a compacted topic, or check that the one that is there is compacted.

        Raises:
            WindowsError: a topic of that name is not compacted.
        """
        if self._describe(topic.name) is None:
            policy = "compact,delete" if topic.keep_days else "compact"
            config = {
                "cleanup.policy": policy,
                "retention.ms": str(topic.keep_days * 86_400_000 or -1),
                "max.compaction.lag.ms": str(COMPACTED_WITHIN_MS),
            }
            new = NewTopic(topic.name, partitions, replicas, config=config)
            try:
                self._admin.create_topics([new], request_timeout=TIMEOUT_S)[topic.name].result(TIMEOUT_S)
            except KafkaException as error:
                if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                    raise
            return
        resource = ConfigResource(ResourceType.TOPIC, topic.name)
        config_now = self._admin.describe_configs([resource], request_timeout=TIMEOUT_S)[resource].result(
            TIMEOUT_S
        )
        policy = config_now["cleanup.policy"].value
        if "compact" not in policy:
            raise WindowsError(
                f"Topic {topic.name} has cleanup.policy={policy}, expected compact: alter it, delete the "
                "topic (it is made again), or name another one"
            )
