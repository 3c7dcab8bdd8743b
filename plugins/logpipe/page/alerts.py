"""The watch over the rules: asks what is known, goes on from the state on the disk, says what is untold.

Airflow's task asks for alerts, and each question has the rules looked at. When nobody asks any more, this
does so by itself, and has what nobody was told sent from outside of Airflow's components.
"""

import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from logpipe.accounting.judge import Accounting
from logpipe.accounting.watch import Observation
from logpipe.alerts import rules as alert_rules
from logpipe.alerts.conditions import looks
from logpipe.alerts.facts import Added, Counts, Facts, HostLines, Latency, Used, Window, WindowFacts
from logpipe.alerts.rules import Rules, RulesError
from logpipe.alerts.state import Alert, Change, State, advance
from logpipe.page.flow import Flow
from logpipe.page.sources import Sources
from logpipe.page.store import Snapshot
from logpipe.page.traffic import Traffic
from logpipe.page.watched import Heard
from logpipe.settings import WATERMARKS_S, Settings
from logpipe.settings.durable import replace_file
from logpipe.settings.unreadable import UNREADABLE
from logpipe.windows.commit import WindowsError
from logpipe.windows.latency import percentiles_us

log = logging.getLogger(__name__)

TICK_S = 5.0
FOLDER = "alerts"  # in the state folder
TELLER = "logpipe.airflow.tell"  # above this room, so started and not imported
SHOWN = 50
_CLAIM_S = 120.0  # who took changes has so long to tell them
_AGAIN_S = 30.0
_PATIENCE_S = 30.0  # Airflow's task asks more often than this
_HOSTS = 5
_LATE_DAYS = 100


