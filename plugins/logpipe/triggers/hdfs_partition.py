"""Waiting until everything that was sent stands in a dated HDFS directory and in the windows."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from logpipe.hooks.flume_agent import FlumeAgentHook
from logpipe.hooks.hdfs_directory import HdfsDirectoryHook
from logpipe.hooks.http_service import ServiceUnreachableError
from logpipe.hooks.kafka_topic import KafkaTopicHook, KafkaUnavailableError
from logpipe.triggers.serializable import Event, SerializableTrigger
from logpipe.triggers.window_offsets import window_offsets


@dataclass(frozen=True, slots=True)
class HdfsPartitionEvent(Event):
    """What the directories held when all was drained, or what was still missing when time was over."""

    complete: bool
    files: tuple[str, ...]
    missing: str
    waited_s: float


@dataclass(kw_only=True, eq=False)
class HdfsPartitionTrigger(SerializableTrigger):
    """Fires once nothing is under way any more and one of the directories holds a file.

    The stages are looked at in the direction of the flow, so that a line that leaves one is seen in the
    next: first agent, topic, last agent, directories; and the Spark query by its checkpoint.
    """

    directories: Sequence[str]
    topic: str
    consumer_group: str
    first_agent_conn_id: str
    last_agent_conn_id: str
    deadline_epoch_s: float
    checkpoint_dir: str | None = None
    kafka_conn_id: str = KafkaTopicHook.default_conn_name
    webhdfs_conn_id: str = HdfsDirectoryHook.default_conn_name
    poll_interval_s: float = 1
    log_interval_s: float = 10

    async def event(self) -> HdfsPartitionEvent:
        """Wait until drained, or until time is over."""
        kafka = KafkaTopicHook(self.kafka_conn_id)
        started = time.monotonic()
        deadline_s = self.deadline_s(self.deadline_epoch_s)
        logged = 0.0
        while True:
            files: tuple[str, ...] = ()
            try:
                missing = await self.missing(kafka)
                files = await self.files()
                missing = missing or ("" if files else f"no file in {' or '.join(self.directories)}")
            except (ServiceUnreachableError, KafkaUnavailableError) as error:
                missing = str(error)
            waited_s = round(time.monotonic() - started, 1)
            if not missing or time.monotonic() > deadline_s:
                return HdfsPartitionEvent(not missing, files, missing, waited_s)
            if time.monotonic() - logged >= self.log_interval_s:
                logged = time.monotonic()
                self.log.info("Waiting: %s", missing)
            await asyncio.sleep(self.poll_interval_s)

    async def missing(self, kafka: KafkaTopicHook) -> str:
        """Say what is still under way; empty when nothing is."""
        if held := (await FlumeAgentHook(self.first_agent_conn_id).metrics()).held_events:
            return f"{held} events in the channel of {self.first_agent_conn_id}"
        ends = await kafka.end_offsets(self.topic)
        committed = await kafka.committed_offsets(self.consumer_group, self.topic)
        if lag := _behind(ends, committed):
            return f"consumer group {self.consumer_group} lags {lag} records behind topic {self.topic}"
        if held := (await FlumeAgentHook(self.last_agent_conn_id).metrics()).held_events:
            return f"{held} events in the channel of {self.last_agent_conn_id}"
        if self.checkpoint_dir:
            covered = await window_offsets(self.webhdfs_conn_id, self.checkpoint_dir)
            if lag := _behind(ends, covered):
                return f"the windows are {lag} records behind topic {self.topic}"
        return ""

    async def files(self) -> tuple[str, ...]:
        """List the paths of the files in all the directories."""
        hdfs = HdfsDirectoryHook(self.webhdfs_conn_id)
        return tuple(
            [
                f"{directory}/{file.name}"
                for directory in self.directories
                for file in await hdfs.files(directory) or ()
            ]
        )


def _behind(ends: dict[int, int], reached: dict[int, int]) -> int:
    return sum(max(0, end - reached.get(partition, 0)) for partition, end in ends.items())
