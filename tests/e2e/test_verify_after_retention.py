"""What Kafka's retention took stays accounted for, by sums."""

import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.last(1)]

TAKEN = 100


def test_lines_that_retention_took_are_not_lost(pipeline, first_run):
    settings = pipeline.settings()
    _, before = pipeline.verify()
    admin = AdminClient({"bootstrap.servers": settings.kafka_bootstrap})
    for future in admin.delete_records([TopicPartition(settings.topic, 0, TAKEN)]).values():
        future.result(30)
    status, after = pipeline.verify()
    answer = pipeline.command("repair")
    assert "sent again" not in answer.stdout + answer.stderr
    assert (after, status) == (before, 0)
