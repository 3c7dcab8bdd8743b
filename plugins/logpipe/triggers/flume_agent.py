"""Waiting for a Flume agent, and supervising it."""

import time
from dataclasses import dataclass

from logpipe.hooks.flume_agent import FlumeAgentHook, FlumeMetrics
from logpipe.hooks.kafka_topic import KafkaTopicHook, KafkaUnavailableError
from logpipe.triggers.service import ServiceTrigger


@dataclass(kw_only=True, eq=False)
class FlumeAgentTrigger(ServiceTrigger):
    """Healthy is an agent whose metrics endpoint answers with at least its channel.

    One that holds events and drains none for ``stall_after_s`` is told in the log, not killed: what stalls
    a sink is nearly always the system behind it, and a memory channel dies with its agent.

    Attributes:
        topic: with ``consumer_group``, the topic that the agent empties: it is drained at its end.
    """

    flume_agent_conn_id: str
    topic: str | None = None
    consumer_group: str | None = None
    kafka_conn_id: str = KafkaTopicHook.default_conn_name
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
        if self.topic and self.consumer_group:
            try:
                lag = await self._kafka.lag_records(self.consumer_group, self.topic)
            except KafkaUnavailableError:
                lag = 0  # nothing comes from a broker that is away
            if lag:
                return f"{self.consumer_group} lags {lag} records behind topic {self.topic}"
        held = (await FlumeAgentHook(self.flume_agent_conn_id).metrics()).held_events
        return f"its channel holds {held} events" if held else ""
