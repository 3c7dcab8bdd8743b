"""Waiting for a Flume agent, and supervising it."""

import logging
import time
from contextlib import closing
from dataclasses import dataclass

from logpipe.airflow.hooks.flume_agent import FlumeAgentHook, FlumeMetrics
from logpipe.airflow.hooks.hdfs_directory import HdfsDirectoryHook
from logpipe.airflow.hooks.kafka_topic import KafkaTopicHook, KafkaUnavailableError
from logpipe.airflow.triggers.chain_offsets import chain_reader, chains
from logpipe.airflow.triggers.service import ServiceTrigger
from logpipe.clients.hdfs import HdfsError

log = logging.getLogger(__name__)


@dataclass(kw_only=True, eq=False)
class FlumeAgentTrigger(ServiceTrigger):
    """Healthy is an agent whose metrics endpoint answers with at least its channel.

    One that holds events and drains none for ``stall_after_s`` is told in the log, not killed: what stalls
    a sink is nearly always the system behind it, and a memory channel dies with its agent.

    Attributes:
        topic: with ``consumer_group``, the topic that the agent empties: it is drained at its end.
        logs_dir: where profile durable keeps the chain that tells what is flushed.
    """

    flume_agent_conn_id: str
    topic: str | None = None
    consumer_group: str | None = None
    kafka_conn_id: str = KafkaTopicHook.default_conn_name
    logs_dir: str | None = None
    webhdfs_conn_id: str = HdfsDirectoryHook.default_conn_name
    stall_after_s: float = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kafka = KafkaTopicHook(self.kafka_conn_id)
        self._drained_events = -1
        self._drained_at = time.monotonic()

    async def probe(self) -> str:
        """Return how many events the agent has taken and drained."""
        metrics = await FlumeAgentHook(self.flume_agent_conn_id).metrics()
        self._tell_of_stall(metrics)
        return (
            f"{metrics.received_events} events taken, {metrics.drained_events} drained, "
            f"{metrics.held_events} held in memory"
        )

    def _tell_of_stall(self, metrics: FlumeMetrics) -> None:
        now = time.monotonic()
        if metrics.held_events == 0 or metrics.drained_events != self._drained_events:
            self._drained_events, self._drained_at = metrics.drained_events, now
        elif now - self._drained_at >= self.stall_after_s:
            self._drained_at = now
            self.log.warning(
                "%s has drained nothing for %.0f s, its channel is %.1f %% full with %d events: "
                "look at what it writes to",
                self.service,
                self.stall_after_s,
                metrics.fill_percent,
                metrics.held_events,
            )

    async def undrained(self) -> str:
        """Say how many events the agent still holds, or has not yet taken from its topic."""
        if lag := await self._unread():
            return f"topic {self.topic} has {lag} records that are not in HDFS yet"
        held = (await FlumeAgentHook(self.flume_agent_conn_id).metrics()).held_events
        return f"its channel holds {held} events" if held else ""

    async def _unread(self) -> int:
        """Records that the agent has neither flushed (profile durable) nor taken (profile memory)."""
        if not (self.topic and self.consumer_group):
            return 0
        try:
            ends = await self._kafka.end_offsets(self.topic)
            reached = await self._kafka.committed_offsets(self.consumer_group, self.topic)
            # Profile durable commits with a file's end only: what it has flushed stands in its chain.
            if self.logs_dir and any(reached.get(partition, 0) < end for partition, end in ends.items()):
                topic_id = await self._kafka.topic_id(self.topic)
                with closing(await chain_reader(self.webhdfs_conn_id, self.logs_dir)) as reader:
                    found = await chains(reader)
                for partition, chain in found.items():
                    reached[partition] = max(reached.get(partition, 0), chain.flushed(topic_id))
        except (OSError, KafkaUnavailableError, HdfsError) as error:
            # Nothing comes from a broker that is away, and nothing gets to an HDFS that is.
            log.warning("What is left in topic %s is not known: %s", self.topic, error)
            return 0
        return sum(max(0, end - reached.get(partition, 0)) for partition, end in ends.items())
