"""Waiting until nothing is written into a dated HDFS directory any more."""

import asyncio
import time
from dataclasses import dataclass

from logpipe.hooks.hdfs_directory import HdfsDirectoryHook
from logpipe.hooks.http_service import ServiceUnreachableError
from logpipe.hooks.kafka_topic import KafkaTopicHook, KafkaUnavailableError
from logpipe.triggers.serializable import Event, SerializableTrigger

_IN_USE = ".tmp"  # what Flume's HDFS sink appends to the name of a file that it writes


@dataclass(frozen=True, slots=True)
class PartitionClosedEvent(Event):
    """Whether the directory was closed, and what was still open when time was over."""

    closed: bool
    still_open: str
    files: int
    waited_s: float


@dataclass(kw_only=True, eq=False)
class PartitionClosedTrigger(SerializableTrigger):
    """Fires once a day's records are committed by the agent and no file of the day is being written.

    An in-use file that is older than ``abandoned_after_s`` has no writer: a killed agent left it, and the
    reconciliation recovers it.

    Attributes:
        directory: on HDFS, holds the day's files.
        day_end_epoch_s: records that arrived before it belong to the day.
    """

    directory: str
    day_end_epoch_s: float
    topic: str
    consumer_group: str
    abandoned_after_s: float
    deadline_epoch_s: float
    kafka_conn_id: str = KafkaTopicHook.default_conn_name
    webhdfs_conn_id: str = HdfsDirectoryHook.default_conn_name
    poll_interval_s: float = 5

    async def event(self) -> PartitionClosedEvent:
        """Look until closed, or until time is over."""
        started = time.monotonic()
        told = ""
        while True:
            files = 0
            try:
                files, still_open = await self.look()
            except (ServiceUnreachableError, KafkaUnavailableError) as error:
                still_open = str(error)
            waited_s = round(time.monotonic() - started, 1)
            if not still_open or time.time() + self.poll_interval_s > self.deadline_epoch_s:
                return PartitionClosedEvent(not still_open, still_open, files, waited_s)
            if still_open != told:
                told = still_open
                self.log.info("Still open: %s", still_open)
            await asyncio.sleep(self.poll_interval_s)

    async def look(self) -> tuple[int, str]:
        """Count the files, and say what is still open; empty when nothing is."""
        kafka = KafkaTopicHook(self.kafka_conn_id)
        ends = await kafka.offsets_at(self.topic, self.day_end_epoch_s)
        committed = await kafka.committed_offsets(self.consumer_group, self.topic)
        lag = sum(max(0, end - committed.get(partition, 0)) for partition, end in ends.items())
        files = await HdfsDirectoryHook(self.webhdfs_conn_id).files(self.directory) or []
        if lag:
            return len(files), f"{self.consumer_group} has {lag} records of the day still to write"
        young_ms = (time.time() - self.abandoned_after_s) * 1000
        in_use = [file.name for file in files if file.name.endswith(_IN_USE) and file.modified_ms > young_ms]
        return len(files), f"{', '.join(in_use)} in {self.directory} is being written" if in_use else ""