@dataclass(eq=False)
class AlertWatch(Collector):
    """The alerts of a pipeline, as metrics too.

    Attributes:
        settings: name the rules' file and the state folder.
        sources, flow, traffic: what is known.
    """

    settings: Settings
    sources: Sources
    flow: Flow
    traffic: Traffic
    error: str = ""
    _rules: Rules | None = None
    _rules_of: tuple[float, ...] = ()
    _windows: tuple[Any, WindowFacts | None] = (None, None)
    _asked_at_s: float = field(default_factory=time.monotonic)
    _claims: dict[int, float] = field(default_factory=dict)
    _evaluated_at_s: float = 0.0
    _teller: subprocess.Popen[bytes] | None = None
    _tells_from_s: float = 0.0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._file = self.settings.state_dir / FOLDER / "state.json"
        self._state = _read(self._file)

    # ------------------------------------------------------------------ what Airflow's task asks

    def look(self) -> dict[str, Any]:
        """Look at the rules, and hand out what is untold; who takes it has two minutes to say `told`.

        Returns:
            ``changes``: as `logpipe.alerts.state.Change`; ``error``: why the rules cannot work, or empty.
        """
        with self._lock:
            self._asked_at_s = time.monotonic()
            self._evaluate()
        return self.take()

    def take(self) -> dict[str, Any]:
        """The same without looking, and without being the one who watches."""
        with self._lock:
            free = self._free()
            self._claims |= {change.number: time.monotonic() + _CLAIM_S for change in free}
            return {"changes": [asdict(change) for change in free], "error": self.error}

    def _free(self) -> list[Change]:
        """What is untold and nobody's."""
        now_s = time.monotonic()
        self._claims = {number: until_s for number, until_s in self._claims.items() if until_s > now_s}
        return [change for change in self._state.untold if change.number not in self._claims]

    def told(self, number: int, notifiers: list[int], *, is_over: bool) -> None:
        """Notifiers have sent a change; the others try again, unless these were all."""
        with self._lock:
            state = self._state
            self._keep(state.without([number]) if is_over else state.told(number, notifiers))

    def late(self, day: str, told: str) -> None:
        """A day was not sealed in time."""
        with self._lock:
            late = self._state.late | {day: told}
            self._keep(replace(self._state, late=dict(sorted(late.items())[-_LATE_DAYS:])))

    # ------------------------------------------------------------------ when nobody asks

    def tick(self) -> None:
        """Look at the rules when nobody has asked for it lately, and have sent what nobody sends."""
        with self._lock:
            rules, unasked_s = self._read_rules(), self._unasked_s()
            is_alone = rules is not None and unasked_s >= rules.watcher.silent_s
            if is_alone or unasked_s > _PATIENCE_S:
                self._evaluate()
            is_sending = self._teller is not None and self._teller.poll() is None
            may_send = not is_sending and time.monotonic() >= self._tells_from_s
            if is_alone and rules is not None and rules.notify and may_send and (free := self._free()):
                log.warning("Nobody in Airflow sends alerts: %d changes are sent from here", len(free))
                self._tells_from_s = time.monotonic() + _AGAIN_S  # it may fail before it has taken any
                self._teller = subprocess.Popen([sys.executable, "-m", TELLER], stdin=subprocess.DEVNULL)

    def end(self) -> None:
        """Do not leave the one behind who sends."""
        if self._teller is not None and self._teller.poll() is None:
            self._teller.terminate()

    # ------------------------------------------------------------------ looking

    def _unasked_s(self) -> float:
        return time.monotonic() - self._asked_at_s

    def _evaluate(self) -> None:
        rules = self._read_rules()
        if rules is not None:
            now_s = time.time()
            self._keep(advance(rules, looks(rules, self._facts(rules, now_s)), self._state, now_s))
            self._evaluated_at_s = now_s

    def _read_rules(self) -> Rules | None:
        """The rules, read again when a file has changed; the last good ones while there is an error."""
        own = Path(self.settings.alerts_file) if self.settings.alerts_file else None
        files = [file for file in (alert_rules.FILE, own) if file is not None]
        changed = tuple(file.stat().st_mtime if file.exists() else 0.0 for file in files)
        if changed != self._rules_of:
            self._rules_of = changed
            try:
                self._rules, self.error = alert_rules.load(own), ""
            except RulesError as error:
                log.error("The rules of alerts cannot work: %s", error)
                self.error = str(error)
                self._rules = self._rules or alert_rules.load()
        return self._rules

    def _facts(self, rules: Rules, now_s: float) -> Facts:
        self.flow.count()
        return Facts(
            at_s=now_s,
            windows=self._window_facts(rules),
            behind_s=self.flow.behind_s(now_s),
            heals=self.sources.heals.heard.value,
            added=_added(self.sources.accounting.heard),
            used=_used(self.sources.observed.heard.value),
            late=self._late(),
            unasked_s=self._unasked_s(),
        )

    def _late(self) -> dict[str, str] | None:
        days = self.sources.days.heard.value
        if days is None:
            return None
        sealed = {day.date for day in days if day.state in ("sealed", "forgotten")}
        return {day: told for day, told in self._state.late.items() if day not in sealed}

    def _window_facts(self, rules: Rules) -> WindowFacts | None:
        snapshot = self.sources.windows.heard.value
        now_s = None if snapshot is None else self._complete_until_s(snapshot)
        if snapshot is None or now_s is None:
            return None
        known = (snapshot.commit.topic_id, snapshot.commit.committed_at, snapshot.commit.step, now_s, rules)
        if self._windows[0] != known:
            try:
                self._windows = (known, read_windows(self.traffic, rules, now_s))
            except WindowsError as error:
                log.warning("The windows are not looked at: %s", error)
                return None
        return self._windows[1]

    def _complete_until_s(self, snapshot: Snapshot) -> int | None:
        """Windows that end by then have all their lines, but for late ones.

        By the watermark; and by arrival, once all records are counted, by when the topic was asked: so it is
        seen that no lines come. By event time a log's own clock stands still when it does.
        """
        heard, closed_s = self.sources.topic.heard, snapshot.open_from_s
        topic = heard.value
        is_whole = (
            self.settings.windows_time == "arrival"
            and topic is not None
            and topic.topic_id == snapshot.commit.topic_id
            and topic.behind(snapshot.commit.offsets) == 0
        )
        if not is_whole:
            return closed_s
        watermark_s = self.settings.watermark_s
        wait_s = WATERMARKS_S["arrival"] if watermark_s is None else watermark_s
        whole_s = int(heard.at_s - wait_s) // snapshot.window_s * snapshot.window_s
        return max(whole_s, closed_s or 0)

    def _keep(self, state: State) -> None:
        if state != self._state:
            for change in state.untold:
                if change.number > self._state.changes:
                    log.warning("Alert %s %s: %s", change.alert.key, change.kind, change.alert.told)
            _write(self._file, state)
            self._state = state

    # ------------------------------------------------------------------ what people and Prometheus see

    def answer(self) -> dict[str, Any]:
        """For the page: alerts that stand, the newest of the others, and whether somebody is told."""
        with self._lock:
            state, rules = self._state, self._rules
            is_alone = rules is not None and self._unasked_s() >= rules.watcher.silent_s
        return {
            "firing": [asdict(alert) for alert in _newest(state.firing.values())],
            "history": [asdict(alert) for alert in _newest(state.history)[:SHOWN]],
            "untold": len(state.untold),
            "notifiers": len(rules.notify) if rules else 0,
            "is_watched": not is_alone,
            "error": self.error,
        }

    def collect(self) -> Iterator[Metric]:
        """Read each figure once."""
        state, rules = self._state, self._rules
        firing = GaugeMetricFamily(
            "logpipe_alert_firing", "1 while an alert stands", labels=["rule", "key", "severity"]
        )
        for alert in state.firing.values():
            firing.add_metric([alert.rule, alert.key, alert.severity], 1)
        fired = CounterMetricFamily("logpipe_alerts_fired", "Alerts that ever fired", labels=["rule"])
        for name in (*rules.names(), *state.fired) if rules else state.fired:
            fired.add_metric([name], state.fired.get(name, 0))
        heals = CounterMetricFamily("logpipe_heals", "Heals by the newest supervision", labels=["task"])
        counted = {
            heal.task: heal.number for heal in self.sources.heals.heard.value or ()
        }  # the newest is last
        for task, number in counted.items():
            heals.add_metric([task], number)
        yield from (firing, fired, heals)
        for name, text, value in (
            ("alerts_untold", "Changes of alerts that nobody was told yet", len(state.untold)),
            (
                "alerts_unasked_seconds",
                "For how long Airflow's task has not asked for alerts",
                self._unasked_s(),
            ),
            ("alerts_rules_error", "1 while the file of the rules cannot work", bool(self.error)),
            (
                "alerts_evaluated_timestamp_seconds",
                "When the rules were looked at, Unix time",
                self._evaluated_at_s,
            ),
        ):
            yield GaugeMetricFamily(f"logpipe_{name}", text, value=value)


