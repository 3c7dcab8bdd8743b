"""Waiting until everything that was sent stands in a dated HDFS directory and in the windows."""

import asyncio
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from logpipe.airflow.hooks.flume_agent import FlumeAgentHook
from logpipe.airflow.hooks.hdfs_directory import HdfsDirectoryHook, HdfsError
from logpipe.airflow.hooks.kafka_topic import KafkaTopicHook, KafkaUnavailableError, Offsets
from logpipe.airflow.triggers.chain_offsets import chain_reader, chains
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger
from logpipe.airflow.triggers.window_offsets import window_offsets

if TYPE_CHECKING:
    from logpipe.accounting.chain import ChainReader

ASK_AGAIN_S = 10.0  # an agent 2 that was started since does not heed what was asked before


@dataclass(frozen=True, slots=True)
class HdfsPartitionEvent(Event):
    """What the directories held when all was drained, or what was still missing when time was over."""

    complete: bool
    files: tuple[str, ...]
    missing: str
    waited_s: float


@dataclass(kw_only=True, eq=False)
class HdfsPartitionTrigger(SerializableTrigger):
    """Fires once all that was sent when it began has arrived, and one of the directories holds a file.

    The stages are looked at in the direction of the flow, so that a line that leaves one is seen in the
    next: first agent, topic, last agent by its chain of links, directories; and the Spark query by its
    checkpoint. Agent 2 is asked to make its files final once all is flushed.
    """

    logs_dir: str
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

    def __post_init__(self) -> None:
        super().__post_init__()
        self._topic_id = ""
        self._ends: Offsets = {}  # where the topic ended when the wait began: a busy one never stands still
        self._reader: ChainReader | None = None
        self._asked_s = -math.inf

    async def event(self) -> HdfsPartitionEvent:
        """Wait until drained, or until time is over."""
        from logpipe.accounting.windows import WindowsError
        from logpipe.clients.hdfs import HdfsError as ClientHdfsError

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
            except (OSError, KafkaUnavailableError, HdfsError, ClientHdfsError, WindowsError) as error:
                missing = str(error)
            waited_s = round(time.monotonic() - started, 1)
            if not missing or time.monotonic() > deadline_s:
                return HdfsPartitionEvent(not missing, files, missing, waited_s)
            if time.monotonic() - logged >= self.log_interval_s:
                logged = time.monotonic()
                self.log.info("Waiting: %s", missing)
            await asyncio.sleep(self.poll_interval_s)

    async def missing(self, kafka: KafkaTopicHook) -> str:
        """Say what is still under way of what had been sent when the wait began; empty when nothing is."""
        if not self._ends:
            if held := (await FlumeAgentHook(self.first_agent_conn_id).metrics()).held_events:
                return f"{held} events in the channel of {self.first_agent_conn_id}"
            self._topic_id = await kafka.topic_id(self.topic)
            self._ends = await kafka.end_offsets(self.topic)
        self._reader = self._reader or await chain_reader(self.webhdfs_conn_id, self.logs_dir)
        found = await chains(self._reader)
        flushed = {partition: chain.flushed(self._topic_id) for partition, chain in found.items()}
        is_memory = False
        if _behind(self._ends, flushed):
            # Profile memory makes no links: what its group has committed is in its channel, or in HDFS.
            committed = await kafka.committed_offsets(self.consumer_group, self.topic)
            found = await chains(self._reader)  # again: agent 2 commits behind a link
            flushed = {partition: chain.flushed(self._topic_id) for partition, chain in found.items()}
            is_memory = any(offset > flushed.get(partition, 0) for partition, offset in committed.items())
            reached = {
                partition: max(flushed.get(partition, 0), committed.get(partition, 0))
                for partition in self._ends
            }
            if lag := _behind(self._ends, reached):
                return f"HDFS is {lag} records behind topic {self.topic}"
            if held := (await FlumeAgentHook(self.last_agent_conn_id).metrics()).held_events:
                return f"{held} events in the channel of {self.last_agent_conn_id}"
        if self.checkpoint_dir:
            covered = await window_offsets(self.webhdfs_conn_id, self.checkpoint_dir)
            if lag := _behind(self._ends, covered):
                return f"the windows are {lag} records behind topic {self.topic}"
        final = {partition: chain.final(self._topic_id) for partition, chain in found.items()}
        if not is_memory and (open_records := _behind(self._ends, final)):
            if time.monotonic() - self._asked_s >= ASK_AGAIN_S:
                await asyncio.to_thread(self._reader.finish)
                self._asked_s = time.monotonic()
            return f"{open_records} records are in HDFS, and their files not yet final"
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
