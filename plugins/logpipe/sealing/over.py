"""Whether a day is over: every chain has passed the first record at or after its midnight."""

import time
from datetime import UTC, date, datetime

from confluent_kafka import KafkaException

from logpipe.accounting.chain import ChainReader
from logpipe.accounting.topic import TIMEOUT_S, describe, offsets_at
from logpipe.clients.hdfs import Hdfs
from logpipe.committed import committed_offsets
from logpipe.contracts.days import end_of_day_ms
from logpipe.settings import Settings


class NotOverError(Exception):
    """The day is not over yet; the message says what is missing."""


def still_missing(hdfs: Hdfs, settings: Settings, day: date) -> str:
    """What is missing for the day to be over, for a person; empty when it is.

    Where no record came after midnight, the end offset read after midnight stands for it. So an idle topic,
    and one whose records retention took, end their days as well.

    Raises:
        TopicError, HdfsError, ChainError: Kafka or HDFS does not answer, or a link cannot be read.
    """
    end_ms = end_of_day_ms(day, settings.timezone)
    if time.time() * 1000 < end_ms:
        return f"{day} ends at {datetime.fromtimestamp(end_ms / 1000, UTC):%Y-%m-%d %H:%M:%S} UTC"
    now = describe(settings).topic_id
    chains = ChainReader(hdfs, settings.hdfs_logs_dir).chains()
    behind = []
    late: dict[int, int] = {}
    for partition, offset in sorted(offsets_at(settings, end_ms).items()):
        reached = chains[partition].final(now) if partition in chains else 0
        if reached < offset:
            late[partition] = reached
            behind.append(f"partition {partition}: {offset - reached} records before offset {offset}")
    if not behind:
        return ""
    return f"agent 2 has not made final all of {day}: {'; '.join(behind)}{_hint(settings, late)}"


def _hint(settings: Settings, late: dict[int, int]) -> str:
    """Why it may stay so: profile memory reads on, and makes no links."""
    client = {"bootstrap.servers": settings.kafka_bootstrap}
    try:
        read = committed_offsets(client, settings.consumer_group, settings.topic, late, TIMEOUT_S)
    except KafkaException:
        return ""
    if any(read.get(partition, 0) > reached for partition, reached in late.items()):
        return ". Profile memory has read on: agent 2 of profile durable takes that over when it starts"
    return ""
