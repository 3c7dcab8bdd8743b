"""Where a day lies in the topic: offsets by time, what retention took, how far agent 2 has come."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from confluent_kafka import KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from logpipe.committed import committed_offsets
from reconciliation.day import Day
from reconciliation.errors import ReconcileError

TIMEOUT_S = 30.0
_POLL_S = 0.2
_NOT_YET = (
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.NOT_COORDINATOR,
)


@dataclass(frozen=True)
class Gap:
    """A part of a day that retention took from one Kafka partition.

    Attributes:
        partition: Of the topic.
        before_offset: The gap ends before this offset, the first that is left.
        from_ms: Start of the gap in the day, since the epoch.
        to_ms: Its end.
    """

    partition: int
    before_offset: int
    from_ms: int
    to_ms: int


@dataclass(frozen=True)
class Span:
    """The offsets to read for a day, by partition: ``[start, stop)``, and before it ``[earliest, start)``."""

    earliest: dict[int, int]
    start: dict[int, int]
    stop: dict[int, int]

    @property
    def day(self) -> dict[int, tuple[int, int]]:
        """What holds the day's records."""
        return {
            partition: (start, max(start, self.stop[partition])) for partition, start in self.start.items()
        }

    @property
    def before(self) -> dict[int, tuple[int, int]]:
        """What the topic still holds of the time before."""
        return {partition: (self.earliest[partition], start) for partition, start in self.start.items()}


class Topic:
    """A topic, asked for offsets.

    Raises:
        ReconcileError: the broker does not answer, or there is no such topic.
    """

    def __init__(self, bootstrap: str, name: str, group: str) -> None:
        self.name = name
        self._bootstrap = bootstrap
        self._group = group
        self._admin = AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})
        described = self._answer(self._admin.describe_topics(TopicCollection([name]))[name])
        self._partitions = [partition.id for partition in described.partitions]
        offsets = self._offsets(OffsetSpec.earliest())
        self.earliest = {partition: offset for partition, (offset, _) in offsets.items()}
        self.end = {
            partition: offset for partition, (offset, _) in self._offsets(OffsetSpec.latest()).items()
        }
        # A time of the oldest record that is left; None where there is none.
        self._oldest_ms = {
            partition: timestamp_ms if offset >= 0 else None
            for partition, (offset, timestamp_ms) in self._offsets(OffsetSpec.for_timestamp(0)).items()
        }

    def _answer(self, future: Any) -> Any:
        try:
            return future.result(TIMEOUT_S)
        except (KafkaException, TimeoutError) as error:
            raise self._failure(error) from None

    def _from_coordinator(self, ask: Callable[[], Any]) -> Any:
        """Ask the group's coordinator, which may be loading the group's state."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            try:
                return ask()
            except KafkaException as error:
                if error.args[0].code() not in _NOT_YET or time.monotonic() > end:
                    raise
                time.sleep(_POLL_S)

    def _failure(self, error: KafkaException | TimeoutError) -> ReconcileError:
        """What to tell of an answer that is an error."""
        if isinstance(error, TimeoutError):
            return ReconcileError(
                f"Kafka at {self._bootstrap} did not answer in {TIMEOUT_S:.0f} s: start it or set --bootstrap"
            )
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return ReconcileError(
                f"Kafka at {self._bootstrap} has no topic {self.name}: run the pipeline, or give --topic"
            )
        return ReconcileError(f"Kafka at {self._bootstrap}, topic {self.name}: {error.args[0].str()}")

    def _offsets(self, spec: OffsetSpec) -> dict[int, tuple[int, int]]:
        """Offset and record time (-1: not told) by partition."""
        asked = {TopicPartition(self.name, partition): spec for partition in self._partitions}
        futures = self._admin.list_offsets(asked, request_timeout=TIMEOUT_S)
        found = {}
        for place, future in futures.items():
            answer = self._answer(future)
            found[place.partition] = (answer.offset, answer.timestamp)
        return found

    def first_offsets_from(self, time_ms: int) -> dict[int, int]:
        """The first offset of each partition whose record is not older than ``time_ms``, or its end."""
        found = self._offsets(OffsetSpec.for_timestamp(time_ms))
        # Records that came since this object was made are left for the next run.
        return {
            partition: min(offset, self.end[partition]) if offset >= 0 else self.end[partition]
            for partition, (offset, _) in found.items()
        }

    def span(self, day: Day, late_records_ms: int) -> Span:
        """The offsets that can hold records of a day; a clock may run behind by ``late_records_ms``."""
        return Span(
            self.earliest,
            self.first_offsets_from(day.start_ms),
            self.first_offsets_from(day.end_ms + late_records_ms),
        )

    def gaps(self, day: Day) -> list[Gap]:
        """The parts of a day that retention took, or may have taken."""
        gaps = []
        for partition, earliest in self.earliest.items():
            oldest_ms = self._oldest_ms[partition]
            if earliest > 0 and (oldest_ms is None or oldest_ms >= day.start_ms):
                until_ms = day.end_ms if oldest_ms is None else min(oldest_ms, day.end_ms)
                gaps.append(Gap(partition, earliest, day.start_ms, until_ms))
        return gaps

    def has_agent(self) -> bool:
        """Tell whether a consumer of the group is alive."""
        try:
            described = self._from_coordinator(
                lambda: self._admin.describe_consumer_groups([self._group])[self._group].result(TIMEOUT_S)
            )
        except (KafkaException, TimeoutError) as error:
            raise self._failure(error) from None
        return bool(described.members)

    def unwritten(self, day: Day) -> int:
        """Records up to the day's end that the group has not committed yet."""
        ends = self.first_offsets_from(day.end_ms)
        starts = self.first_offsets_from(day.start_ms)
        committed = self._committed()
        return sum(
            max(0, end - max(committed.get(partition, 0), starts[partition]))
            for partition, end in ends.items()
        )

    def _committed(self) -> Mapping[int, int]:
        client = {"bootstrap.servers": self._bootstrap}
        try:
            return committed_offsets(client, self._group, self.name, self._partitions, TIMEOUT_S)
        except KafkaException as error:
            raise self._failure(error) from None

    def arrived_since(self, day: Day, time_ms: int) -> bool:
        """Tell whether a record of the day arrived since then."""
        if time_ms >= day.end_ms:
            return False
        since = self.first_offsets_from(max(time_ms, day.start_ms))
        return any(end > since[partition] for partition, end in self.first_offsets_from(day.end_ms).items())
