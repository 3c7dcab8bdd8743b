"""Which alerts should stand, by the rules and what is known: a pure function of both."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from logpipe.alerts.facts import Facts, Sums, WindowFacts
from logpipe.alerts.rules import HOUR_S, WEEK_S, Rule, Rules


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that an alert can be about, and whether it is so.

    Attributes:
        key: tells it from others for good: the rule, and what it is about.
        title: for a person, in some words.
        told: the figures.
        is_so: whether.
    """

    key: str
    title: str
    told: str
    is_so: bool


@dataclass(frozen=True, slots=True)
class Look:
    """What a rule found.

    Attributes:
        name: of the rule.
        rule: itself.
        at_s: when it is so, in the time of what was looked at.
        step: commit of the windows; 0 where they play no part.
        conditions: those that are known; others of the rule are not so.
    """

    name: str
    rule: Rule
    at_s: float
    step: int
    conditions: tuple[Condition, ...]


def looks(rules: Rules, facts: Facts) -> Iterator[Look]:
    """Look at each rule that is on and of which something is known."""
    if facts.windows is not None:
        windows = facts.windows
        by_windows: list[tuple[str, Callable[[Rules, WindowFacts], Iterator[Condition]]]] = [
            *((f"errors.{name}", _burn(name)) for name in rules.errors.burns),
            ("silence", _silence), ("malformed", _malformed), ("surge", _surge),
            ("latency", _latency),
        ]  # fmt: skip
        for name, find in by_windows:
            if (rule := rules.rule(name)) is not None:
                yield Look(name, rule, windows.now_s, windows.step, tuple(find(rules, windows)))
    by_stages: list[tuple[str, object, float, Callable[[Rules, Facts], Iterator[Condition]]]] = [
        ("lag", facts.behind_s, facts.at_s, _lag),
        ("heals", facts.heals, facts.at_s, _heals),
        ("accounting", facts.added, facts.added.at_s if facts.added else 0, _accounting),
        ("disk", facts.used, facts.at_s, _used("disk")),
        ("retention", facts.used, facts.at_s, _used("retention")),
        ("days", facts.late, facts.at_s, _days),
        ("watcher", facts.unasked_s, facts.at_s, _watcher),
    ]
    for name, known, at_s, look in by_stages:
        if known is not None and (rule := rules.rule(name)) is not None:
            yield Look(name, rule, at_s, 0, tuple(look(rules, facts)))


# ---------------------------------------------------------------------- by windows


def _burn(name: str) -> Callable[[Rules, WindowFacts], Iterator[Condition]]:
    def find(rules: Rules, windows: WindowFacts) -> Iterator[Condition]:
        errors, burn = rules.errors, rules.errors.burns[name]
        now_s, counts = windows.now_s, windows.counts
        long = counts.sums(now_s - burn.long_s, now_s)
        short = counts.sums(now_s - burn.short_s, now_s)
        title = f"Requests fail ({name} burn of the error budget)"
        if long.requests >= errors.least_requests:
            allowed = (1 - errors.objective) * burn.factor
            is_so = min(long.error_share, short.error_share) >= allowed
            told = f"{_failed(long, burn.long_s)}, {_failed(short, burn.short_s)}; told from {allowed:.2%} on"
        else:
            share = errors.bad_minute_share
            bad = counts.bad_minutes(now_s - burn.long_s, now_s, share)
            is_so = bad >= burn.bad_minutes and counts.bad_minutes(now_s - burn.short_s, now_s, share) > 0
            told = f"{share:.0%} failed in each of {bad} minutes; {_failed(long, burn.long_s)}"
        yield Condition(f"errors.{name}", title, told, is_so)

    return find


def _failed(sums: Sums, span_s: int) -> str:
    return f"{sums.errors:,} of {sums.requests:,} requests in {_span(span_s)} ({sums.error_share:.2%})"


def _silence(rules: Rules, windows: WindowFacts) -> Iterator[Condition]:
    rule, counts, now_s = rules.silence, windows.counts, windows.now_s
    hours = [now_s - week * WEEK_S for week in range(1, rule.weeks + 1)]
    usual = [
        counts.sums(end_s - HOUR_S, end_s).lines * rule.for_s / HOUR_S
        for end_s in hours
        if end_s - HOUR_S >= windows.since_s
    ]
    if usual and min(usual) >= rule.least_lines:
        lines = counts.sums(now_s - rule.for_s, now_s).lines
        told = f"{lines:,} lines in {_span(rule.for_s)}; at this hour of the week {min(usual):,.0f} are usual"
        yield Condition("silence", "Hardly any lines come", told, lines < rule.share * min(usual))


