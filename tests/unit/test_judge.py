"""What is lost, doubled and in flight, as a table: sums in, verdict out."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

import pytest

from logpipe.accounting.chain import Chain, Problem, own
from logpipe.accounting.judge import AHEAD_LINES, Accounting, Comparison, Facts, Stage, compare, judge
from logpipe.contracts.chain import Link, Totals
from logpipe.digest import Digest
from logpipe.replayer.feed import Place
from logpipe.replayer.follow.generation import Generation, Unknown
from logpipe.replayer.record import ReplayRecord, ReplaySpec


def lines(first: int, last: int) -> Digest:
    """Digest of lines ``first`` to ``last`` of a source."""
    return Digest.of([b"line %d" % number for number in range(first, last + 1)])


def record(
    replay: str, last: int, state: str = "done", profile: str = "durable", *, sealed: bool = False
) -> ReplayRecord:
    return ReplayRecord(
        spec=ReplaySpec(replay, "file:///a.log", "max", profile, None),
        state=state,  # type: ignore[arg-type]
        digest=lines(1, last),
        place=Place(last),
        sealed_at="2026-11-24T00:00:00+00:00" if sealed else None,
    )


def stage(
    replays: dict[str, Digest] | None = None,
    numbers: dict[str, int] | None = None,
    others: Digest | None = None,
    sealed: Digest | None = None,
    **more: Any,
) -> Stage:
    """A stage that holds these replays, others' lines without identity, and sealed lines."""
    replays, others = replays or {}, others or Digest()
    total = sum(replays.values(), start=others + (sealed or Digest()))
    found = Stage(
        "it",
        replays=replays,
        numbers=numbers or {replay: digest.lines for replay, digest in replays.items()},
        total=total,
        anonymous=others,
        pool=others,
    )
    return replace(found, **more)


@dataclass(frozen=True)
class Case:
    """Lost, doubled and in flight that are expected, of these facts; ``told`` must stand in the details."""

    name: str
    records: tuple[ReplayRecord, ...]
    hdfs: Stage
    windows: Stage | None = None  # None: as HDFS
    lost: int = 0
    doubled: int = 0
    in_flight: int = 0
    ok: bool = True
    told: str = ""
    sealable: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)


