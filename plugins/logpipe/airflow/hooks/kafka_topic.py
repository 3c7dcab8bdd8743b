"""A Kafka topic: what it is, where it ends, and how far a consumer group lags behind."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook

from logpipe.contracts.chain import java_id

if TYPE_CHECKING:
    from confluent_kafka.admin import AdminClient, OffsetSpec

Offsets = dict[int, int]  # partition -> offset


class KafkaUnavailableError(RuntimeError):
    """Kafka did not answer in time, or refused a request."""


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as the brokers describe it."""

    name: str
    partitions: int
    replication: int  # the smallest over its partitions
    config: dict[str, str]
    topic_id: str = ""


class KafkaTopicHook(KafkaAdminClientHook):
    """Adds to the provider's admin hook what it lacks: description, end offsets and consumer lag.

    All calls are coroutines that end within ``timeout_s`` seconds.
    """

    def __init__(
        self, kafka_conn_id: str = KafkaAdminClientHook.default_conn_name, timeout_s: float = 15
    ) -> None:
        super().__init__(kafka_config_id=kafka_conn_id)
        self.timeout_s = timeout_s

    async def _admin(self) -> "AdminClient":
        # Reading the connection blocks, so it happens off the loop.
        return await asyncio.to_thread(lambda: self.get_conn)

    async def describe(self, topic: str) -> TopicDescription | None:
        """Describe a topic; None when there is none of this name.

        Raises:
            KafkaUnavailableError: the brokers do not answer.
        """
        from confluent_kafka import KafkaError, KafkaException, TopicCollection
        from confluent_kafka.admin import ConfigResource, ResourceType

        admin = await self._admin()
        asked = admin.describe_topics(TopicCollection([topic]), request_timeout=self.timeout_s)
        try:
            described = await asyncio.wrap_future(asked[topic])
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise self._unavailable(error) from error
        resource = ConfigResource(ResourceType.TOPIC, topic)
        try:
            entries = await asyncio.wrap_future(
                admin.describe_configs([resource], request_timeout=self.timeout_s)[resource]
            )
        except KafkaException as error:
            raise self._unavailable(error) from error
        return TopicDescription(
            name=topic,
            partitions=len(described.partitions),
            replication=min(len(partition.replicas) for partition in described.partitions),
            config={name: entry.value for name, entry in entries.items()},
            topic_id=java_id(described.topic_id),
        )

    async def create(
        self, topic: str, partitions: int, replication: int, config: Mapping[str, str]
    ) -> TopicDescription:
        """Create a topic and describe it as it came out; one that appeared meanwhile is left as it is."""
        from confluent_kafka import KafkaError, KafkaException
        from confluent_kafka.admin import NewTopic

        wanted = NewTopic(topic, partitions, replication, config=dict(config))
        admin = await self._admin()
        asked = admin.create_topics(
            [wanted], request_timeout=self.timeout_s, operation_timeout=self.timeout_s
        )
        try:
            await asyncio.wrap_future(asked[topic])
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._unavailable(error) from error
        # The controller knows a topic a moment before the brokers do.
        deadline = time.monotonic() + self.timeout_s
        while (created := await self.describe(topic)) is None:
            if time.monotonic() > deadline:
                raise KafkaUnavailableError(
                    f"Topic {topic} is not seen {self.timeout_s} s after its creation"
                )
            await asyncio.sleep(0.1)
        return created

    async def topic_id(self, topic: str) -> str:
        """Return the id that tells a topic from one of the same name that was made anew.

        Raises:
            KafkaUnavailableError: there is no such topic, or the brokers do not answer.
        """
        return (await self._existing(topic)).topic_id

    async def end_offsets(self, topic: str) -> Offsets:
        """Return where each partition of a topic ends: the offset of the next record."""
        from confluent_kafka.admin import OffsetSpec

        return await self._list_offsets(topic, OffsetSpec.latest())

    async def offsets_at(self, topic: str, epoch_s: float) -> Offsets:
        """Return the offset of each partition's first record that is not older, or else of its next one."""
        from confluent_kafka.admin import OffsetSpec

        ends = await self.end_offsets(topic)
        found = await self._list_offsets(topic, OffsetSpec.for_timestamp(int(epoch_s * 1000)))
        return {
            partition: found[partition] if found[partition] >= 0 else end for partition, end in ends.items()
        }

    async def _list_offsets(self, topic: str, spec: "OffsetSpec") -> Offsets:
        from confluent_kafka import KafkaException, TopicPartition

        description = await self._existing(topic)
        admin = await self._admin()
        asked = admin.list_offsets(
            {TopicPartition(topic, number): spec for number in range(description.partitions)},
            request_timeout=self.timeout_s,
        )
        try:
            return {at.partition: (await asyncio.wrap_future(future)).offset for at, future in asked.items()}
        except KafkaException as error:
            raise self._unavailable(error) from error

    async def committed_offsets(self, group: str, topic: str) -> Offsets:
        """Return what a consumer group has committed; a partition without a commit is left out.

        Raises:
            KafkaUnavailableError: there is no such topic, or the brokers do not answer.
        """
        from confluent_kafka import KafkaException

        from logpipe.committed import committed_offsets

        description = await self._existing(topic)
        connection = await asyncio.to_thread(self.get_connection, self.kafka_config_id)
        partitions = range(description.partitions)
        try:
            return await asyncio.to_thread(
                committed_offsets, connection.extra_dejson, group, topic, partitions, self.timeout_s
            )
        except KafkaException as error:
            raise self._unavailable(error) from error

    async def _existing(self, topic: str) -> TopicDescription:
        description = await self.describe(topic)
        if description is None:
            raise KafkaUnavailableError(
                f"There is no topic {topic} at {self._bootstrap()}: provision it first"
            )
        return description

    def _bootstrap(self) -> str:
        return str(self.get_connection(self.kafka_config_id).extra_dejson.get("bootstrap.servers"))

    def _unavailable(self, error: Exception) -> KafkaUnavailableError:
        reason = error.args[0].str() if error.args and hasattr(error.args[0], "str") else error
        return KafkaUnavailableError(
            f"Kafka (connection {self.kafka_config_id}) did not do what was asked within {self.timeout_s} s: "
            f"{reason}"
        )
