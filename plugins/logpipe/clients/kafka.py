"""Kafka's topics: what they are, where they end, how far a group has come. Calls block."""

import logging
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic, OffsetSpec, ResourceType

from logpipe.clients.errors import ClientError
from logpipe.contracts.chain import java_id
from logpipe.settings import Settings

if TYPE_CHECKING:
    from concurrent.futures import Future

Offsets = dict[int, int]  # partition -> offset

TIMEOUT_S = 30.0
_POLL_S = 0.1
# A coordinator that has just been chosen, or still loads its groups.
_NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
# librdkafka tells of each failed connection on standard error; whoever asks is told by an error.
_SILENT = logging.getLogger("logpipe.librdkafka")
_SILENT.propagate = False
_SILENT.addHandler(logging.NullHandler())


class TopicError(ClientError):
    """Kafka did not answer in time, refused, or has no such topic; the message names topic and address."""


@dataclass(frozen=True, slots=True)
class TopicDescription:
    """A topic as the brokers describe it."""

    name: str
    partitions: int
    replication: int  # the smallest over its partitions
    topic_id: str  # tells it from one of the same name that was made anew


@dataclass(frozen=True, slots=True)
class Topic:
    """The topic now: its id, and of each partition the first offset and that of the next record."""

    topic_id: str
    offsets: dict[int, tuple[int, int]]

    @property
    def ends(self) -> Offsets:
        """Of each partition the offset of the next record."""
        return {partition: end for partition, (_, end) in self.offsets.items()}

    def behind(self, reached: Offsets) -> int:
        """Records between the offsets that were reached and the ends; what retention took is none."""
        return sum(max(0, end - max(reached.get(p, 0), first)) for p, (first, end) in self.offsets.items())


class Kafka:
    """The topics of one Kafka.

    Args:
        client: configuration of a Kafka client, with ``bootstrap.servers``.
        timeout_s: for each question.
        known_as: where the configuration stands, for messages.
    """

    def __init__(self, client: Mapping[str, Any], timeout_s: float = TIMEOUT_S, known_as: str = "") -> None:
        self._client = dict(client)
        self._timeout_s = timeout_s
        self._place = f"Kafka at {client.get('bootstrap.servers')}" + (f" ({known_as})" if known_as else "")

    @classmethod
    def of(cls, settings: Settings, timeout_s: float = TIMEOUT_S) -> Self:
        """The pipeline's."""
        return cls({"bootstrap.servers": settings.kafka_bootstrap}, timeout_s)

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient({**self._client, "log_level": 2, "logger": _SILENT})

    def _answer(self, future: "Future[Any]", what: str) -> Any:
        try:
            return future.result(self._timeout_s)
        except KafkaException as error:
            raise self._error(what, error) from None
        except FutureTimeout:
            raise TopicError(f"{what}: {self._place} gives no answer within {self._timeout_s:g} s") from None

    def _error(self, what: str, error: KafkaException) -> TopicError:
        return TopicError(f"{what}: {self._place} did not do what was asked: {error.args[0].str()}")

    def brokers(self) -> int:
        """How many brokers there are, by their own metadata."""
        try:
            return len(self._admin.list_topics(timeout=self._timeout_s).brokers)
        except KafkaException as error:
            raise self._error("Metadata", error) from None

    # ------------------------------------------------------------------ topics

    def describe(self, topic: str) -> TopicDescription | None:
        """Describe a topic; None when there is none of this name.

        Raises:
            TopicError: the brokers do not answer.
        """
        asked = self._admin.describe_topics(TopicCollection([topic]), request_timeout=self._timeout_s)
        try:
            found = asked[topic].result(self._timeout_s)
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise self._error(f"Topic {topic}", error) from None
        except FutureTimeout:
            raise TopicError(
                f"Topic {topic}: {self._place} gives no answer within {self._timeout_s:g} s"
            ) from None
        return TopicDescription(
            name=topic,
            partitions=len(found.partitions),
            replication=min(len(partition.replicas) for partition in found.partitions),
            topic_id=java_id(found.topic_id),
        )

    def existing(self, topic: str) -> TopicDescription:
        """Describe a topic that has to be there.

        Raises:
            TopicError: there is no such topic, or the brokers do not answer.
        """
        found = self.describe(topic)
        if found is None:
            raise TopicError(f"There is no topic {topic} in {self._place}: provision it first")
        return found

    def config(self, topic: str) -> dict[str, str]:
        """Return a topic's settings."""
        resource = ConfigResource(ResourceType.TOPIC, topic)
        asked = self._admin.describe_configs([resource], request_timeout=self._timeout_s)
        entries = self._answer(asked[resource], f"Settings of topic {topic}")
        return {name: entry.value for name, entry in entries.items()}

    def create(
        self, topic: str, partitions: int, replication: int, config: Mapping[str, str]
    ) -> TopicDescription:
        """Create a topic and describe it as it came out; one that appeared meanwhile is left as it is."""
        asked = self._admin.create_topics(
            [NewTopic(topic, partitions, replication, config=dict(config))],
            request_timeout=self._timeout_s,
            operation_timeout=self._timeout_s,
        )
        try:
            asked[topic].result(self._timeout_s)
        except KafkaException as error:
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise self._error(f"Creating topic {topic}", error) from None
        # The controller knows a topic a moment before the brokers do.
        deadline = time.monotonic() + self._timeout_s
        while (created := self.describe(topic)) is None:
            if time.monotonic() > deadline:
                raise TopicError(
                    f"Topic {topic} is not seen {self._timeout_s:g} s after its creation in {self._place}"
                )
            time.sleep(_POLL_S)
        return created

    # ------------------------------------------------------------------ offsets

    def offsets(self, topic: str) -> Topic:
        """Where a topic begins and ends now.

        Raises:
            TopicError: there is no such topic, or the brokers do not answer.
        """
        found = self.existing(topic)
        places = [TopicPartition(topic, number) for number in range(found.partitions)]
        firsts, ends = (
            self._admin.list_offsets(dict.fromkeys(places, spec), request_timeout=self._timeout_s)
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        what = f"Offsets of topic {topic}"
        return Topic(
            found.topic_id,
            {
                place.partition: (
                    self._answer(firsts[place], what).offset,
                    self._answer(ends[place], what).offset,
                )
                for place in places
            },
        )

    def committed(self, group: str, topic: str, partitions: Iterable[int]) -> Offsets:
        """Return what a consumer group has committed; a partition without a commit is left out.

        A consumer asks, which joins no group. The admin client's own call ends the whole process when the
        group's coordinator has just moved: github.com/confluentinc/librdkafka/issues/5040.

        Raises:
            TopicError: the brokers do not answer, or refuse.
        """
        places = [TopicPartition(topic, partition) for partition in partitions]
        own = {"log_level": 2, "logger": _SILENT, "group.id": group, "enable.auto.commit": False}
        deadline = time.monotonic() + self._timeout_s
        while True:
            consumer = Consumer({**self._client, **own})
            try:
                found = consumer.committed(places, self._timeout_s)
                return {place.partition: place.offset for place in found if place.offset >= 0}
            except KafkaException as error:
                if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                    raise self._error(f"Commits of {group}", error) from None
            finally:
                consumer.close()
            time.sleep(_POLL_S)
