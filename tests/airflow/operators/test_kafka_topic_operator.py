import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from logpipe.airflow.operators.kafka_topic import KafkaTopicOperator, TopicDriftError
from logpipe.clients.kafka import KafkaUnreachableError
from tests.machine import Kafka

pytestmark = pytest.mark.integration


@pytest.fixture
def topic() -> str:
    return f"topic-{uuid.uuid4().hex[:8]}"


def provision(topic: str, partitions: int = 3, replication: int = 1, **more: Any) -> dict[str, Any]:
    operator = KafkaTopicOperator(
        task_id="provision_topic", topic=topic, partitions=partitions, replication=replication, **more
    )
    return operator.execute({})


def test_a_topic_is_created_once_and_verified_after_that(kafka: Kafka, topic: str) -> None:
    first, second = provision(topic), provision(topic)
    assert first == {"topic": topic, "partitions": 3, "replication": 1, "created": True}
    assert second == first | {"created": False}


def test_a_broker_that_is_away_is_waited_for_and_not_for_ever(kafka: Kafka, topic: str) -> None:
    """It was killed as the run began, on a busy machine: its start took longer than the task's two tries."""
    kafka.service.kill()
    with pytest.raises(KafkaUnreachableError, match=f"Topic {topic}: Kafka at {kafka.bootstrap}"):
        provision(topic, patience_s=1)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(provision, topic)
        with pytest.raises(TimeoutError):
            waiting.result(17)  # its first question has had no answer by then
        kafka.service.start()
        assert waiting.result(120)["created"]


def test_too_few_partitions_are_an_error_with_two_ways_out(kafka: Kafka, topic: str) -> None:
    provision(topic, partitions=1)
    with pytest.raises(TopicDriftError) as error:
        provision(topic)
    assert str(error.value) == (
        f"Topic {topic} has 1 partition, expected 3: raise it with kafka-topics --alter, "
        "or set LOGPIPE_TOPIC_PARTITIONS=1"
    )


def test_too_many_partitions_are_an_error_that_does_not_suggest_the_impossible(
    kafka: Kafka, topic: str
) -> None:
    provision(topic, partitions=4)
    with pytest.raises(
        TopicDriftError, match=r"has 4 partitions, expected 3: partitions cannot be taken away"
    ):
        provision(topic)


def test_every_difference_is_named_at_once(kafka: Kafka, topic: str) -> None:
    provision(topic, topic_config={"retention.ms": "1000"})
    with pytest.raises(TopicDriftError) as error:
        provision(topic, replication=2, topic_config={"retention.ms": "2000"})
    replication, retention = str(error.value).splitlines()
    assert "has 1 replica of a partition, expected 2" in replication
    assert "LOGPIPE_TOPIC_REPLICATION=1" in replication
    assert "retention.ms=1000, expected 2000: set it with kafka-configs --alter" in retention
