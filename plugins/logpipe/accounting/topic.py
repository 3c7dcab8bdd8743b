"""What the accounting asks Kafka about the pipeline's topic, and about agent 2's group."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from logpipe.clients.kafka import Kafka, Record, Topic
from logpipe.settings import Settings


def describe(settings: Settings) -> Topic:
    """Ask for the topic as it is.

    Raises:
        TopicError: no broker, or no such topic.
    """
    return Kafka.of(settings).offsets(settings.topic)


def end_offsets(settings: Settings) -> dict[int, tuple[int, int]]:
    """First offset and end offset of every partition. Raises as `describe`."""
    return describe(settings).offsets


def committed(settings: Settings, partitions: Iterable[int]) -> dict[int, int]:
    """What agent 2's group has committed; a partition without a commit is left out.

    Raises:
        TopicError: no broker answers.
    """
    return Kafka.of(settings).committed(settings.consumer_group, settings.topic, partitions)


def further(flushed: dict[int, int], committed: dict[int, int]) -> dict[int, int]:
    """Of each partition the offset that agent 2 has reached, by its files or by its group."""
    return {number: max(flushed.get(number, 0), committed.get(number, 0)) for number in flushed | committed}


def offsets_at(settings: Settings, timestamp_ms: int) -> dict[int, int]:
    """As `Kafka.offsets_at`, of the pipeline's topic."""
    return Kafka.of(settings).offsets_at(settings.topic, timestamp_ms)


def records(settings: Settings, ranges: dict[int, tuple[int, int]] | None = None) -> Iterator[Record]:
    """As `Kafka.records`, of the pipeline's topic."""
    return Kafka.of(settings).records(settings.topic, ranges)


@dataclass(frozen=True)
class Unread:
    """What agent 2 has not read of a partition: lines, those that retention took, and the oldest's time.

    ``timestamp_ms`` is None when all was read, or when it could not be read.
    """

    lines: int
    expired_lines: int
    timestamp_ms: int | None


def oldest_unread(settings: Settings) -> list[Unread]:
    """How far agent 2 is behind in each partition; where it has committed nothing, it begins at the first.

    Raises:
        TopicError: no broker, or no such topic.
    """
    ends = end_offsets(settings)
    taken = {number: first for number, (first, _) in ends.items()} | committed(settings, ends)
    oldest = {
        number: max(first, taken[number]) for number, (first, end) in ends.items() if end > taken[number]
    }
    times_ms = Kafka.of(settings).timestamps_ms(settings.topic, oldest)
    return [
        Unread(end - taken[number], max(0, first - taken[number]), times_ms.get(number))
        for number, (first, end) in ends.items()
    ]


def retention_s(settings: Settings) -> float | None:
    """For how long the topic keeps a record; None: for ever.

    Raises:
        TopicError: no broker, or no such topic.
    """
    kept_ms = int(Kafka.of(settings).config(settings.topic)["retention.ms"])
    return None if kept_ms < 0 else kept_ms / 1000
