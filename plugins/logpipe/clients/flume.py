"""A Flume agent, watched through its metrics."""

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from logpipe.clients.errors import NobodyListensError, UnreachableError
from logpipe.clients.http import HttpService
from logpipe.settings import PROJECT_DIR, Settings

FLUME_CONF_DIR = PROJECT_DIR / "flume_conf"

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


@dataclass(frozen=True, slots=True)
class AgentFiles:
    """A Flume agent, as its files say: ``<profile>/agent<number>.properties``.

    Attributes:
        number: 1, 2, …
        texts: delivery profile to the text of its file.
    """

    number: int
    texts: Mapping[str, str]

    @classmethod
    def found(cls, flume_conf: Path = FLUME_CONF_DIR) -> list[Self]:
        """All agents, by number: an agent is its files."""
        texts: defaultdict[int, dict[str, str]] = defaultdict(dict)
        for path in sorted(flume_conf.glob("*/agent[0-9]*.properties")):
            texts[int(path.stem.removeprefix("agent"))][path.parent.name] = path.read_text()
        return [cls(number, texts[number]) for number in sorted(texts)]

    @property
    def empties_topic(self) -> bool:
        """Whether it reads the pipeline's topic."""
        return any("LOGPIPE_CONSUMER_GROUP" in text for text in self.texts.values())


class FlumeAgent(HttpService):
    """Reads ``/metrics`` of an agent.

    Both forms are understood: the JSON of Flume's own ``flume.monitoring.type=http``, and the Prometheus
    text of the JMX exporter with names like ``flume_channel_ChannelSize{component="memory"}``.
    """

    what = "Flume agent"
    timeout_s = 5
    alive_path = "/metrics"
    alive_pattern = "^flume_channel_"  # it has begun
    label = "it"  # what to call it where its place does not matter

    @classmethod
    def of(cls, settings: Settings, number: int, hosts: Sequence[str] = ()) -> Self:
        """Agent 1, 2, … of the pipeline, at one of the hosts; without any at the settings'."""
        port = settings.port(f"agent{number}_metrics_port")
        made = cls(hosts or [settings.host], port, known_as=f"agent {number}")
        made.label = f"agent {number}"
        return made

    def metrics(self) -> FlumeMetrics:
        """Return the agent's counters.

        Raises:
            UnreachableError: no answer, or one without the counters of a channel.
        """
        answer = self.call("GET", self.alive_path)
        try:
            read = _from_json if answer.text.startswith("{") else _from_prometheus
            return FlumeMetrics.of(read(answer.text))
        except (ValueError, KeyError) as error:
            raise UnreachableError(f"{self} is not ready (HTTP {answer.status_code}): {error}") from error

    def told_held(self) -> str:
        """What it would lose if it died, for a person; empty when nothing."""
        held = self.held_events()
        if held is None:
            return f"{self.label} runs and does not say what it holds"
        return f"{self.label} holds {held} lines" if held else ""

    def held_events(self) -> int | None:
        """Lines in its memory channels; 0 when it does not run, None when it runs and does not say."""
        try:
            return self.metrics().held_events
        except NobodyListensError:
            return 0
        except UnreachableError:
            return None


@dataclass(frozen=True, slots=True)
class Agents:
    """The Flume agents by what they do: bring lines to the topic, and from there to HDFS."""

    filling: tuple[FlumeAgent, ...]
    emptying: tuple[FlumeAgent, ...]

    @classmethod
    def of(cls, settings: Settings) -> Self:
        """The pipeline's."""
        filling, emptying = (
            tuple(
                FlumeAgent.of(settings, agent.number)
                for agent in AgentFiles.found()
                if agent.empties_topic == empties_topic
            )
            for empties_topic in (False, True)
        )
        return cls(filling, emptying)


def held_events(agents: Iterable[FlumeAgent]) -> int | None:
    """Lines in their memory channels; None when one runs and does not say."""
    held = [agent.held_events() for agent in agents]
    return None if None in held else sum(each or 0 for each in held)


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