def _newest(alerts: Iterable[Alert]) -> list[Alert]:
    return sorted(alerts, key=lambda alert: alert.number, reverse=True)


def read_windows(traffic: Traffic, rules: Rules, now_s: int) -> WindowFacts:
    """Ask the windows what the rules look at; ``now_s`` as in `WindowFacts`.

    Raises:
        WindowsError: nothing is known of the windows yet.
    """
    windows: dict[int, Window] = {}
    for first_s, last_s in rules.ranges(now_s):
        for row in traffic.between(
            first_s, last_s,
            """SELECT epoch(window_start)::BIGINT,
                      coalesce(sum(lines) FILTER (dimension = 'total'), 0)::BIGINT,
                      coalesce(sum(lines) FILTER (dimension = 'status' AND key[1] = '5'), 0)::BIGINT,
                      coalesce(sum(lines) FILTER (dimension = 'malformed'), 0)::BIGINT
               FROM all_rows WHERE dimension IN ('total', 'status', 'malformed') GROUP BY ALL""",
        ):  # fmt: skip
            windows[row[0]] = Window(*row)
    surge = rules.surge
    hosts = traffic.between(
        now_s - surge.for_s - surge.before_s, now_s,
        f"""SELECT key, coalesce(sum(lines) FILTER (window_start >= to_timestamp(?)), 0)::BIGINT AS late,
                   coalesce(sum(lines) FILTER (window_start < to_timestamp(?)), 0)::BIGINT
            FROM all_rows WHERE dimension = 'host' AND key <> '(other)' GROUP BY key HAVING late > 0
            ORDER BY late DESC, key LIMIT {_HOSTS}""",  # noqa: S608 - a number of ours
        now_s - surge.for_s, now_s - surge.for_s,
    )  # fmt: skip
    took = traffic.between(
        now_s - rules.latency.for_s, now_s,
        """SELECT key::BIGINT, sum(lines)::BIGINT FROM all_rows
           WHERE dimension = 'latency' GROUP BY key""",
    )  # fmt: skip
    ms = {name: value / 1000 for name, value in percentiles_us(took).items()}
    step, first = traffic.reaches_back()
    since_s = int(datetime.combine(first, datetime.min.time(), UTC).timestamp()) if first else now_s
    return WindowFacts(
        step,
        now_s,
        since_s,
        Counts(windows.values()),
        tuple(HostLines(*row) for row in hosts),
        Latency(sum(lines for _, lines in took), ms) if ms else None,
    )


def _added(heard: Heard[Accounting | None]) -> Added | None:
    found = heard.value
    return None if found is None else Added(found.lost, found.doubled, found.problems, heard.at_s)


def _used(observed: list[Observation] | None) -> tuple[Used, ...] | None:
    if observed is None:
        return None
    return tuple(
        Used(each.kind, each.name, each.used, each.value) for each in observed if each.used is not None
    )


def _read(file: Path) -> State:
    try:
        return State.from_json(file.read_text())
    except FileNotFoundError:
        return State()
    except UNREADABLE as error:
        aside = file.with_suffix(".unreadable")
        file.replace(aside)
        log.error("%s holds no state of alerts (%r): it is %s now, and all begin anew", file, error, aside)
        return State()


def _write(file: Path, state: State) -> None:
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    replace_file(file, state.to_json())
