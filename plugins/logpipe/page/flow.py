"""The flow: each station on a line's way, how fast lines pass it, and how far it is behind."""

import threading
import time
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from logpipe.clients.process_host import Process
from logpipe.digest import Digest
from logpipe.page.meter import Arrivals, Meter
from logpipe.page.sources import Sources
from logpipe.page.watched import Watched
from logpipe.replayer.record import ReplayRecord
from logpipe.settings import Settings

LATE_S = 60.0  # a station that is so far behind is said to be
MAX_REPLAYS = 50
_PARTS = {
    "source": "replayer", "agent1": "flume-agent1", "topic": "kafka", "agent2": "flume-agent2",
    "hdfs": "namenode", "windows": "analytics",
}  # fmt: skip


@dataclass
class Flow:
    """Makes the page's first view of what the sources last said.

    Rates are those of the last seconds; how long lines have waited is known for as long as this has watched.
    """

    settings: Settings
    sources: Sources
    _meters: dict[str, Meter] = field(default_factory=dict)
    _arrivals: Arrivals = field(default_factory=Arrivals)
    _counted_at: dict[str, float] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)  # many ask at once

    def answer(self) -> dict[str, Any]:
        """The stations in the direction of the flow, the accounting, and which sources do not answer."""
        with self._lock:
            self.count()
            return {
                "stations": [
                    self._source(), self._agent(1), self._topic(), self._agent(2), self._hdfs(),
                    self._windows(),
                ],
                "accounting": self._accounting(),
                "away": {
                    source.name: state for source in self.sources.all() if (state := source.state())
                },
            }  # fmt: skip

    def count(self) -> None:
        """Take note of the counters, each with the time at which it was read."""
        with self._lock:
            self._count()

    def _count(self) -> None:
        sources = self.sources
        self._take("source", sources.sent, lambda value: _sent(*value))
        self._take("agent1", sources.agents[0], lambda value: value.received_events)
        self._take("topic", sources.topic, lambda value: sum(value.ends.values()))
        self._take("hdfs", sources.chains, lambda value: sum(c.totals.digest.lines for c in value.values()))
        self._take("agent2", sources.chains, lambda value: sum(c.totals.digest.lines for c in value.values()))
        self._take("windows", sources.windows, lambda value: value.commit.lines if value else 0)
        topic = sources.topic.heard
        if topic.value is not None:
            self._arrivals.add(sum(topic.value.ends.values()), topic.at_s)
        sent = sources.sent.heard
        running = {one.spec.replay_id: one for one in (sent.value or ([], None))[0] if one.state == "running"}
        for replay, record in running.items():
            self._meters.setdefault(f"replay {replay}", Meter()).add(record.digest.lines, sent.at_s)
        for name in [name for name in self._meters if name.startswith("replay ")]:
            if name.removeprefix("replay ") not in running:
                del self._meters[name]

    def _take(self, name: str, source: Watched[Any], count: Any) -> None:
        heard = source.heard
        if heard.value is not None and self._counted_at.get(name) != heard.at_s:
            self._counted_at[name] = heard.at_s
            self._meters.setdefault(name, Meter()).add(count(heard.value), heard.at_s)

    # ------------------------------------------------------------------ stations

    def _station(
        self, name: str, source: Watched[Any], lines: int | None, reached: int | None = None, **more: Any
    ) -> dict[str, Any]:
        topic = self.sources.topic.heard.value
        behind = behind_s = None
        if reached is not None and topic is not None:
            behind = reached
            behind_s = self._arrivals.behind_s(sum(topic.ends.values()) - behind) if behind else 0.0
        meter = self._meters.get(name)
        rate = meter.per_s if meter else None
        process = self._process(_PARTS[name])
        state, why = self._health(source, process, behind_s)
        return {
            "name": name,
            "lines": lines,
            "per_s": None if rate is None else round(rate, 1 if rate < 10 else 0),
            "behind": behind,
            "behind_s": None if behind_s is None else round(behind_s),
            "state": state,
            "why": why,
            "process": process and {
                "name": process.label, "state": process.state, "began": _began(process),
            },
            **more,
        }  # fmt: skip

    def _process(self, service: str) -> Process | None:
        known = self.sources.processes.heard.value or []
        found = [process for process in known if process.service == service]
        return next((process for process in found if process.up), found[0] if found else None)

    @staticmethod
    def _health(source: Watched[Any], process: Process | None, behind_s: float | None) -> tuple[str, str]:
        """One word, and why: ``stopped``, ``away``, ``late``, ``unknown`` or ``well``."""
        heard = source.heard
        if process is not None and process.stopped_on_request:
            return "stopped", "it was stopped"
        if process is not None and not process.up and not process.was_started:
            return "stopped", "it was not started"
        if heard.error:
            return "away", heard.error[:300]
        if heard.value is None and not heard.at_s:
            return "unknown", "it was not asked yet"
        if process is not None and not process.up:
            return "away", f"its process is {process.state.lower()}"
        if behind_s is not None and behind_s > LATE_S:
            return "late", f"{behind_s:.0f} s behind"
        return "well", ""

    def _source(self) -> dict[str, Any]:
        heard = self.sources.sent.heard
        running = sum(one.state == "running" for one in heard.value[0]) if heard.value else 0
        lines = _sent(*heard.value) if heard.value else None
        return self._station("source", self.sources.sent, lines, running=running)

    def _agent(self, number: int) -> dict[str, Any]:
        source = self.sources.agents[number - 1]
        metrics = source.heard.value
        held = metrics.held_events if metrics else None
        reached = self._behind_hdfs() if number == 2 else None
        return self._station(f"agent{number}", source, None, reached, held=held)

    def _topic(self) -> dict[str, Any]:
        topic = self.sources.topic.heard.value
        held = sum(end - first for first, end in topic.offsets.values()) if topic else None
        lines = sum(topic.ends.values()) if topic else None
        return self._station(
            "topic", self.sources.topic, lines, held=held, partitions=len(topic.offsets) if topic else None
        )

    def _behind_hdfs(self) -> int | None:
        topic, chains = self.sources.topic.heard.value, self.sources.chains.heard.value
        if topic is None or chains is None:
            return None
        return topic.behind({number: chain.flushed(topic.topic_id) for number, chain in chains.items()})

    def _behind_windows(self) -> int | None:
        topic, snapshot = self.sources.topic.heard.value, self.sources.windows.heard.value
        if topic is None or snapshot is None or topic.topic_id != snapshot.commit.topic_id:
            return None
        return topic.behind(snapshot.commit.offsets)

    def behind_s(self, now_s: float) -> dict[str, float]:
        """For how long the oldest record has waited that a stage has not taken, as far as that is known."""
        with self._lock:
            behind = {"hdfs": self._behind_hdfs(), "windows": self._behind_windows()}
            topic = self.sources.topic.heard.value
            end = sum(topic.ends.values()) if topic else 0
            return {
                stage: self._arrivals.behind_at_least_s(end - left, now_s) if left else 0.0
                for stage, left in behind.items()
                if left is not None
            }

    def _hdfs(self) -> dict[str, Any]:
        chains = self.sources.chains.heard.value
        lines = None if chains is None else sum(chain.totals.digest.lines for chain in chains.values())
        flushed = sum(
            chain.open.digest.lines
            for chain in (chains or {}).values()
            if chain.open and chain.held is chain.open
        )
        return self._station("hdfs", self.sources.chains, lines, self._behind_hdfs(), not_final=flushed)

    def _windows(self) -> dict[str, Any]:
        snapshot = self.sources.windows.heard.value
        if snapshot is None:
            return self._station("windows", self.sources.windows, None)
        reached = self._behind_windows()
        return self._station(
            "windows",
            self.sources.windows,
            snapshot.commit.lines,
            reached,
            commit={"step": snapshot.commit.step, "committed_at": snapshot.commit.committed_at},
            late_lines=snapshot.commit.late,
            malformed=snapshot.commit.malformed,
            repeats=snapshot.commit.repeats,
        )

    def _accounting(self) -> dict[str, Any] | None:
        """What was found when all was last added up; None when it never was."""
        heard = self.sources.accounting.heard
        if heard.value is None:
            return None
        found = heard.value
        return {
            **found.to_json(),
            "is_exact": found.is_exact,
            "is_waiting": found.is_waiting,
            "problems": list(found.problems[:20]),
            "unfinished": list(found.unfinished[:20]),
            "details": list(found.details[:40]),
            "at": round(heard.at_s),
        }

    # ------------------------------------------------------------------ replays

    def replays(self) -> dict[str, Any]:
        """The newest replays, with how far each is and what it waits for."""
        with self._lock:
            self.count()
            heard = self.sources.sent.heard
            records, sums = heard.value or ([], None)
            newest = sorted(records, key=lambda one: one.started_at, reverse=True)[:MAX_REPLAYS]
            return {
                "replays": [self._replay(record) for record in newest],
                "kept": len(records),
                "folded": sums.replays if sums else 0,
                "away": {source.name: state for source in (self.sources.sent,) if (state := source.state())},
            }

    def _replay(self, record: ReplayRecord) -> dict[str, Any]:
        told = record.to_json()
        size = told["source_size_bytes"]
        share = min(1.0, told["source_bytes_read"] / size) if size else None
        limit = record.spec.limit
        if limit:
            share = max(share or 0.0, min(1.0, record.place.line / limit))
        meter = self._meters.get(f"replay {record.spec.replay_id}")
        return {
            "id": record.spec.replay_id,
            "url": told["url"],
            "pace": record.spec.pace,
            "profile": record.spec.profile,
            "limit": limit,
            "state": record.state,
            "reason": record.reason,
            "lines": record.digest.lines,
            "set_aside": record.set_aside,
            "share": 1.0 if record.state == "done" else share,
            "per_s": meter.per_s if meter else None,
            "left_s": _left_s(record, share),
            "started_at": record.started_at,
            "finished_at": record.finished_at,
            "sealed_at": record.sealed_at,
            "waits_for": self._waits_for(record),
        }

    def _waits_for(self, record: ReplayRecord) -> str:
        if record.state == "running":
            return "its source" if _is_silent(record) else ""
        if record.sealed_at:
            return ""
        if record.state != "done":
            return "somebody who clears its task, or its run's end"
        behind = self._behind_hdfs()
        snapshot, topic = self.sources.windows.heard.value, self.sources.topic.heard.value
        waiting = [f"HDFS ({behind:,} records behind)"] if behind else []
        if snapshot is not None and topic is not None and (left := topic.behind(snapshot.commit.offsets)):
            waiting.append(f"the windows ({left:,} records behind)")
        accounting = self.sources.accounting.heard.value
        if not waiting and accounting is not None and record.spec.replay_id in accounting.sealable:
            return "nothing: it is equal everywhere, the next accounting of a run seals it"
        return " and ".join(waiting) or "the next accounting"


def _sent(records: list[ReplayRecord], sums: Any) -> int:
    folded: Digest = sums.digest
    return sum(record.digest.lines for record in records) + folded.lines


def _began(process: Process) -> int | None:
    """When it started, Unix time, to some seconds: it must not change while the process does not."""
    return round((time.time() - process.uptime_s) / 10) * 10 if process.pid else None


def _is_silent(record: ReplayRecord) -> bool:
    return time.time() - datetime.fromisoformat(record.updated_at).timestamp() > LATE_S


def _left_s(record: ReplayRecord, share: float | None) -> int | None:
    """Seconds that are left at the replay's own speed so far; None where that tells nothing."""
    if record.state != "running" or not share:
        return None
    took_s = time.time() - datetime.fromisoformat(record.started_at).timestamp()
    return round(took_s * (1 - share) / share)
