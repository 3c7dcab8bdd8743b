"""What the page's service knows, as metrics for Prometheus: lines by stage, what is missing, how late.

What is not known has no sample: a missing figure is no zero.
"""

from collections.abc import Iterator
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector, CollectorRegistry

from logpipe.page.flow import Flow

_STATES = ("well", "late", "away", "stopped", "unknown")


class FlowCollector(Collector):
    """The flow's stations and the accounting, as they were last heard."""

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def collect(self) -> Iterator[Metric]:
        """Read each figure once."""
        answer = self._flow.answer()
        yield from _stations(answer["stations"])
        if answer["accounting"] is not None:
            yield from _accounting(answer["accounting"])
        yield from _sources(self._flow)


def _stations(stations: list[dict[str, Any]]) -> Iterator[Metric]:
    lines = CounterMetricFamily("logpipe_lines", "Lines that have passed a stage", labels=["stage"])
    behind = GaugeMetricFamily("logpipe_behind_lines", "Records that a stage has not taken", labels=["stage"])
    late = GaugeMetricFamily("logpipe_behind_seconds", "Age of the oldest of these", labels=["stage"])
    state = GaugeMetricFamily("logpipe_stage_state", "1 for the state of a stage", labels=["stage", "state"])
    windows = {
        name: CounterMetricFamily(f"logpipe_windows_{name}", text)
        for name, text in (
            ("malformed", "Lines that could not be parsed; they are counted"),
            ("late_lines", "Lines that came after their window was closed; they are counted"),
            ("repeats", "Records that were not counted, since their identity had been"),
        )
    }
    for station in stations:
        name = [station["name"]]
        for family, value in (
            (lines, station["lines"]),
            (behind, station["behind"]),
            (late, station["behind_s"]),
        ):
            if value is not None:
                family.add_metric(name, value)
        for each in _STATES:
            state.add_metric([*name, each], each == station["state"])
        for figure, counter in windows.items():
            if figure in station:
                counter.add_metric([], station[figure])
    yield from (lines, behind, late, state, *windows.values())


def _accounting(found: dict[str, Any]) -> Iterator[Metric]:
    for name, text, value in (
        ("lines_lost", "Lines that cannot arrive any more by themselves", found["lost"]),
        ("lines_doubled", "Lines that arrived more than once", found["doubled"]),
        ("lines_in_flight", "Lines that were sent, and are not everywhere yet", found["in_flight"]),
        ("accounting_problems", "What is wrong on HDFS", len(found["problems"])),
        ("accounting_timestamp_seconds", "When all was last added up, Unix time", found["at"]),
    ):
        yield GaugeMetricFamily(f"logpipe_{name}", text, value=value)


def _sources(flow: Flow) -> Iterator[Metric]:
    up = GaugeMetricFamily("logpipe_source_up", "Whether what is watched answers", labels=["source"])
    heard = GaugeMetricFamily(
        "logpipe_source_heard_timestamp_seconds", "When it last answered, Unix time", labels=["source"]
    )
    for source in flow.sources.all():
        said = source.heard
        if said.at_s or said.error:
            up.add_metric([source.name], not said.error)
        if said.at_s:
            heard.add_metric([source.name], said.at_s)
    yield from (up, heard)


class Metrics:
    """All collectors of the service."""

    def __init__(self, *collectors: Collector) -> None:
        self._registry = CollectorRegistry()
        for collector in collectors:
            self._registry.register(collector)

    def text(self, accept: str) -> tuple[bytes, str]:
        """The metrics in the form that an ``Accept`` header asks for, and its content type."""
        encoder, content_type = choose_encoder(accept)
        return encoder(self._registry), content_type
