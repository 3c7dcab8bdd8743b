"""Kafka's topics: what they are, where they end, how far a group has come. Calls block."""

import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Self, cast

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Producer,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from logpipe.clients.errors import ClientError, UnreachableError
from logpipe.contracts.chain import java_id
from logpipe.settings import MAX_MESSAGE_BYTES, Settings
from logpipe.settings.kafka_access import KafkaAccessError, Role, how

if TYPE_CHECKING:
    from concurrent.futures import Future

Offsets = dict[int, int]  # partition -> offset

TIMEOUT_S = 30.0
BATCH_RECORDS = 10_000
BATCH_WAIT_S = 0.1
_POLL_S = 0.1
READER_GROUP = "logpipe-reader"
# Of a consumer that reads on its own: it joins no group, and commits nothing.
_READER = {
    "group.id": READER_GROUP,
    "enable.auto.commit": False,
    "auto.offset.reset": "error",
    "allow.auto.create.topics": False,
    # The default of 1 s caps reading at about 130,000 lines/s.
    "fetch.queue.backoff.ms": 10,
    "queued.max.messages.kbytes": 32768,
}
# A coordinator that has just been chosen, or still loads its groups.
_NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)
_REFUSED = (KafkaError._AUTHENTICATION, KafkaError._SSL)
_AWAY = (KafkaError._TRANSPORT, KafkaError._TIMED_OUT, KafkaError._ALL_BROKERS_DOWN, KafkaError._RESOLVE)
SCRAM_ITERATIONS = 8192
# librdkafka tells of each failed connection on standard error; whoever asks is told by an error.
_SILENT = logging.getLogger("logpipe.librdkafka")
_SILENT.propagate = False
_SILENT.addHandler(logging.NullHandler())


class TopicError(ClientError):
    """Kafka did not answer in time, refused, or has no such topic; the message names topic and address."""


class KafkaUnreachableError(TopicError, UnreachableError):
    """No broker answers in time."""


class LoginRefusedError(TopicError):
    """Kafka does not let this client in, or it does not trust Kafka; asking again does not help."""


class RangeGoneError(TopicError):
    """The topic does not hold these offsets any more; the message names them."""


