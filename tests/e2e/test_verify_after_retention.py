"""What Kafka's retention took is told, and is neither lost nor sent again. Runs last: the topic shrinks."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

TAKEN = 100


def test_lines_that_retention_took_are_not_lost(pipeline, first_run):
    settings = pipeline.settings()
    _, before = pipeline.verify()
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    for future in admin.delete_records([TopicPartition(settings.topic, 0, TAKEN)]).values():
        future.result(30)
    answer = pipeline.command("verify")
    assert f"retention has taken {TAKEN} records" in answer.stdout
    status, after = pipeline.verify()
    assert (after, status) == (before | {"topic": before["topic"] - TAKEN}, 0)
    answer = pipeline.command("repair")
    assert "sent again" not in answer.stdout + answer.stderr