def _malformed(rules: Rules, windows: WindowFacts) -> Iterator[Condition]:
    rule = rules.malformed
    found = windows.counts.sums(windows.now_s - rule.for_s, windows.now_s)
    if found.lines >= rule.least_lines:
        share = found.malformed / found.lines
        told = f"{found.malformed:,} of {found.lines:,} lines in {_span(rule.for_s)} ({share:.1%})"
        yield Condition("malformed", "Lines cannot be parsed", told, share >= rule.share)


def _surge(rules: Rules, windows: WindowFacts) -> Iterator[Condition]:
    rule = rules.surge
    lines = windows.counts.sums(windows.now_s - rule.for_s, windows.now_s).lines
    for host in windows.hosts:
        usual = host.before * rule.for_s / rule.before_s
        is_so = host.lines >= max(rule.least_lines, rule.share * lines, rule.factor * usual)
        told = f"{host.lines:,} of {lines:,} lines in {_span(rule.for_s)}; {usual:,.0f} before"
        yield Condition(f"surge {host.host}", f"Host {host.host} surges", told, is_so)


def _latency(rules: Rules, windows: WindowFacts) -> Iterator[Condition]:
    rule, found = rules.latency, windows.latency
    if found is not None and found.requests >= rule.least_requests:
        ms = found.ms[rule.percentile]
        told = f"{rule.percentile} of {found.requests:,} requests in {_span(rule.for_s)} is {ms:,.0f} ms"
        yield Condition("latency", "Requests take long", told, ms >= rule.ms)


# ---------------------------------------------------------------------- by what the stages say


def _lag(rules: Rules, facts: Facts) -> Iterator[Condition]:
    for stage, behind_s in (facts.behind_s or {}).items():
        told = f"its oldest record has waited {behind_s:,.0f} s"
        yield Condition(f"lag {stage}", f"{stage} is behind", told, behind_s >= rules.lag.seconds)


def _heals(rules: Rules, facts: Facts) -> Iterator[Condition]:
    rule = rules.heals
    late = [heal for heal in facts.heals or () if heal.at_s > facts.at_s - rule.within_s]
    for task in {heal.task for heal in late}:
        its = [heal for heal in late if heal.task == task]
        told = f"{len(its)} heals in {_span(rule.within_s)}, the last since {its[-1].reason}"
        yield Condition(f"heals {task}", f"{task} was brought back", told, len(its) >= rule.count)


def _accounting(rules: Rules, facts: Facts) -> Iterator[Condition]:
    if facts.added is not None:
        lost, doubled, problems, _ = facts.added
        told = "; ".join([f"{lost:,} lines lost, {doubled:,} doubled", *problems[:3]])
        yield Condition("accounting", "Lines are not accounted for", told, bool(lost or doubled or problems))


def _used(kind: str) -> Callable[[Rules, Facts], Iterator[Condition]]:
    def find(rules: Rules, facts: Facts) -> Iterator[Condition]:
        limit = rules.disk.used if kind == "disk" else rules.retention.used
        for each in facts.used or ():
            if each.kind == kind:
                is_so = each.share >= limit
                yield Condition(f"{kind} {each.name}", f"{each.name} runs out", each.told, is_so)

    return find


def _days(rules: Rules, facts: Facts) -> Iterator[Condition]:
    for day, told in (facts.late or {}).items():
        yield Condition(f"days {day}", f"{day} is not sealed in time", told, is_so=True)


def _watcher(rules: Rules, facts: Facts) -> Iterator[Condition]:
    unasked_s = facts.unasked_s or 0.0
    told = (
        f"not asked for {unasked_s:,.0f} s: see the run of watch_logs, and whether Airflow's triggerer works"
    )
    yield Condition("watcher", "Nobody watches in Airflow", told, unasked_s >= rules.watcher.silent_s)


def _span(span_s: int) -> str:
    for unit, size_s in (("days", 86400), ("h", 3600), ("min", 60)):
        if span_s >= 2 * size_s or (span_s >= size_s and unit != "days"):
            return f"{span_s / size_s:.3g} {unit}"
    return f"{span_s} s"