@dataclass(frozen=True, slots=True)
class Record:
    """One record of the topic. ``key`` is ``<replay>:<line number>``, or None for a line without identity.

    ``headers`` are there where they were asked for.
    """

    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes
    headers: tuple[tuple[str, bytes | None], ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What a user may do: ``operations`` as `kafka-acls` names them, on a topic or a group."""

    user: str
    kind: Literal["topic", "group"]
    name: str
    operations: tuple[str, ...]
    is_prefix: bool = False


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
        known_as: where the configuration stands, and as whom it is asked, for messages.
    """

    def __init__(self, client: Mapping[str, Any], timeout_s: float = TIMEOUT_S, known_as: str = "") -> None:
        # A client that is refused tells this only: its calls say that there was no answer in time.
        self._client = {**client, "log_level": 2, "logger": _SILENT, "error_cb": self._told}
        self._timeout_s = timeout_s
        self._refusal: KafkaError | None = None
        self._place = f"Kafka at {client.get('bootstrap.servers')}" + (f" ({known_as})" if known_as else "")

    @classmethod
    def of(cls, settings: Settings, timeout_s: float = TIMEOUT_S, role: Role = "reader") -> Self:
        """The pipeline's, as one of its roles.

        Raises:
            TopicError: the role's password cannot be read.
        """
        try:
            return cls(settings.kafka_client(role), timeout_s, how(settings, role))
        except KafkaAccessError as error:
            raise TopicError(str(error)) from None

    @cached_property
    def _admin(self) -> AdminClient:
        return AdminClient(self._client)

    def _told(self, error: KafkaError) -> None:
        if error.code() in _REFUSED:
            self._refusal = error

    def _result(self, future: "Future[Any]", what: str) -> Any:
        """Wait for an answer, or until it is known that there will be none."""
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                return future.result(_POLL_S)
            except FutureTimeout:
                self._admin.poll(0)
                if self._refusal:
                    raise self._refused(what) from None
                if time.monotonic() > deadline:
                    raise self._no_answer(what) from None

    def _answer(self, future: "Future[Any]", what: str) -> Any:
        try:
            return self._result(future, what)
        except KafkaException as error:
            raise self._error(what, error) from None

    def _refused(self, what: str) -> TopicError:
        assert self._refusal is not None
        refusal, self._refusal = self._refusal, None
        text = refusal.str().partition(": ")[2] or refusal.str()
        way_out = (
            "put that user's password right, or have Kafka know the user"
            if refusal.code() == KafkaError._AUTHENTICATION
            else f"{self._client.get('ssl.ca.location', 'ssl.ca.location')} (LOGPIPE_KAFKA_CA_FILE) is "
            "expected to hold the certificates of who vouches for Kafka, and Kafka's own to name the address"
        )
        return LoginRefusedError(f"{what}: {self._place} cannot be logged in to: {text}: {way_out}")

    def _no_answer(self, what: str, why: str = "") -> TopicError:
        return KafkaUnreachableError(
            f"{what}: {self._place} does not answer within {self._timeout_s:g} s{why}"
        )

    def _error(self, what: str, error: KafkaException) -> TopicError:
        found = error.args[0]
        if self._refusal:
            return self._refused(what)
        if found.code() in _AWAY:
            return self._no_answer(what, f": {found.str()}")
        if found.name().endswith("AUTHORIZATION_FAILED"):
            return TopicError(
                f"{what}: {self._place} does not allow this: {found.str()}: give that user the rules that "
                "docs/your-cluster.md lists"
            )
        return TopicError(f"{what}: {self._place} did not do what was asked: {found.str()}")

    def brokers(self) -> int:
        """How many brokers there are, by their own metadata."""
        asked = self._admin.describe_cluster(request_timeout=self._timeout_s)
        return len(self._answer(asked, "Metadata").nodes)

    # ------------------------------------------------------------------ topics

    def describe(self, topic: str) -> TopicDescription | None:
        """Describe a topic; None when there is none of this name.

        Raises:
            TopicError: the brokers do not answer.
        """
        admin = self._admin  # must outlive its futures, and another thread may put a new one in its place
        asked = admin.describe_topics(TopicCollection([topic]), request_timeout=self._timeout_s)
        try:
            found = self._result(asked[topic], f"Topic {topic}")
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                return None
            raise self._error(f"Topic {topic}", error) from None
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
            self._result(asked[topic], f"Creating topic {topic}")
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

    # ------------------------------------------------------------------ users

    def set_passwords(self, passwords: Mapping[str, str]) -> None:
        """Make users, or give them another password (SCRAM-SHA-512).

        Raises:
            TopicError: the brokers do not answer, or refuse.
        """
        scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, SCRAM_ITERATIONS)
        asked = self._admin.alter_user_scram_credentials(
            [UserScramCredentialUpsertion(user, scram, word.encode()) for user, word in passwords.items()],
            request_timeout=self._timeout_s,
        )
        for user, future in asked.items():
            self._answer(future, f"User {user}")

    def allow(self, rules: Iterable[Rule]) -> None:
        """Let users do what rules say; one that is there is left as it is.

        Raises:
            TopicError: the brokers do not answer, or refuse.
        """
        asked = self._admin.create_acls(
            [
                AclBinding(
                    ResourceType[rule.kind.upper()],
                    rule.name,
                    ResourcePatternType.PREFIXED if rule.is_prefix else ResourcePatternType.LITERAL,
                    f"User:{rule.user}",
                    "*",
                    AclOperation[operation.upper()],
                    AclPermissionType.ALLOW,
                )
                for rule in rules
                for operation in rule.operations
            ],
            request_timeout=self._timeout_s,
        )
        for binding, future in asked.items():
            self._answer(future, f"Rule for {binding.principal}")

    # ------------------------------------------------------------------ offsets

    def offsets(self, topic: str) -> Topic:
        """Where a topic begins and ends now.

        Raises:
            TopicError: there is no such topic, or the brokers do not answer.
        """
        found = self.existing(topic)
        firsts, ends = (
            self._list(topic, dict.fromkeys(range(found.partitions), spec))
            for spec in (OffsetSpec.earliest(), OffsetSpec.latest())
        )
        return Topic(found.topic_id, {part: (firsts[part], ends[part]) for part in ends})

    def first_after(self, topic: str, times_ms: Mapping[int, int]) -> Offsets:
        """First record of each partition that is newer than a time; of those that hold such a record.

        Raises:
            TopicError: there is no such topic, or the brokers do not answer.
        """
        found = self._list(
            topic, {part: OffsetSpec.for_timestamp(time_ms + 1) for part, time_ms in times_ms.items()}
        )
        return {part: offset for part, offset in found.items() if offset >= 0}

    def _list(self, topic: str, specs: Mapping[int, OffsetSpec]) -> Offsets:
        try:
            return self._listed(topic, specs)
        except KafkaException:
            # What a client knew of leaders before a broker's restart (their epochs, or that there were none)
            # it believes for minutes; each way of it has an error of its own.
            self.__dict__.pop("_admin", None)
        try:
            return self._listed(topic, specs)
        except KafkaException as error:
            raise self._error(f"Offsets of topic {topic}", error) from None

    def _listed(self, topic: str, specs: Mapping[int, OffsetSpec]) -> Offsets:
        if not specs:
            return {}
        admin = self._admin  # as in `describe`
        asked = admin.list_offsets(
            {TopicPartition(topic, part): spec for part, spec in specs.items()},
            request_timeout=self._timeout_s,
        )
        what = f"Offsets of topic {topic}"
        return {place.partition: self._result(future, what).offset for place, future in asked.items()}

    def committed(self, group: str, topic: str, partitions: Iterable[int]) -> Offsets:
        """Return what a consumer group has committed; a partition without a commit is left out.

        A consumer asks, which joins no group. The admin client's own call ends the whole process when the
        group's coordinator has just moved: github.com/confluentinc/librdkafka/issues/5040.

        Raises:
            TopicError: the brokers do not answer, or refuse.
        """
        places = [TopicPartition(topic, partition) for partition in partitions]
        deadline = time.monotonic() + self._timeout_s
        while True:
            try:
                with self._consumer(**{"group.id": group}) as consumer:
                    found = consumer.committed(places, self._timeout_s)
                return {place.partition: place.offset for place in found if place.offset >= 0}
            except KafkaException as error:
                if error.args[0].code() not in _NOT_YET or time.monotonic() > deadline:
                    raise self._error(f"Commits of {group}", error) from None
            time.sleep(_POLL_S)

    def offsets_at(self, topic: str, timestamp_ms: int) -> Offsets:
        """The offset of each partition's first record that is not older, or else of its next record.

        Raises:
            TopicError: there is no such topic, or the brokers do not answer.
        """
        places = [
            TopicPartition(topic, partition, timestamp_ms)
            for partition in range(self.existing(topic).partitions)
        ]
        try:
            with self._consumer() as consumer:
                found = consumer.offsets_for_times(places, self._timeout_s)
        except KafkaException as error:
            raise self._error(f"Offsets of topic {topic}", error) from None
        # The ends are read after that: what came meanwhile is later than the given time.
        ends = self.offsets(topic).ends
        return {
            place.partition: place.offset if place.offset >= 0 else ends[place.partition] for place in found
        }

    # ------------------------------------------------------------------ records

    @contextmanager
    def _consumer(self, **more: Any) -> Iterator[Consumer]:
        if "security.protocol" in self._client:
            self.brokers()  # a consumer that is refused would wait in silence
        consumer = Consumer({**self._client, **_READER, **more})
        try:
            yield consumer
        finally:
            consumer.close()

    def timestamps_ms(self, topic: str, offsets: Offsets) -> dict[int, int]:
        """Kafka's time of one record of each partition; one that is not there, or not in time, is left out.

        Raises:
            TopicError: the brokers do not answer.
        """
        found = {}
        try:
            with self._consumer() as consumer:
                for partition, offset in offsets.items():
                    consumer.assign([TopicPartition(topic, partition, offset)])
                    message = consumer.poll(self._timeout_s)
                    if message is not None and message.error() is None:
                        found[partition] = message.timestamp()[1]
        except KafkaException as error:
            raise self._error(f"Topic {topic}", error) from None
        return found

    def records(
        self,
        topic: str,
        ranges: Mapping[int, tuple[int, int]] | None = None,
        *,
        with_headers: bool = False,
    ) -> Iterator[Record]:
        """The records ``[first, next)`` of each partition, in the order of offsets; partitions take turns.

        Args:
            topic: its name.
            ranges: by partition; without them all that the topic holds at the time of the call.
            with_headers: have the records' headers too.

        Raises:
            RangeGoneError: retention took some of them, or they are beyond the topic's end.
            TopicError: the topic cannot be read, or reading makes no progress in time.
        """
        held = self.offsets(topic).offsets
        ranges = held if ranges is None else ranges
        places = {partition: place for partition, place in ranges.items() if place[0] < place[1]}
        for partition, (first, next_) in places.items():
            low, high = held.get(partition, (0, 0))
            if first < low or next_ > high:
                raise RangeGoneError(
                    f"Topic {topic}, partition {partition}: offsets {first} to {next_} are not there "
                    f"any more: it holds {low} to {high}"
                )
        try:
            with self._consumer(**{"enable.partition.eof": True}) as consumer:
                yield from self._read(consumer, topic, places, with_headers=with_headers)
        except KafkaException as error:
            raise self._error(f"Topic {topic}", error) from None

    def put(self, topic: str, records: Iterable[Record]) -> int:
        """Write records with their keys, values and headers, each into its partition.

        Returns:
            How many there are, once all replicas have them.

        Raises:
            TopicError: the brokers do not answer, or refuse.
        """
        failed: list[KafkaError] = []
        producer = Producer(
            {
                **self._client,
                "acks": "all",
                "enable.idempotence": True,
                "compression.type": "lz4",
                "message.max.bytes": MAX_MESSAGE_BYTES,
                "message.timeout.ms": int(self._timeout_s * 1000),
            }
        )
        written = 0
        try:
            for record in records:
                while len(producer) >= BATCH_RECORDS and not failed:
                    producer.poll(_POLL_S)
                if failed:
                    break
                producer.produce(
                    topic,
                    record.value,
                    record.key,
                    record.partition,
                    on_delivery=lambda error, _: failed.append(error) if error else None,
                    headers=list(record.headers),
                )
                written += 1
            left = producer.flush(self._timeout_s)
        except KafkaException as error:
            raise self._error(f"Writing topic {topic}", error) from None
        if failed:
            raise self._error(f"Writing topic {topic}", KafkaException(failed[0]))
        if left:
            raise self._no_answer(f"Writing topic {topic}")
        return written

    def _read(
        self, consumer: Consumer, topic: str, places: dict[int, tuple[int, int]], *, with_headers: bool
    ) -> Iterator[Record]:
        consumer.assign([TopicPartition(topic, partition, first) for partition, (first, _) in places.items()])
        progress_at = time.monotonic()
        while places:
            # Waits for that many or the whole timeout: at the topic's end there are no more.
            left = sum(next_ - first for first, next_ in places.values())
            messages = consumer.consume(min(BATCH_RECORDS, left), BATCH_WAIT_S)
            if messages:
                progress_at = time.monotonic()
            elif time.monotonic() - progress_at > self._timeout_s:
                raise TopicError(
                    f"Topic {topic}: no record for {self._timeout_s:g} s, with offsets {places} of "
                    "partitions not read"
                )
            for message in messages:
                error = message.error()
                if error is not None:
                    if error.code() == KafkaError._PARTITION_EOF:  # compaction may have taken the last ones
                        partition, reached = cast(int, message.partition()), cast(int, message.offset())
                        if partition in places and reached >= places[partition][1]:
                            del places[partition]
                        continue
                    if error.code() == KafkaError._AUTO_OFFSET_RESET:
                        raise RangeGoneError(f"Topic {topic}: retention took some of {places}")
                    if error.retriable():
                        continue
                    raise TopicError(f"Topic {topic}: {error.str()}")
                partition, offset = cast(int, message.partition()), cast(int, message.offset())
                if partition not in places:
                    continue
                next_ = places[partition][1]
                if offset < next_:
                    headers = tuple(message.headers() or ()) if with_headers else ()
                    yield Record(
                        partition,
                        offset,
                        message.timestamp()[1],
                        message.key(),
                        message.value() or b"",
                        headers,
                    )
                places[partition] = (offset + 1, next_)
                if offset + 1 >= next_:
                    del places[partition]