ALL = lines(1, 10)
EARLY, LATE = "2026-01-01T00:00:00+00:00", "2026-02-01T00:00:00+00:00"
A = record("a", 10)
CASES = [
    Case("all arrived", (A,), stage({"a": ALL}), sealable=("a",)),
    Case("nothing was ever sent", (), stage()),
    Case("three lines are missing, and all is read", (A,), stage({"a": lines(1, 7)}), lost=3, ok=False),
    Case("three are missing, three are to come", (A,), stage({"a": lines(1, 7)}, behind=3), in_flight=3),
    Case(
        "three are missing, one is to come",
        (A,),
        stage({"a": lines(1, 7)}, behind=1),
        lost=2,
        in_flight=1,
        ok=False,
    ),
    Case(
        "only the windows lack a line", (A,), stage({"a": ALL}), stage({"a": lines(1, 9)}), lost=1, ok=False
    ),
    Case(
        "HDFS has a line twice", (A,), stage({"a": ALL + lines(3, 3)}), stage({"a": ALL}), doubled=1, ok=False
    ),
    Case("a line became another one", (A,), stage({"a": lines(2, 11)}), lost=1, doubled=1, ok=False),
    Case(
        "a replay that runs is ahead of its record, by what was sent since",
        (record("a", 10, "running"),),
        stage({"a": lines(1, 14)}),
        told="a runs",
    ),
    Case(
        "a replay that runs has more lines than its numbers allow",
        (record("a", 10, "running"),),
        stage({"a": lines(1, 14)}, {"a": 12}),
        doubled=2,
        ok=False,
    ),
    Case(
        "a replay that runs lacks lines that it had acknowledged",
        (record("a", 10, "running"),),
        stage({"a": lines(1, 8)}),
        lost=2,
        ok=False,
    ),
    Case(
        "a failed replay",
        (record("a", 10, "failed"),),
        stage({"a": ALL}),
        ok=False,
        told="a of file:///a.log failed",
    ),
    Case(
        "a stopped replay, whose last batch was sent and not acknowledged",
        (record("a", 10, "stopped"),),
        stage({"a": lines(1, 13)}),
        ok=False,
        told="3 lines sent and not acknowledged",
    ),
    Case(
        "a repair sent the rest", (A,), stage({"a": lines(1, 7), "repair-1+a": lines(8, 10)}), sealable=("a",)
    ),
    Case(
        "two repairs sent the rest",
        (A, record("repair-1+a", 3)),
        stage({"a": lines(1, 7), "repair-1+a": lines(8, 10), "repair-2+a": lines(8, 10)}),
        doubled=3,
        ok=False,
    ),
    Case(
        "sealed replays are in the sums",
        (A, record("s", 5, sealed=True)),
        stage({"a": ALL}, sealed=lines(1, 5)),
        sealable=("a",),
    ),
    Case(
        "sealed and folded replays are in the sums",
        (record("s", 5, sealed=True),),
        stage(sealed=lines(1, 5) + ALL),
        facts={"folded": ALL, "folded_replays": 1},
    ),
    Case(
        "a sealed replay is still in the marks",
        (record("s", 10, sealed=True),),
        stage({"s": ALL}),
    ),
    Case(
        "a sealed line is not in HDFS any more, and the topic's end makes no excuse",
        (record("s", 5, sealed=True),),
        stage(sealed=lines(1, 4)),
        lost=1,
        ok=False,
    ),
    Case(
        "an identity that nobody knows",
        (A,),
        stage({"a": ALL, "forged": lines(1, 2)}),
        told="2 lines whose identity",
        sealable=("a",),
    ),
    Case("other clients' lines count", (A,), stage({"a": ALL}, others=lines(50, 55)), sealable=("a",)),
    Case(
        "the windows lack a line of another client",
        (),
        stage(others=lines(1, 5)),
        stage(others=lines(1, 4)),
        lost=1,
        ok=False,
    ),
    Case(
        "a line of another client is on its way to HDFS",
        (),
        stage(others=lines(1, 4), behind=1),
        stage(others=lines(1, 5)),
        in_flight=1,
    ),
    Case(
        "profile memory's replay has no identity",
        (record("m", 10, profile="memory"),),
        stage(others=ALL),
        sealable=("m",),
    ),
    Case(
        "while another one of profile memory runs, none is sealed",
        (record("m", 10, profile="memory"), record("n", 5, "running", profile="memory")),
        stage(others=ALL + lines(1, 7)),
    ),
    Case(
        "one that stopped long ago, all of whose lines are known, is given up",
        (
            record("m", 10, profile="memory"),
            replace(record("n", 5, "stopped", profile="memory"), finished_at=EARLY),
        ),
        stage(others=ALL + lines(1, 5)),
        ok=False,
        sealable=("m", "n"),
        facts={"give_up_before": datetime.fromisoformat(LATE)},
    ),
    Case(
        "what profile memory had sent is sealed, and later lines are of other clients",
        (record("m", 10, profile="memory", sealed=True),),
        stage(others=ALL + lines(50, 55) + lines(1, 3)),
        facts={"folded_anonymous": lines(1, 3), "folded_replays": 1},
    ),
    Case(
        "a sealed line of profile memory is not in HDFS any more",
        (record("m", 10, profile="memory", sealed=True),),
        stage(others=lines(1, 9)),
        lost=1,
        ok=False,
    ),
    Case(
        "a sealed line of profile memory became another one",
        (),
        stage(others=lines(2, 11)),
        lost=1,
        doubled=1,
        ok=False,
        facts={"folded_anonymous": ALL, "folded_replays": 1},
    ),
    Case(
        "sealed and new replays of profile memory are all there",
        (record("m", 10, profile="memory", sealed=True), record("n", 5, profile="memory")),
        stage(others=ALL + lines(1, 5)),
        sealable=("n",),
    ),
    Case(
        "profile memory lost two lines",
        (record("m", 10, profile="memory"),),
        stage(others=lines(1, 8)),
        lost=2,
        ok=False,
    ),
    Case(
        "a repair sent again what profile memory lost",
        (record("m", 10, profile="memory"), replace(record("repair-1+m", 2), digest=lines(9, 10))),
        stage({"repair-1+m": lines(9, 10)}, others=lines(1, 8)),
        sealable=("m",),
    ),
    Case(
        "repairs sent again what profile memory lost, one by profile memory as well",
        (
            record("m", 10, profile="memory", sealed=True),
            replace(record("repair-1+m", 2, profile="memory"), digest=lines(7, 8)),
            replace(record("repair-2+m", 2), digest=lines(9, 10)),
        ),
        stage({"repair-2+m": lines(9, 10)}, others=lines(1, 8)),
    ),
    Case(
        "what profile memory lost and a repair sent again is sealed, its marks are there or gone",
        (
            record("m", 10, profile="memory", sealed=True),
            replace(record("repair-1+m", 2), digest=lines(9, 10)),
            record("s", 5, sealed=True),
        ),
        stage({"repair-1+m": lines(9, 10)}, others=lines(1, 8), sealed=lines(1, 5)),
        stage(others=lines(1, 8), sealed=lines(1, 5) + lines(9, 10)),
    ),
    Case(
        "two lines are held in memory",
        (record("m", 10, profile="memory"),),
        stage(others=lines(1, 8), held=2),
        in_flight=2,
    ),
    Case(
        "an agent does not say what it holds",
        (record("m", 10, profile="memory"),),
        stage(others=lines(1, 8), held=None),
        in_flight=2,
        told="does not say",
    ),
    Case(
        "a killed sender sent two lines again without identity",
        (record("m", 10, profile="memory"),),
        stage(others=ALL + lines(1, 2)),
        doubled=2,
        ok=False,
    ),
    Case(
        "profile memory brings durable lines, which no link covers yet",
        (A,),
        stage({"a": lines(1, 4)}, pool=lines(5, 10), is_pooled=True),
        stage({"a": ALL}),
    ),
    Case(
        "profile memory lost a line that no link covers",
        (A,),
        stage({"a": lines(1, 4)}, pool=lines(6, 10), is_pooled=True),
        stage({"a": ALL}),
        lost=1,
        ok=False,
    ),
    Case(
        "profile memory's files lack two lines of its link",
        (A,),
        stage({"a": ALL}, gap=lines(4, 5)),
        stage({"a": ALL}),
        lost=2,
        ok=False,
    ),
    Case(
        "a replay that failed is waited for",
        (replace(record("a", 10, "failed"), finished_at=LATE),),
        stage({"a": ALL}),
        ok=False,
        told="clear its run",
        facts={"give_up_before": datetime.fromisoformat(EARLY)},
    ),
    Case(
        "a replay that was given up by word may be sealed",
        (replace(record("a", 10, "failed"), finished_at=LATE, given_up_at=LATE),),
        stage({"a": ALL}),
        ok=False,
        told="it was given up",
        sealable=("a",),
        facts={"give_up_before": datetime.fromisoformat(EARLY)},
    ),
    Case(
        "a replay that failed long ago may be given up",
        (replace(record("a", 10, "failed"), finished_at=EARLY),),
        stage({"a": ALL}),
        ok=False,
        sealable=("a",),
        facts={"give_up_before": datetime.fromisoformat(LATE)},
    ),
    Case(
        "it is not given up while other lines of it than those it knows of have arrived",
        (replace(record("a", 9, "failed"), finished_at=EARLY),),
        stage({"a": lines(2, 10)}, numbers={"a": 10}),
        ok=False,
        facts={"give_up_before": datetime.fromisoformat(LATE)},
    ),
    Case(
        "a replay that was given up half sent is whole as far as it was sent",
        (replace(record("a", 10, "failed", sealed=True), finished_at=EARLY),),
        stage({"a": ALL}),
    ),
    Case(
        "a file is missing",
        (A,),
        stage({"a": ALL}),
        ok=False,
        lost=4,
        told="is missing",
        facts={"problems": (Problem("x is missing", 4),)},
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_verdict(case: Case) -> None:
    facts = Facts(records=case.records, hdfs=case.hdfs, windows=case.windows or case.hdfs, **case.facts)
    found = judge(facts)
    assert (found.lost, found.doubled, found.in_flight) == (case.lost, case.doubled, case.in_flight), found
    assert found.ok == case.ok, found
    assert found.sealable == case.sealable
    assert case.told in "\n".join(found.details)


def test_the_json_line_holds_what_make_verify_promises() -> None:
    accounting = Accounting(source=3, topic=3, hdfs=2, windows=3, lost=1, doubled=0, in_flight=2)
    assert not accounting.ok
    assert accounting.to_json() == {
        "source": 3, "topic": 3, "hdfs": 2, "windows": 3, "lost": 1, "doubled": 0, "in_flight": 2,
        "unknown": 0,
    }  # fmt: skip


def link(first: int, next_offset: int, before: Link | None = None, **more: Any) -> Link:
    values = {"kind": "lines", "epoch": 0, "next_epoch": 0, "digest": lines(first + 1, next_offset), **more}
    made = Link(topic="t", topic_id="T", partition=0, first=first, next=next_offset, **values)
    return replace(made, totals=(before.totals if before else Totals()) + own(made))


def problems(*links: Link, is_pruned: bool = False) -> list[str]:
    return [problem.text for problem in Chain(0, links=links, is_pruned=is_pruned).problems()]


def test_links_that_follow_one_another_are_whole() -> None:
    first = link(0, 10)
    gone = link(10, 15, first, kind="expired", digest=Digest())
    ended = link(15, 0, gone, kind="ended", digest=Digest(), next_epoch=1)
    fresh = link(0, 4, ended, epoch=1, next_epoch=1)
    assert problems(first, gone, ended, fresh) == []
    assert (fresh.totals.digest.lines, fresh.totals.expired) == (14, 5)


def test_a_gap_an_overlap_and_wrong_sums_are_told() -> None:
    first = link(0, 10)
    assert "a gap" in problems(first, link(11, 12, first))[0]
    assert "an overlap" in problems(first, link(9, 12, first))[0]
    assert "sums" in problems(first, link(10, 12))[0]
    later = link(10, 12, first)
    assert "no floor" in problems(later)[0]
    assert problems(later, is_pruned=True) == []


def test_lines_of_a_replay_that_runs_are_in_flight_and_nobody_waits_for_them() -> None:
    running = record("b", 10, "running")
    behind = stage({"a": ALL, "b": lines(1, 7)}, behind=3)
    accounting = judge(Facts(records=(A, running), hdfs=behind, windows=behind))
    assert (accounting.in_flight, accounting.is_waiting) == (3, False)
    late = stage({"a": lines(1, 9), "b": lines(1, 7)}, behind=4)
    accounting = judge(Facts(records=(A, running), hdfs=late, windows=late))
    assert (accounting.in_flight, accounting.is_waiting) == (4, True)


def judged(hdfs: Stage, windows: Stage | None = None, **more: Any) -> Accounting:
    return judge(
        Facts(hdfs=replace(hdfs, name="HDFS"), windows=replace(windows or hdfs, name="windows"), **more)
    )


def test_numbers_of_an_accounting_are_those_of_the_facts() -> None:
    found = judged(
        stage({"a": ALL}),
        stage({"a": lines(1, 9)}),
        records=(A, record("repair-1+b", 3)),
        folded=lines(1, 4),
        folded_anonymous=lines(5, 6),
        topic_lines=21,
        hdfs_lines=22,
        problems=(Problem("x is missing", 4), Problem("y is missing", 2)),
    )
    assert found.to_json().items() >= {"source": 16, "topic": 21, "hdfs": 22, "windows": 9}.items()
    assert found.problems == ("x is missing", "y is missing")


def test_lines_of_a_missing_file_are_missing_on_hdfs_only() -> None:
    found = judged(
        stage({"a": ALL}), stage({"a": lines(1, 5)}), records=(A,), problems=(Problem("x is missing", 3),)
    )
    assert found.lost == 5, "the greater of both, not their sum"


def test_everything_in_words() -> None:
    hdfs = stage({"a": lines(1, 1007)}, numbers={"a": 1005}, behind=3000, held=4000)
    windows = stage({"a": lines(1, 1001)}, held=None)
    found = judged(
        hdfs,
        windows,
        records=(
            record("a", 1000, "running"),
            replace(record("b", 2000, "failed"), reason="the source is gone"),
            record("c", 0, "stopped"),
        ),
        notes=("a note",),
        problems=(Problem("x is missing", 4),),
    )
    assert found.details == (
        "x is missing",
        "a note",
        "replay b of file:///a.log failed after line 2,000: the source is gone; clear its run in Airflow to "
        "go on, or give it up: `make forget REPLAY=b`",
        "replay c of file:///a.log stopped after line 0: no reason is known; clear its run in Airflow to go "
        "on, or give it up: `make forget REPLAY=c`",
        "replay a runs: 1,000 lines so far",
        "HDFS: replay a: 0 lines missing, 2 too many",
        "HDFS: replay a: 5 lines sent and not acknowledged (yet)",
        "HDFS: replay b: 2,000 lines missing, 0 too many",
        "HDFS: 2,000 of the missing lines are in flight: they may still come",
        "HDFS: 3,000 records behind the topic's end",
        "HDFS: 4,000 lines are held in memory by an agent",
        "windows: replay a: 1 lines sent and not acknowledged (yet)",
        "windows: replay b: 2,000 lines missing, 0 too many",
        "windows: 2,000 of the missing lines are in flight: they may still come",
        "windows: an agent runs and does not say what it holds in memory",
    )


def of_followed_log(number: int, last: int, state: str, unknown: Unknown | None = None) -> ReplayRecord:
    generation = Generation("web1-access-0", "/l/access.log", "/l/access.log", "web1", 1, 2, unknown=unknown)
    return replace(record(f"web1-access-0.g{number}", last, state), generation=generation)


def test_what_is_unknown_of_followed_logs_is_counted_and_told() -> None:
    unknown = Unknown(11, 220, "2026-11-29T10:00", "2026-11-29T11:00", "its file is gone")
    records = (of_followed_log(1, 10, "done", unknown), of_followed_log(2, 5, "running"))
    both = stage({one.spec.replay_id: one.digest for one in records})
    found = judged(both, both, records=records, folded_unknown=2)
    assert (found.ok, found.lost, found.unknown, found.to_json()["unknown"]) == (True, 0, 3, 3)
    assert found.sealable == ("web1-access-0.g1",)
    assert found.details == (
        "followed logs: 5 lines so far, of files that are read: 1",
        "followed log /l/access.log: what follows line 10 of web1-access-0.g1 (byte 220) is not known, if "
        "there was anything: written between 2026-11-29T10:00 and 2026-11-29T11:00; its file is gone",
        "2 older parts of followed logs are not known",
    )


def test_a_followed_log_that_failed_is_gone_on_with_by_following_it() -> None:
    failed = replace(of_followed_log(1, 0, "failed"), reason="too few partitions")
    assert judged(stage(), records=(failed,)).unfinished == (
        "replay web1-access-0.g1 of file:///a.log failed after line 0: too few partitions; follow it "
        "again to go on: `make follow LOG=/l/access.log`",
    )


def test_sealed_lines_and_lines_of_unknown_replays_in_words() -> None:
    sealed = [record(f"s{number}", 5, sealed=True) for number in range(3)]
    five = stage(sealed=sum((lines(1, 5) for _ in range(3)), start=lines(20, 21)))
    assert judged(five, records=tuple(sealed), folded=lines(20, 23), folded_replays=1200).details[0] == (
        "HDFS: 1,203 sealed replays: 2 lines missing, 0 too many"
    )
    forged = stage({"a": ALL, "f1": lines(1, 1000), "f2": lines(1, 234)})
    assert judged(forged, records=(A,)).details[0] == (
        "HDFS: 1,234 lines whose identity no replay of this ledger has: f1, f2"
    )
    many = stage({f"f{number}": lines(1, 1) for number in range(6)})
    assert judged(many).details[0].endswith(" has: f0, f1, f2, f3, f4 …")
    some = stage({f"f{number}": lines(1, 1) for number in range(5)})
    assert judged(some).details[0].endswith(" has: f0, f1, f2, f3, f4")
    assert judged(stage(sealed=ALL), folded=lines(1, 9), folded_replays=1).details[0] == (
        "HDFS: 1 lines whose identity no replay of this ledger has"
    )


def test_what_other_clients_lines_lack_in_words() -> None:
    behind, ahead, other = stage(others=lines(1, 3)), stage(others=lines(1, 1005)), stage(others=lines(2, 4))
    found = judged(behind, ahead)
    assert (found.lost, found.details) == (
        1002, ("HDFS: lines of other clients: 1,002 lines missing, 0 too many",),
    )  # fmt: skip
    found = judged(ahead, behind)
    assert (found.lost, found.details) == (
        1002, ("windows: lines of other clients: 1,002 lines missing, 0 too many",),
    )  # fmt: skip
    found = judged(behind, other)
    assert (found.lost, found.doubled, found.details) == (
        1, 1, ("windows: lines of other clients: 1 lines missing, 1 too many",),
    )  # fmt: skip
    assert judged(behind).details == ()


def test_lines_of_other_clients_are_not_compared_while_a_replay_without_identity_is_open() -> None:
    few, many = stage(others=lines(1, 10)), stage(others=lines(1, 12))
    memory = record("m", 10, profile="memory")

    def compared(*records: ReplayRecord) -> bool:
        return any("other clients" in text for text in judged(few, many, records=records).details)

    assert compared()
    assert not compared(memory)
    assert compared(replace(memory, sealed_at="2026-03-01"))
    assert compared(replace(memory, digest=Digest()))


def test_what_profile_memory_lacks_and_has_too_many_in_words() -> None:
    def details(found: Stage, *records: ReplayRecord, **more: Any) -> tuple[str, ...]:
        return judged(found, stage(others=ALL), records=records, **more).details

    memory, running = record("m", 10, profile="memory"), record("n", 5, "running", profile="memory")
    assert details(stage(others=lines(1, 8)), memory) == (
        "HDFS: lines without identity: 2 lines missing, 0 too many",
    )
    assert details(stage(others=lines(1, 13)), memory) == (
        "HDFS: lines without identity: 0 lines missing, 3 too many",
    )
    assert details(stage(others=lines(1, 18)), memory, running)[1:] == (
        "HDFS: lines without identity: 3 lines sent and not acknowledged (yet)",
        "windows: lines without identity: 5 lines missing, 0 too many",
    )
    pooled = stage(others=lines(1, 12), is_pooled=True)
    assert details(pooled, memory) == ("HDFS: lines without identity: 0 lines missing, 2 too many",)
    assert details(stage(others=ALL, gap=lines(1, 3)), memory) == (
        "HDFS: profile memory's files: 3 lines missing, 0 too many",
    )


def test_several_replays_that_run_or_are_in_the_pool_add_up() -> None:
    running = (record("a", 10, "running"), record("b", 10, "running"))
    behind = stage({"a": lines(1, 7), "b": lines(1, 8)}, behind=5)
    found = judged(behind, records=running)
    assert (found.in_flight, found.is_waiting) == (5, False)
    done = (A, record("b", 10))
    pooled = stage({"a": lines(1, 7), "b": lines(1, 8)}, pool=lines(1, 5), is_pooled=True)
    assert judged(pooled, stage({"a": ALL, "b": ALL}), records=done).details == ()
    short = replace(pooled, pool=lines(1, 4))
    assert judged(short, stage({"a": ALL, "b": ALL}), records=done).lost == 1


def test_two_repairs_of_one_replay_without_identity_add_up() -> None:
    memory = record("m", 10, profile="memory", sealed=True)
    repairs = [replace(record(f"repair-{k}+m", 1), digest=lines(8 + k, 8 + k)) for k in (1, 2)]
    found = judged(stage(others=lines(1, 8), sealed=lines(9, 10)), records=(memory, *repairs))
    assert (found.lost, found.doubled, found.details) == (0, 0, ())


@pytest.mark.parametrize(
    ("state", "number", "is_told"),
    [
        ("done", 10, False),
        ("done", 11, True),
        ("stopped", 10 + AHEAD_LINES["stopped"], False),
        ("failed", 11 + AHEAD_LINES["failed"], True),
        ("running", 10 + AHEAD_LINES["running"], False),
        ("running", 11 + AHEAD_LINES["running"], True),
    ],
)
def test_a_number_that_the_ledger_cannot_have_sent_is_told(state: str, number: int, is_told: bool) -> None:
    found = judged(stage({"a": ALL}, numbers={"a": number}), records=(record("a", 10, state),))
    told = f"a: a record has number {number:,}, and 10 lines were sent: somebody else wrote in its name"
    assert sum(told in text for text in found.details) == 2 * is_told, found.details


def test_a_replay_of_which_a_stage_knows_no_number_sent_nothing_beyond_its_record() -> None:
    open_stage = stage({"a": lines(1, 2)}, numbers={})
    found = judged(replace(open_stage, numbers={}), records=(record("a", 0, "stopped"),))
    assert (found.doubled, found.details[1]) == (2, "HDFS: replay a: 0 lines missing, 2 too many")


def test_one_line_of_a_replay_that_stopped_may_have_been_sent() -> None:
    stopped = record("a", 10, "stopped")
    assert compare(stopped, lines(1, 10), 10) == compare(stopped, lines(1, 10), 3) == Comparison()
    assert compare(stopped, lines(2, 11), 10) == Comparison(1, 1)
    assert compare(stopped, lines(1, 10), 11) == Comparison()
    assert compare(stopped, lines(1, 11), 11) == Comparison(0, 0, 1)
    assert compare(stopped, lines(1, 12), 11) == Comparison(0, 1, 1)
    assert compare(stopped, lines(1, 9), 11) == Comparison(1, 0, 0)
    assert Comparison(1, 2, 3) + Comparison(10, 20, 30) == Comparison(11, 22, 33)
