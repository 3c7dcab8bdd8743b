"""What somebody may ask of Kafka, each as one question to a real broker: done, or refused.

Stands on the product alone, so that the text of this file can be run in a container.
"""

import time
from collections.abc import Callable
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from logpipe.settings import Settings

Client = dict[str, Any]
TIMEOUT_S = 20.0
REFUSALS = {
    KafkaError.TOPIC_AUTHORIZATION_FAILED,
    KafkaError.GROUP_AUTHORIZATION_FAILED,
    KafkaError.CLUSTER_AUTHORIZATION_FAILED,
}
# Who is told this was let through: the topic is there, and agent 2's group shares partitions in another way.
BEHIND_THE_RULES = {KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.INCONSISTENT_GROUP_PROTOCOL}


def is_allowed(question: Callable[[], None]) -> bool:
    """Whether Kafka does what is asked.

    Raises:
        KafkaException: it neither did it nor refused.
    """
    try:
        question()
    except KafkaException as error:
        if error.args[0].code() in REFUSALS:
            return False
        raise
    return True


def _admin(client: Client) -> AdminClient:
    return AdminClient(client | {"log_level": 0})


def _done(futures: dict[Any, Any]) -> None:
    for future in futures.values():
        future.result(TIMEOUT_S)


def write(client: Client, topic: str) -> None:
    """Send a record."""
    told: list[KafkaError | None] = []
    producer = Producer(client | {"log_level": 0, "message.timeout.ms": int(TIMEOUT_S * 1000)})
    producer.produce(topic, b"a line", b"a key", on_delivery=lambda error, _: told.append(error))
    assert producer.flush(TIMEOUT_S + 5) == 0
    if told[0] is not None:
        raise KafkaException(told[0])


def read(client: Client, topic: str) -> None:
    """Read from the topic's start, until its end or a record; in no group."""
    place = TopicPartition(topic, 0, 0)
    if (error := _admin(client).list_topics(topic, TIMEOUT_S).topics[topic].error) is not None:
        raise KafkaException(error)  # what a consumer waits for in silence
    _poll(client | {"group.id": "none"}, lambda consumer: consumer.assign([place]), joins=False)


def join(client: Client, topic: str, group: str) -> None:
    """Read as a member of a group."""
    _poll(client | {"group.id": group}, lambda consumer: consumer.subscribe([topic]))


def _poll(client: Client, begin: Callable[[Consumer], None], *, joins: bool = True) -> None:
    consumer = Consumer(
        client | {"log_level": 0, "enable.partition.eof": True, "auto.offset.reset": "earliest",
                  "enable.auto.commit": False}
    )  # fmt: skip
    try:
        begin(consumer)
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            message = consumer.poll(0.5)
            if message is None:
                continue
            error = message.error()
            if error is None or error.code() == KafkaError._PARTITION_EOF:
                return
            if error.code() == KafkaError.GROUP_AUTHORIZATION_FAILED and not joins:
                continue  # a consumer looks for a group's coordinator whether or not it needs one
            if not error.retriable() or error.code() in REFUSALS:
                raise KafkaException(error)
        raise AssertionError("neither a record nor a refusal")
    finally:
        consumer.close()


def describe(client: Client, topic: str) -> None:
    """Ask for the topic's shape."""
    admin = _admin(client)
    _done(admin.describe_topics(TopicCollection([topic])))


def create(client: Client, topic: str) -> None:
    """Make a topic; nothing is made where that is allowed."""
    admin = _admin(client)
    _done(admin.create_topics([NewTopic(topic, 1, 1)], validate_only=True))


def delete(client: Client, topic: str) -> None:
    """Delete a topic."""
    admin = _admin(client)
    _done(admin.delete_topics([topic]))


def delete_records(client: Client, topic: str) -> None:
    """Have the oldest records deleted."""
    admin = _admin(client)
    _done(admin.delete_records([TopicPartition(topic, 0, 0)]))


def shorten_retention(client: Client, topic: str) -> None:
    """Have all that is in the topic expire."""
    admin = _admin(client)
    entry = ConfigEntry("retention.ms", "1", incremental_operation=AlterConfigOpType.SET)
    _done(
        admin.incremental_alter_configs(
            [ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])]
        )
    )


def add_partitions(client: Client, topic: str) -> None:
    """Give the topic more partitions, which would move lines."""
    admin = _admin(client)
    _done(admin.create_partitions([NewPartitions(topic, 9)], validate_only=True))


def allow_all(client: Client, topic: str) -> None:
    """Let everybody delete the topic."""
    admin = _admin(client)
    rule = AclBinding(
        ResourceType.TOPIC, topic, ResourcePatternType.LITERAL, "User:*", "*", AclOperation.ALL,
        AclPermissionType.ALLOW,
    )  # fmt: skip
    _done(admin.create_acls([rule]))


def set_password(client: Client, topic: str) -> None:
    """Give Kafka's first user another password."""
    admin = _admin(client)
    scram = ScramCredentialInfo(ScramMechanism.SCRAM_SHA_512, 4096)
    _done(admin.alter_user_scram_credentials([UserScramCredentialUpsertion("admin", scram, b"mine")]))


Ask = Callable[[Client, str], None]


def questions(settings: Settings) -> dict[str, Callable[[Client], None]]:
    """Every question about the pipeline's topics and groups, by what it is."""
    topic, group = settings.topic, settings.consumer_group
    windows = f"{topic}_windows"

    def about(name: str, ask: Ask) -> Callable[[Client], None]:
        return lambda client: ask(client, name)

    return {
        "write the topic": about(topic, write),
        "read the topic": about(topic, read),
        "read in agent 2's group": lambda client: join(client, topic, group),
        "read in another group": lambda client: join(client, topic, "another"),
        "describe the topic": about(topic, describe),
        "write the windows": about(windows, write),
        "read the windows": about(windows, read),
        "create the topic": about(topic, create),
        "create another topic": about("another", create),
        "write another topic": about("another", write),
        "delete the topic": about(topic, delete),
        "delete the windows": about(windows, delete),
        "delete records": about(topic, delete_records),
        "shorten the retention": about(topic, shorten_retention),
        "add partitions": about(topic, add_partitions),
        "make rules": about(topic, allow_all),
        "set a password": about(topic, set_password),
    }


_LOOK = {"read the topic", "describe the topic", "read the windows"}
# What each role may do; all else is refused.
MAY = {
    "agent1": {"write the topic", "describe the topic"},
    "agent2": {"read the topic", "read in agent 2's group", "describe the topic"},
    "windows": {"read the topic", "describe the topic", "write the windows"},
    "reader": _LOOK,
    "airflow": {"read the topic", "describe the topic", "create the topic"},
}


def allowed(client: Client, settings: Settings) -> set[str]:
    """All that Kafka does for a client."""
    found = set()
    for what, question in questions(settings).items():
        try:
            if is_allowed(lambda question=question: question(client)):  # type: ignore[misc]
                found.add(what)
        except KafkaException as error:
            if error.args[0].code() not in BEHIND_THE_RULES:
                raise AssertionError(f"{what}: {error}") from None
            found.add(what)
    return found
