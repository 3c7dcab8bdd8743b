"""What was read, added up: the facts that are judged, and the notes."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from logpipe.accounting.chain import Chain, Problem
from logpipe.accounting.days import Days
from logpipe.accounting.judge import Accounting
from logpipe.accounting.verify import Reading, facts_of, seal_replays
from logpipe.clients.kafka import Topic
from logpipe.contracts.chain import Link, Mark, Totals
from logpipe.digest import Digest
from logpipe.replayer.feed import Place
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.replayer.sums import Sums
from logpipe.windows.reader import WindowTotals


def lines(first: int, last: int) -> Digest:
    return Digest.of([b"line %d" % number for number in range(first, last + 1)])


def head(
    partition: int, next_: int, totals: Totals, marks: dict[str, Mark] | None = None, **more: Any
) -> Chain:
    link = Link("lines", "t", "T", partition, 0, 0, 0, next_, totals=totals, marks=marks or {})
    return Chain(partition, newest=replace(link, **more))


def reading(**more: Any) -> Reading:
    """Two partitions of ten records each, all on HDFS and in the windows."""
    chains = {
        0: head(0, 10, Totals(10, lines(1, 10)), {"a": Mark(10, 0, lines(1, 10))}),
        1: head(1, 10, Totals(10, lines(11, 20)), {"a": Mark(20, 0, lines(11, 20))}),
    }
    counted = WindowTotals(
        lines(1, 20), {0: 10, 1: 10}, replays={"a": lines(1, 20)}, numbers={"a": 20}, topic_id="T"
    )
    values = {
        "records": (), "sums": Sums(), "give_up_before": datetime(2026, 3, 1, tzinfo=UTC),
        "now": Topic("T", {0: (0, 10), 1: (0, 10)}), "chains": chains, "days": Days(),
        "counted": counted, "ahead": {}, "held": (0, 0),
    }  # fmt: skip
    return Reading(**values | more)


def record(replay: str, last: int, state: str = "done", **more: Any) -> ReplayRecord:
    spec = ReplaySpec(replay, "file:///a.log", "max", "durable", None)
    return ReplayRecord(spec, state, digest=lines(1, last), place=Place(last), **more)  # type: ignore[arg-type]


def test_what_arrived_everywhere() -> None:
    facts = facts_of(reading(records=(record("a", 20),)))
    assert [one.spec.replay_id for one in facts.records] == ["a"]
    assert (facts.topic_lines, facts.hdfs_lines) == (20, 20)
    assert facts.give_up_before == datetime(2026, 3, 1, tzinfo=UTC)
    for stage, name in ((facts.hdfs, "HDFS"), (facts.windows, "the windows")):
        assert (stage.name, stage.behind, stage.held) == (name, 0, 0)
        assert (dict(stage.replays), dict(stage.numbers)) == ({"a": lines(1, 20)}, {"a": 20})
        assert (stage.total, stage.anonymous, stage.pool) == (lines(1, 20), Digest(), Digest())
        assert (stage.is_pooled, stage.gap) == (False, Digest())
    assert (facts.problems, facts.notes) == ((), ())


def test_the_highest_number_of_a_replay_counts_in_whatever_partition() -> None:
    made = reading()
    made.chains[1] = head(1, 10, Totals(), {"a": Mark(5, 0, lines(11, 20))})
    assert facts_of(made).hdfs.numbers == {"a": 10}


def test_records_behind_are_counted_for_each_stage() -> None:
    made = reading(now=Topic("T", {0: (0, 13), 1: (0, 10), 2: (5, 9)}))
    facts = facts_of(made)
    assert (facts.hdfs.behind, facts.windows.behind, facts.topic_lines) == (7, 7, 27)
    made = reading(counted=replace(made.counted, covered_offsets={0: 4}))
    assert (facts_of(made).hdfs.behind, facts_of(made).windows.behind) == (0, 16)
    made = reading(counted=replace(made.counted, covered_offsets=None))
    assert facts_of(made).windows.behind == 20


def test_windows_that_count_another_topic_are_behind_with_all_of_it() -> None:
    counted = reading().counted
    assert facts_of(reading(counted=replace(counted, topic_id=""))).windows.behind == 0
    facts = facts_of(reading(counted=replace(counted, topic_id="old")))
    assert facts.windows.behind == 20
    assert facts.notes == (
        "the windows count the topic with id old, Kafka's has T now: see the log of the windows job "
        "(`make logs SERVICE=analytics`) for what it refuses and the way on",
    )


def test_lines_without_identity_at_both_ends() -> None:
    chains = {
        0: head(0, 10, Totals(10, lines(1, 10), lines(1, 2))),
        1: head(1, 10, Totals(10, lines(11, 20), lines(11, 13), foreign=1)),
    }
    counted = WindowTotals(lines(1, 20), {0: 10, 1: 10}, anonymous=lines(1, 4), foreign=3, topic_id="T")
    facts = facts_of(reading(chains=chains, counted=counted))
    assert facts.hdfs.anonymous == facts.hdfs.pool == lines(1, 2) + lines(11, 13)
    assert facts.windows.anonymous == facts.windows.pool == lines(1, 4)
    assert facts.notes == (
        "4 lines without identity: of other clients, or of profile memory",
        "1 records of other clients whose key is no identity; their lines count",
        "3 records of other clients whose key is no identity are in the windows",
    )
    same = replace(counted, foreign=1)
    assert len(facts_of(reading(chains=chains, counted=same)).notes) == 2


def test_sums_of_folded_records_are_handed_on() -> None:
    sums = Sums(lines(1, 3), 4, given_up=2, given_up_lines=1500, anonymous=lines(4, 5))
    facts = facts_of(reading(sums=sums))
    assert (facts.folded, facts.folded_anonymous, facts.folded_replays) == (lines(1, 3), lines(4, 5), 4)
    assert facts.notes == ("2 replays were given up half sent: 1,500 lines of theirs were sent, and count",)


def test_what_problems_miss_and_memory_wrote_changes_what_stands_on_hdfs() -> None:
    days = Days(
        memory_due=lines(1, 6), memory_found=lines(1, 4),
        problems=(Problem("x", 3), Problem("y", 1)), notes=("sealing",), forgotten=("26-03-10",),
    )  # fmt: skip
    facts = facts_of(reading(days=days))
    assert facts.hdfs_lines == 20 - 2 - 4
    assert facts.problems == days.problems
    assert facts.notes == ("sealing", "1 days were forgotten on purpose, of which the sums are kept")
    assert (facts.hdfs.is_pooled, facts.hdfs.gap, facts.hdfs.pool) == (False, lines(5, 6), Digest())


def test_profile_memory_is_ahead_of_the_chain_by_its_groups_offsets() -> None:
    anonymous = Totals(10, lines(1, 10), lines(1, 1))
    made = reading(
        chains={0: head(0, 10, anonymous), 1: head(1, 10, anonymous)},
        now=Topic("T", {0: (0, 20), 1: (0, 20)}),
        days=Days(memory_due=lines(31, 31), memory_found=lines(31, 35)),
        ahead={0: 10, 1: 14, 2: 0},
    )
    facts = facts_of(made)
    assert facts.hdfs.is_pooled
    assert facts.hdfs.behind == 10 + 6
    assert facts.hdfs.pool == lines(1, 1) + lines(1, 1) + lines(32, 35)
    assert (facts.hdfs.gap, facts.hdfs_lines) == (Digest(), 24)


@pytest.mark.parametrize(
    ("found", "end", "ahead", "is_pooled"),
    [
        (lines(1, 1), 20, {}, True),  # the group commits a moment after lines may stand in a file
        (lines(1, 1), 10, {}, False),
        (Digest(), 20, {}, False),
        (lines(1, 1), 11, {}, True),
        (Digest(), 20, {0: 10, 1: 10}, False),
        (Digest(), 20, {0: 11}, True),
        (Digest(), 10, {2: 1}, True),
    ],
)
def test_when_lines_are_in_the_pool(
    found: Digest, end: int, ahead: dict[int, int], *, is_pooled: bool
) -> None:
    now = Topic("T", {0: (0, end), 1: (0, 10)})
    assert facts_of(reading(now=now, ahead=ahead, days=Days(memory_found=found))).hdfs.is_pooled is is_pooled


def test_what_was_reached_is_told_for_each_partition() -> None:
    made = reading(
        chains={0: head(0, 10, Totals()), 1: head(1, 4, Totals()), 3: Chain(3)},
        now=Topic("T", {0: (0, 10), 1: (0, 10), 2: (0, 1), 3: (0, 1)}),
        ahead={2: 0},
    )
    assert facts_of(made).hdfs.behind == 6 + 1 + 1


def test_lines_of_a_partition_that_the_topic_has_not_are_behind_its_end() -> None:
    made = reading(chains={5: head(5, 1, Totals())})
    assert (
        facts_of(made)
        .notes[0]
        .startswith("partition 5: HDFS has lines up to offset 1, Kafka's log ends at 0")
    )


@pytest.mark.parametrize(
    ("held", "hdfs", "windows"),
    [((2, 3), 5, 2), ((None, 3), None, None), ((2, None), None, 2), ((0, 0), 0, 0)],
)
def test_what_agents_hold(held: tuple[int | None, int | None], hdfs: int | None, windows: int | None) -> None:
    facts = facts_of(reading(held=held))
    assert (facts.hdfs.held, facts.windows.held) == (hdfs, windows)


def test_what_is_told_of_a_chain() -> None:
    totals = Totals(10, lines(1, 10), lines(1, 2), lines(1, 2), repeats=1234, expired=5)
    ended = Link("ended", "t", "S", 0, 0, 1010, 1, 0, totals=totals, reason="another topic")
    chains = {
        0: replace(head(0, 9, totals, epoch=1), links=(ended,)),
        1: head(1, 7, Totals(), topic_id="S"),
        2: head(2, 1500, Totals()),
        3: Chain(3),
    }
    facts = facts_of(reading(chains=chains, now=Topic("T", {0: (0, 9), 1: (0, 0), 2: (0, 1400)})))
    assert facts.notes == (
        "1,234 repeated records in the topic, known by their identity and left out",
        "2 lines without identity: of other clients, or of profile memory",
        "5 records were taken by Kafka's retention before agent 2 had read them",
        "2 lines were written by profile memory",
        "partition 0: epoch 0 ended at offset 1,010: another topic",
        "partition 1: HDFS follows the topic with id S, Kafka's has T now: agent 2 goes over to it by itself "
        "once it runs",
        "partition 2: HDFS has lines up to offset 1,500, Kafka's log ends at 1,400: the broker lost its "
        "tail; agent 2 begins a new epoch there",
    )


def test_replays_that_were_given_up_are_told() -> None:
    given_up = record("a", 20, "failed", sealed_at="2026-03-02", reason="the source is gone")
    records = (given_up, record("b", 5, sealed_at="2026-03-02"), record("c", 5, "failed"))
    notes = facts_of(reading(records=records, sums=Sums(given_up=1, given_up_lines=7))).notes
    assert notes == (
        "replay a of file:///a.log failed after line 20: the source is gone; it was given up",
        "2 replays were given up half sent: 27 lines of theirs were sent, and count",
    )


def test_what_cannot_be_sealed_is_left_and_a_replayer_that_is_away_is_asked_no_more() -> None:
    accounting = Accounting(0, 0, 0, 0, 0, 0, sealable=("a", "b", "c", "d"))
    asked: list[str] = []

    def seal(replay: str) -> bool:
        asked.append(replay)
        if replay == "c":
            raise ConnectionError
        return replay != "a"

    assert seal_replays(accounting, seal) == ["b"]
    assert asked == ["a", "b", "c"]
