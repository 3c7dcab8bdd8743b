import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from logpipe.airflow.hooks.kafka_topic import KafkaTopicHook, KafkaUnavailableError
from tests.machine import Kafka

pytestmark = pytest.mark.integration


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


async def test_an_absent_topic_is_none(kafka: Kafka, topic: str) -> None:
    assert await KafkaTopicHook().describe(topic) is None


async def test_a_created_topic_is_described(kafka: Kafka, topic: str) -> None:
    hook = KafkaTopicHook()
    await hook.create(topic, 3, 1, {"retention.ms": "3600000"})
    found = await hook.describe(topic)
    assert found is not None
    assert (found.partitions, found.replication) == (3, 1)
    assert found.config["retention.ms"] == "3600000"


async def test_creating_a_topic_that_is_there_is_no_error(kafka: Kafka, topic: str) -> None:
    hook = KafkaTopicHook()
    await hook.create(topic, 1, 1, {})
    await hook.create(topic, 2, 1, {})


async def test_ends_and_what_the_group_has_committed(kafka: Kafka, topic: str) -> None:
    hook = KafkaTopicHook()
    await hook.create(topic, 2, 1, {})
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for partition, records in ((0, 5), (1, 2)):
        for number in range(records):
            producer.produce(topic, str(number), partition=partition)
    producer.flush(10)
    assert await hook.end_offsets(topic) == {0: 5, 1: 2}

    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "a-group"})
    consumer.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    consumer.close()
    assert await hook.committed_offsets("a-group", topic) == {0: 4}


async def test_an_absent_topic_has_no_end(kafka: Kafka, topic: str) -> None:
    with pytest.raises(
        KafkaUnavailableError, match=f"no topic {topic} at {kafka.bootstrap}: provision it first"
    ):
        await KafkaTopicHook().end_offsets(topic)


async def test_an_absent_broker_is_said_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_KAFKA_ABSENT", '{"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}}'
    )
    with pytest.raises(KafkaUnavailableError, match=r"connection kafka_absent\) did not .* within 2 s"):
        await KafkaTopicHook("kafka_absent", timeout_s=2).describe("any")
