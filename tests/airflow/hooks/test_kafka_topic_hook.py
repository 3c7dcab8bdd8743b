import uuid

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from logpipe.airflow.hooks.stores import KafkaHook
from logpipe.clients.kafka import TopicError
from tests.machine import Kafka

pytestmark = pytest.mark.integration


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


def test_an_absent_topic_is_none(kafka: Kafka, topic: str) -> None:
    assert KafkaHook().kafka().describe(topic) is None


def test_a_created_topic_is_described(kafka: Kafka, topic: str) -> None:
    hook = KafkaHook().kafka()
    hook.create(topic, 3, 1, {"retention.ms": "3600000"})
    found = hook.describe(topic)
    assert found is not None
    assert (found.partitions, found.replication) == (3, 1)
    assert hook.config(topic)["retention.ms"] == "3600000"


def test_creating_a_topic_that_is_there_is_no_error(kafka: Kafka, topic: str) -> None:
    hook = KafkaHook().kafka()
    hook.create(topic, 1, 1, {})
    hook.create(topic, 2, 1, {})


def test_ends_and_what_the_group_has_committed(kafka: Kafka, topic: str) -> None:
    hook = KafkaHook().kafka()
    hook.create(topic, 2, 1, {})
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for partition, records in ((0, 5), (1, 2)):
        for number in range(records):
            producer.produce(topic, str(number), partition=partition)
    producer.flush(10)
    assert hook.offsets(topic).offsets == {0: (0, 5), 1: (0, 2)}

    assert hook.committed("a-group", topic, [0, 1]) == {}  # which waits for the group's coordinator
    consumer = Consumer({"bootstrap.servers": kafka.bootstrap, "group.id": "a-group"})
    consumer.commit(offsets=[TopicPartition(topic, 0, 4)], asynchronous=False)
    consumer.close()
    assert hook.committed("a-group", topic, [0, 1]) == {0: 4}


def test_an_absent_topic_has_no_end(kafka: Kafka, topic: str) -> None:
    with pytest.raises(TopicError, match=rf"no topic {topic} in .*{kafka.bootstrap} .*provision"):
        KafkaHook().kafka().offsets(topic)


def test_an_absent_broker_is_said_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_KAFKA_ABSENT", '{"conn_type": "kafka", "extra": {"bootstrap.servers": "127.0.0.1:1"}}'
    )
    with pytest.raises(TopicError, match=r"connection kafka_absent\) (did not do|does not answer)"):
        KafkaHook("kafka_absent").kafka(timeout_s=2).describe("any")
