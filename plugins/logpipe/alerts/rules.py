"""The rules of alerts: ``conf/alerts.toml`` has and explains each, a file of the user's own changes some.

A user's file holds only what differs; it is laid over the project's own.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from logpipe.settings import PROJECT_DIR
from logpipe.settings.unreadable import UNREADABLE

FILE = PROJECT_DIR / "conf" / "alerts.toml"
WEEK_S = 7 * 86400
HOUR_S = 3600

Share = Annotated[float, Field(gt=0, le=1)]
Span = Annotated[int, Field(ge=60, le=30 * 86400)]
Lines = Annotated[int, Field(ge=1)]
Factor = Annotated[float, Field(gt=0)]
Severity = Literal["urgent", "soon"]


class RulesError(ValueError):
    """The rules cannot work; the message names file, rule, field, value and the way out."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Rule(_Part):
    """What all rules have.

    Attributes:
        enabled: whether it counts at all.
        severity: ``urgent``: wake somebody; ``soon``: in working hours.
        hold_s: it must be so for this long before the alert fires.
        quiet_s: and be over for this long before the alert resolves.
    """

    enabled: bool
    severity: Severity
    hold_s: float = Field(ge=0)
    quiet_s: float = Field(ge=0)


class Burn(Rule):
    """The error budget is used up ``factor`` times as fast as it may, over a long and a short time."""

    long_s: Span
    short_s: Span
    factor: Factor
    bad_minutes: Lines


class Errors(_Part):
    """The service level objective that the burn rates are of."""

    objective: float = Field(gt=0, lt=1)
    least_requests: Lines
    bad_minute_share: Share
    burns: dict[str, Burn]


class Silence(Rule):
    """Far fewer lines than at the same hour of the week."""

    for_s: Span
    share: Share
    weeks: int = Field(ge=1, le=4)
    least_lines: Lines


class Lag(Rule):
    """The oldest record that a stage has not taken is this old."""

    seconds: float = Field(gt=0)


class Heals(Rule):
    """So many heals of one service in a time."""

    count: Lines
    within_s: Span


class Accounting(Rule):
    """Lines are lost or doubled, or HDFS is not as its links say."""


class Malformed(Rule):
    """The share of lines that cannot be parsed."""

    for_s: Span
    share: Share
    least_lines: Lines


class Surge(Rule):
    """One host has a large share of all lines, and far more than it had before."""

    for_s: Span
    before_s: Span
    share: Share
    factor: Factor
    least_lines: Lines


class Latency(Rule):
    """So long requests take: a percentile of their latency, where the log's format has one."""

    for_s: Span
    percentile: Literal["p50", "p95", "p99"]
    ms: float = Field(gt=0)
    least_requests: Lines


class Level(Rule):
    """So much of something that is finite is used up."""

    used: Share


class Days(Rule):
    """A day is not sealed in time: the deadline of the DAG `hdfs_partitions` says so."""


class Watcher(Rule):
    """Nobody has asked for alerts: whoever sends them is gone."""

    silent_s: float = Field(ge=1)


class Notify(_Part):
    """A notifier of Airflow's, and its arguments, which are templates of an alert."""

    notifier: str = Field(pattern=r"^\w+(\.\w+)+$")
    severities: tuple[Severity, ...] = ("urgent", "soon")
    arguments: dict[str, Any] = {}


class Rules(_Part):
    """All rules, and who is told."""

    errors: Errors
    silence: Silence
    lag: Lag
    heals: Heals
    accounting: Accounting
    malformed: Malformed
    surge: Surge
    latency: Latency
    disk: Level
    retention: Level
    days: Days
    watcher: Watcher
    notify: tuple[Notify, ...] = ()

    def rule(self, name: str) -> Rule | None:
        """The rule of a name such as ``lag`` or ``errors.fast``; None when there is none or it is off."""
        head, _, burn = name.partition(".")
        found = self.errors.burns.get(burn) if head == "errors" else getattr(self, head, None)
        return found if isinstance(found, Rule) and found.enabled else None

    def names(self) -> list[str]:
        """The names of the rules that are on."""
        names = [*(f"errors.{burn}" for burn in self.errors.burns), *type(self).model_fields]
        return [name for name in names if self.rule(name) is not None]

    def ranges(self, now_s: int) -> list[tuple[int, int]]:
        """The times ``[first, last)`` whose windows the rules look at; Unix time."""
        spans = [burn.long_s for burn in self.errors.burns.values() if burn.enabled]
        spans += [self.silence.for_s, self.malformed.for_s]
        weeks = range(1, self.silence.weeks + 1) if self.silence.enabled else ()
        earlier = [(now_s - week * WEEK_S - HOUR_S, now_s - week * WEEK_S) for week in weeks]
        return [(now_s - max(spans), now_s), *earlier]


def load(file: Path | None = None) -> Rules:
    """Read the rules.

    Args:
        file: the user's own; None: only the project's.

    Raises:
        RulesError: they cannot work.
    """
    values = _read(FILE)
    if file is not None:
        values = _laid_over(values, _read(file))
    try:
        return Rules.model_validate(values)
    except ValidationError as error:
        raise RulesError("\n".join(_told(file or FILE, each) for each in error.errors())) from None


def _read(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text())
    except OSError as error:
        raise RulesError(f"{file} cannot be read ({error.strerror}): LOGPIPE_ALERTS_FILE names it") from None
    except UNREADABLE as error:
        raise RulesError(f"{file} is no TOML: {error}; {FILE} is an example") from None


def _laid_over(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    both = {
        name: _laid_over(below[name], above[name])
        for name in below.keys() & above.keys()
        if isinstance(below[name], dict) and isinstance(above[name], dict)
    }
    return below | above | both


def _told(file: Path, error: Any) -> str:
    *rule, field = [str(part) for part in error["loc"]]
    place = f"[{'.'.join(rule)}] {field}" if rule else f"[{field}]"
    way = "give one of the values that it may have"
    if error["type"] == "extra_forbidden":
        return f"{file}: {place} is {error['input']!r}, and no rule has such a field: {FILE} has all"
    if error["type"] == "missing":
        return f"{file}: {place} is missing: a new rule needs each field that its sisters in {FILE} have"
    return f"{file}: {place} is {error['input']!r}: {error['msg']}; {way}, or leave it out for that of {FILE}"
