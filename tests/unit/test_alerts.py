"""Alerts by what is known: a month replayed in its own time, and each rule at its edge."""

import gzip
import json
import random
from dataclasses import replace

import numpy as np
import pytest

from logpipe.alerts.conditions import looks
from logpipe.alerts.facts import Added, Counts, Facts, Heal, HostLines, Latency, Used, Window, WindowFacts
from logpipe.alerts.rules import FILE, WEEK_S, RulesError, load
from logpipe.alerts.state import KEPT, State, advance
from logpipe.settings import PROJECT_DIR

RULES = load()
JULY = PROJECT_DIR / "benchmarks" / "data" / "NASA_Jul95_requests_per_second.txt.gz"
JULY_S = 804_556_800  # 1 July 1995, 00:00, by the log's own clock
MINUTES = 27 * 1440  # the record ends on the 28th
DAY_S = 86400


def at(day: int, hour: int, minute: int = 0) -> int:
    return JULY_S + (day - 1) * DAY_S + hour * 3600 + minute * 60


def spoiled(minute_s: int, lines: int, chance: random.Random) -> Window:
    """What was added to July: failures, fast for five minutes and slow for days; lines that are none."""
    errors = malformed = 0
    if at(11, 10) <= minute_s < at(11, 10, 5):
        errors = round(0.2 * lines)
    if at(18, 0) <= minute_s < at(20, 0):
        errors = sum(chance.random() < 0.0035 for _ in range(lines))
    if at(24, 12) <= minute_s < at(24, 12, 20):
        malformed = round(0.2 * lines)
    return Window(minute_s, lines, errors, malformed)


@pytest.fixture(scope="module")
def july() -> list[Window]:
    """July 1995, minute by minute: its real requests, with its real outages, and what `spoiled` adds."""
    with gzip.open(JULY) as seconds:
        requests = np.array(seconds.read().split(), dtype=np.int64)[: MINUTES * 60]
    chance = random.Random(1995)
    lines = requests.reshape(-1, 60).sum(axis=1).tolist()
    return [spoiled(JULY_S + number * 60, count, chance) for number, count in enumerate(lines) if count]


def hosts(now_s: int) -> tuple[HostLines, ...]:
    """One that surges on the 26th from 3:00 to 3:10, and one that always asks much."""
    surge_s = max(0, min(now_s, at(26, 3, 10)) - max(now_s - 300, at(26, 3)))
    return (HostLines("steady", 40, 480), HostLines("surging", 30 * surge_s, 0))


