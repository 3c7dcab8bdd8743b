"""Which alerts stand, what became of the others, and what nobody was told yet; a step is a pure function."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from logpipe.alerts.conditions import Condition, Look
from logpipe.alerts.rules import Rules

KEPT = 500  # resolved alerts, and changes that nobody was told

ChangeKind = Literal["firing", "resolved"]


@dataclass(frozen=True, slots=True)
class Alert:
    """One alert, from its firing on.

    Attributes:
        number: counted from 1 over all alerts that ever were.
        key, rule, title, told: what it is about; ``told`` is as of its firing.
        severity: of its rule.
        step: commit of the windows that it is about; 0 where they play no part.
        fired_at_s, resolved_at_s: Unix time, in the time of what it is about: replayed lines have their own.
        seen_at_s: when it was found, by the clock; so with ``over_at_s``.
    """

    number: int
    key: str
    rule: str
    severity: str
    title: str
    told: str
    step: int
    fired_at_s: float
    seen_at_s: float
    resolved_at_s: float | None = None
    over_at_s: float | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """An alert fired, or resolved; ``number`` counts changes from 1, ``done`` are notifiers that sent it."""

    number: int
    kind: ChangeKind
    alert: Alert
    done: tuple[int, ...] = ()


@dataclass(frozen=True)
class State:
    """All alerts.

    Attributes:
        firing: by key.
        holds: since when something is so whose alert does not fire yet, by key.
        quiet: since when something is not so any more whose alert stands, by key.
        history: resolved alerts, the newest last.
        untold: changes that nobody was told yet, the oldest first.
        changes: how many there ever were.
        fired: how many alerts there ever were, by rule.
        late: days (ISO) that were not sealed in time, and what was said of each.
    """

    firing: dict[str, Alert] = field(default_factory=dict)
    holds: dict[str, float] = field(default_factory=dict)
    quiet: dict[str, float] = field(default_factory=dict)
    history: tuple[Alert, ...] = ()
    untold: tuple[Change, ...] = ()
    changes: int = 0
    fired: dict[str, int] = field(default_factory=dict)
    late: dict[str, str] = field(default_factory=dict)

    def told(self, number: int, notifiers: Iterable[int]) -> "State":
        """The same, once some notifiers have sent a change."""
        done = tuple(sorted(notifiers))
        return replace(
            self,
            untold=tuple(replace(each, done=done) if each.number == number else each for each in self.untold),
        )

    def without(self, numbers: Iterable[int]) -> "State":
        """The same, once somebody was told of these changes."""
        told = set(numbers)
        return replace(self, untold=tuple(each for each in self.untold if each.number not in told))

    def to_json(self) -> str:
        """As JSON text."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> "State":
        """Rebuild what `to_json` gave.

        Raises:
            ValueError, KeyError, TypeError: it is something else.
        """
        values = json.loads(text)
        values["firing"] = {key: Alert(**alert) for key, alert in values["firing"].items()}
        values["history"] = tuple(Alert(**alert) for alert in values["history"])
        values["untold"] = tuple(change_of(change) for change in values["untold"])
        return cls(**values)


def change_of(values: dict[str, Any]) -> Change:
    """Rebuild a change from its JSON values."""
    return Change(values["number"], values["kind"], Alert(**values["alert"]), tuple(values["done"]))


def advance(rules: Rules, found: Iterable[Look], state: State, at_s: float) -> State:
    """Go on from a state by what the rules found; fires each alert once, and resolves it once.

    What was not looked at stays as it is. An alert whose rule is off resolves.

    Args:
        rules: that are on.
        found: as `conditions.looks` gives it.
        state: as it was.
        at_s: Unix time by the clock.
    """
    step = _Step(state, at_s)
    for look in found:
        so_far = {key for key, alert in state.firing.items() if alert.rule == look.name}
        so_far |= {key for key in state.holds if key.partition(" ")[0] == look.name}
        for condition in look.conditions:
            so_far.discard(condition.key)
            step.see(look, condition)
        for key in so_far:  # what it was about is gone
            step.see(look, Condition(key, "", "", is_so=False))
    for key, alert in state.firing.items():
        if rules.rule(alert.rule) is None:
            step.resolve(key, at_s)
    return step.state()


class _Step:
    def __init__(self, state: State, at_s: float) -> None:
        self._before, self._at_s = state, at_s
        self._firing, self._holds, self._quiet = dict(state.firing), dict(state.holds), dict(state.quiet)
        self._history, self._untold = list(state.history), list(state.untold)
        self._fired, self._changes = dict(state.fired), state.changes

    def see(self, look: Look, condition: Condition) -> None:
        key = condition.key
        self._holds = _since(
            self._holds, key, look.at_s if condition.is_so and key not in self._firing else None
        )
        self._quiet = _since(
            self._quiet, key, look.at_s if not condition.is_so and key in self._firing else None
        )
        if key in self._holds and look.at_s - self._holds[key] >= look.rule.hold_s:
            self._fire(look, condition)
        elif key in self._quiet and look.at_s - self._quiet[key] >= look.rule.quiet_s:
            self.resolve(key, look.at_s)

    def _fire(self, look: Look, condition: Condition) -> None:
        del self._holds[condition.key]
        alert = Alert(
            sum(self._fired.values()) + 1, condition.key, look.name, look.rule.severity, condition.title,
            condition.told, look.step, look.at_s, self._at_s,
        )  # fmt: skip
        self._firing[alert.key] = alert
        self._fired[alert.rule] = self._fired.get(alert.rule, 0) + 1
        self._change("firing", alert)

    def resolve(self, key: str, at_s: float) -> None:
        self._quiet.pop(key, None)
        if key in self._firing:
            alert = replace(self._firing.pop(key), resolved_at_s=at_s, over_at_s=self._at_s)
            self._history.append(alert)
            self._change("resolved", alert)

    def _change(self, kind: ChangeKind, alert: Alert) -> None:
        self._changes += 1
        self._untold.append(Change(self._changes, kind, alert))

    def state(self) -> State:
        return State(
            self._firing, self._holds, self._quiet, tuple(self._history[-KEPT:]), tuple(self._untold[-KEPT:]),
            self._changes, self._fired, self._before.late,
        )  # fmt: skip


def _since(known: dict[str, float], key: str, at_s: float | None) -> dict[str, float]:
    """Since when something is so: from the first time on, which a clock that steps back moves."""
    others = {each: since_s for each, since_s in known.items() if each != key}
    return others if at_s is None else others | {key: min(at_s, known.get(key, at_s))}
