"""A Flume agent, watched through its metrics."""

import json
import re
from collections import defaultdict
from dataclasses import dataclass
from typing import ClassVar, Self

from logpipe.airflow.hooks.http_service import HttpServiceHook, ServiceUnreachableError

Counters = dict[str, float]
Components = dict[str, Counters]  # "CHANNEL.memory" -> counter name -> value

_PROMETHEUS_SAMPLE = re.compile(
    r'^flume_(source|channel|sink)_(\w+)\{component="([^"]*)",?\} (\S+)', re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class FlumeMetrics:
    """Counts of events since the agent's start, summed over its components.

    A Kafka channel keeps its events in the topic and reports no capacity; only channels with one are
    counted in ``held_events``, since only those lose what they hold when the agent dies.
    """

    received_events: int
    drained_events: int
    held_events: int
    fill_percent: float

    @classmethod
    def of(cls, components: Components) -> Self:
        """Sum up; raises KeyError when a channel lacks a counter, ValueError when there is none."""
        channels = [counters for name, counters in components.items() if name.startswith("CHANNEL.")]
        if not channels:
            raise ValueError("it tells of no channel")
        bounded = [counters for counters in channels if counters["ChannelCapacity"] > 0]
        held = sum(
            counters["EventPutSuccessCount"] - counters["EventTakeSuccessCount"] for counters in bounded
        )
        return cls(
            received_events=int(sum(counters["EventPutSuccessCount"] for counters in channels)),
            drained_events=int(
                sum(counters.get("EventDrainSuccessCount", 0) for counters in components.values())
            ),
            held_events=int(held),
            fill_percent=max((counters["ChannelFillPercentage"] for counters in bounded), default=0.0),
        )


class FlumeAgentHook(HttpServiceHook):
    """Reads ``/metrics`` of the agent at a connection's host and port.

    Both forms are understood: the JSON of Flume's own ``flume.monitoring.type=http``, and the Prometheus
    text of the JMX exporter with names like ``flume_channel_ChannelSize{component="memory"}``.
    """

    conn_name_attr = "flume_agent_conn_id"
    default_conn_name: ClassVar[str] = "flume_agent1_default"
    hook_name: ClassVar[str] = "Flume agent"
    timeout_s = 5

    def __init__(self, flume_agent_conn_id: str = default_conn_name) -> None:
        super().__init__(flume_agent_conn_id)

    async def metrics(self) -> FlumeMetrics:
        """Return the agent's counters.

        Raises:
            ServiceUnreachableError: no answer, or one without the counters of a channel.
        """
        reply = await self.call("GET", "/metrics")
        text = reply.body.decode(errors="replace")
        try:
            return FlumeMetrics.of(_from_json(text) if text.startswith("{") else _from_prometheus(text))
        except (ValueError, KeyError) as error:
            raise ServiceUnreachableError(
                f"The Flume agent of connection {self.conn_id} is not ready (HTTP {reply.status}): {error}"
            ) from error


def _from_json(text: str) -> Components:
    """Flume's own form: every value is a text, and some are no numbers."""
    components: dict[str, dict[str, str]] = json.loads(text)
    return {
        name: {
            counter: float(value) for counter, value in counters.items() if counter not in {"Type", "type"}
        }
        for name, counters in components.items()
    }


def _from_prometheus(text: str) -> Components:
    components: defaultdict[str, Counters] = defaultdict(dict)
    for kind, counter, component, value in _PROMETHEUS_SAMPLE.findall(text):
        components[f"{kind.upper()}.{component}"][counter] = float(value)
    return components