def replayed(windows: list[Window], every_s: int) -> list[tuple[str, str, int]]:
    """Alerts in order as the windows close one by one: what became of which, and when by the log's clock."""
    counts, state, told = Counts(windows), State(), []
    first_s, last_s = windows[0].start_s, windows[-1].start_s
    clock_s = 1_800_000_000.0  # says something else altogether, and has no say
    for now_s in range(first_s, last_s, every_s):
        facts = Facts(clock_s, WindowFacts(now_s // 60, now_s, first_s, counts, hosts(now_s)))
        state = advance(RULES, looks(RULES, facts), state, clock_s)
        told += [(each.alert.key, each.kind, now_s) for each in state.untold]
        state = state.without(each.number for each in state.untold)
    return told


# What fires, in the order in which it does, and when at the earliest and latest: and nothing else in 27 days.
INCIDENTS = [
    ("errors.fast", at(11, 10, 4), at(11, 10, 8)),
    # July's own outages, of which nobody told this test: a request a minute or none, and then none at all.
    ("silence", at(13, 17, 16), at(13, 17, 22)),
    ("silence", at(13, 19, 50), at(13, 20)),
    ("errors.slow", at(18, 6), at(20, 0)),
    ("malformed", at(24, 12, 4), at(24, 12, 12)),
    ("silence", at(24, 20, 5), at(24, 20, 12)),
    ("surge surging", at(26, 3, 1), at(26, 3, 6)),
]
OVER = {"errors.slow": at(20, 12) - at(18, 6)}
RESOLVED_WITHIN_S = 45 * 60


def test_july_replayed_fires_just_what_it_should(july):
    told = replayed(july, 300)
    fired = [(key, now_s) for key, kind, now_s in told if kind == "firing"]
    assert [key for key, _ in fired] == [key for key, _, _ in INCIDENTS]
    for (key, now_s), (_, earliest_s, latest_s) in zip(fired, INCIDENTS, strict=True):
        assert earliest_s <= now_s <= latest_s, key
    for number, (key, _, now_s) in enumerate(told[::2]):
        resolved = told[2 * number + 1]
        assert resolved[:2] == (key, "resolved"), "each alert resolves before the next one fires"
        assert resolved[2] - now_s <= OVER.get(key, RESOLVED_WITHIN_S)


NOON_S = at(20, 12)


def windows(lines=100, errors=0, malformed=0, minutes=60, now_s=NOON_S):
    return [Window(now_s - 60 * (number + 1), lines, errors, malformed) for number in range(minutes)]


def firing(facts: Facts, state: State | None = None, rules=RULES) -> set[str]:
    return set(advance(rules, looks(rules, facts), state or State(), facts.at_s).firing)


def of_windows(rows, now_s=NOON_S, since_s=JULY_S, hosts=(), latency=None):
    return Facts(now_s, WindowFacts(1, now_s, since_s, Counts(rows), hosts, latency))


def test_each_burn_needs_both_its_times():
    fast = RULES.errors.burns["fast"]
    share = (1 - RULES.errors.objective) * fast.factor
    bad = round(10_000 * share) + 1
    assert firing(of_windows(windows(10_000, bad))) >= {"errors.fast"}
    over = [*windows(10_000, 0, minutes=5), *windows(10_000, 2 * bad)[5:]]
    assert "errors.fast" not in firing(of_windows(over)), "it is over for five minutes"
    begun = [*windows(10_000, 2 * bad, minutes=5), *windows(10_000, 0)[5:]]
    assert "errors.fast" not in firing(of_windows(begun)), "five minutes of it do not say much of an hour"
    assert "errors.fast" not in firing(of_windows(windows(10_000, bad - 10)))


def test_with_little_traffic_minutes_are_counted_and_not_requests():
    least = RULES.errors.burns["fast"].bad_minutes
    quiet = windows(2, 0)
    assert firing(of_windows([Window(*quiet[0][:2], 1, 0), *quiet[1:]])) == set(), "one of 120 failed"
    bad = [Window(one.start_s, 2, 1, 0) for one in quiet[:least]]
    assert firing(of_windows([*bad, *quiet[least:]])) == {"errors.fast"}
    assert firing(of_windows([*bad[1:], *quiet[least:]])) == set()
    long_ago = [Window(one.start_s, 2, 1, 0) for one in quiet[-least:]]
    assert firing(of_windows([*quiet[:-least], *long_ago])) == set()


def test_silence_is_held_against_the_same_hour_of_the_week():
    now_s = NOON_S
    usual = windows(30, now_s=now_s - WEEK_S)
    assert firing(of_windows(usual)) == {"silence"}
    assert firing(of_windows([*usual, *windows(30)])) == set()
    assert firing(of_windows(windows(3, now_s=now_s - WEEK_S))) == set(), "so few lines are usual"
    assert firing(of_windows(usual, since_s=now_s - WEEK_S)) == set(), "the windows do not reach back so far"
    holiday = load().model_copy(update={"silence": RULES.silence.model_copy(update={"weeks": 2})})
    two = of_windows([*usual, *windows(1, now_s=now_s - 2 * WEEK_S)])
    assert firing(two, rules=holiday) == set(), "the week with the fewest lines counts"


def test_requests_take_long_by_their_percentile_where_there_is_one():
    for requests, ms, told in ((200, 5000, {"latency"}), (199, 5000, set()), (200, 4999, set())):
        found = Latency(requests, {"p50": 1, "p95": ms, "p99": 9000})
        assert firing(of_windows(windows(), latency=found)) == told
    assert firing(of_windows(windows(), latency=None)) == set()


def test_a_host_surges_by_its_share_and_by_what_it_had_before():
    rows = windows(400)
    assert firing(of_windows(rows, hosts=(HostLines("a", 1000, 0),))) == {"surge a"}
    assert firing(of_windows(rows, hosts=(HostLines("a", 999, 0),))) == set()
    assert firing(of_windows(rows, hosts=(HostLines("a", 1000, 2401),))) == set(), "it always asks much"


def test_what_stages_say_is_told():
    now_s = float(NOON_S)
    facts = Facts(
        now_s, None, {"hdfs": 299.0, "windows": 300.0},
        (Heal("agent_1", now_s - 2000, "long ago", 1), Heal("agent_2", now_s - 60, "it hung", 1)),
        Added(1, 0, (), now_s - 10),
        (Used("disk", "HDFS", 0.95, ""), Used("disk", "kafka", 0.5, ""), Used("retention", "lag", 0.5, "")),
        {}, 180.0,
    )  # fmt: skip
    first = advance(RULES, looks(RULES, facts), State(), now_s)
    assert set(first.firing) == {"heals agent_2", "watcher", "accounting"}, "the others must hold for a while"
    later = replace(facts, at_s=now_s + 60, added=Added(1, 0, (), now_s + 5))
    second = advance(RULES, looks(RULES, later), first, later.at_s)
    assert second.firing.keys() - first.firing.keys() == {
        "lag windows", "disk HDFS", "retention lag",
    }  # fmt: skip
    settled = Facts(
        now_s + 9999, None, {"hdfs": 0.0, "windows": 0.0}, (), Added(0, 0, (), now_s + 9999), (), {}, 0.0
    )
    quiet = advance(RULES, looks(RULES, settled), second, settled.at_s)
    later = replace(settled, at_s=settled.at_s + 9999)
    assert advance(RULES, looks(RULES, later), quiet, later.at_s).firing == {}


def test_what_is_not_known_changes_nothing():
    now_s = float(NOON_S)
    known = Facts(now_s, None, None, None, Added(1, 0, (), now_s))
    state = advance(RULES, looks(RULES, known), State(), now_s)
    assert set(state.firing) == {"accounting"}
    unknown = Facts(now_s + 99999)
    assert advance(RULES, looks(RULES, unknown), state, unknown.at_s).firing == state.firing


def test_what_must_hold_for_a_while_is_so_by_its_own_clock():
    now_s, slow = float(NOON_S), RULES.model_copy(
        update={"accounting": RULES.accounting.model_copy(update={"hold_s": 5})}
    )  # fmt: skip
    once = Facts(now_s, added=Added(1, 0, (), now_s - 1))
    state = advance(slow, looks(slow, once), State(), now_s)
    same = replace(once, at_s=now_s + 100)
    state = advance(slow, looks(slow, same), state, same.at_s)
    assert state.firing == {}, "nobody has looked again since"
    still = replace(once, at_s=now_s + 100, added=Added(1, 0, (), now_s + 100))
    assert set(advance(slow, looks(slow, still), state, still.at_s).firing) == {"accounting"}
    gone = replace(once, at_s=now_s + 100, added=Added(0, 0, (), now_s + 100))
    state = advance(slow, looks(slow, gone), state, gone.at_s)
    assert (state.firing, state.holds, state.changes) == ({}, {}, 0)


def test_a_rule_that_is_off_fires_nothing_and_lets_go():
    now_s = float(NOON_S)
    facts = Facts(now_s, unasked_s=999.0)
    state = advance(RULES, looks(RULES, facts), State(), now_s)
    assert set(state.firing) == {"watcher"}
    off = RULES.model_copy(update={"watcher": RULES.watcher.model_copy(update={"enabled": False})})
    after = advance(off, looks(off, facts), state, now_s)
    assert after.firing == {}
    assert [alert.key for alert in after.history] == ["watcher"]
    assert "watcher" not in off.names()


def test_the_state_survives_the_disk_and_stays_bounded():
    now_s, state = float(NOON_S), State()
    for number in range(2 * KEPT):
        facts = Facts(now_s + number, unasked_s=999.0 * (number % 2))
        state = advance(RULES, looks(RULES, facts), state, facts.at_s)
        if number in (9, 10, 2 * KEPT - 1):
            assert State.from_json(state.to_json()) == state
        if number == 9:
            few_bytes = len(state.to_json())
    assert state.fired == {"watcher": KEPT}
    assert len(state.history) + len(state.firing) == KEPT
    assert [change.number for change in state.untold][-1] == state.changes == 2 * KEPT - 1
    assert len(state.untold) == KEPT
    assert len(state.to_json()) < 300 * few_bytes
    assert state.without([state.changes]).untold == state.untold[:-1]


# ---------------------------------------------------------------------- the file


def test_a_file_of_ones_own_holds_only_what_differs(tmp_path):
    own = tmp_path / "alerts.toml"
    own.write_text("[lag]\nseconds = 7\n[[notify]]\nnotifier = 'a.B'\narguments = {to = 'x'}\n")
    rules = load(own)
    assert rules.lag.seconds == 7
    assert rules.lag.severity == RULES.lag.severity
    assert rules.errors == RULES.errors
    assert (RULES.notify, [each.notifier for each in rules.notify]) == ((), ["a.B"])


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[lag]\nseconds = -1", "[lag] seconds is -1: Input should be greater than 0"),
        ("[lag]\nsecond = 1", "[lag] second is 1, and no rule has such a field"),
        ("[errors.burns.fast]\nfactor = 'x'", "[errors.burns.fast] factor is 'x'"),
        ("[errors.burns.own]\nfactor = 2", "[errors.burns.own] enabled is missing"),
        ("[errors]\nobjective = 1", "[errors] objective is 1"),
        ("[lags]\nseconds = 1", "[lags] is {'seconds': 1}, and no rule has such a field"),
        ("[lag]\nseverity = 'loud'", "'urgent' or 'soon'"),
        ("[[notify]]\nnotifier = 'Mail'", "notifier is 'Mail'"),
        ("[lag", "is no TOML"),
    ],
)
def test_a_file_that_cannot_work_is_refused_by_name(tmp_path, text, told):
    own = tmp_path / "alerts.toml"
    own.write_text(text)
    with pytest.raises(RulesError) as error:
        load(own)
    assert str(own) in str(error.value)
    assert told in str(error.value)
    assert str(FILE) in str(error.value)


def test_a_file_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(RulesError, match="LOGPIPE_ALERTS_FILE"):
        load(tmp_path / "none.toml")


def test_the_defaults_tell_nobody_and_watch_everything():
    assert RULES.notify == ()
    assert set(RULES.names()) == {
        "errors.fast", "errors.middle", "errors.slow", "silence", "lag", "heals", "accounting", "malformed",
        "surge", "latency", "disk", "retention", "days", "watcher",
    }  # fmt: skip
    assert json.loads(State().to_json())["firing"] == {}
