"""Says from sums alone what is lost, doubled and in flight. Reads nothing: `verify` gathers the facts."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from logpipe.accounting.chain import Problem
from logpipe.digest import Digest
from logpipe.identity import credited_to
from logpipe.replayer.feed import BATCH_LINES
from logpipe.replayer.record import ReplayRecord

# Lines that a replay may be ahead of its record: one that runs by what it sent since that was read (a copy
# lags behind by seconds), one that was stopped or failed by the batches that nobody acknowledged.
AHEAD_LINES = {"running": 5_000_000, "stopped": 2 * BATCH_LINES, "failed": 2 * BATCH_LINES, "done": 0}
NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Stage:
    """What HDFS holds, or the windows.

    Attributes:
        name: as details call it.
        behind: records between what it has reached and the end offsets that were read after the ledger.
        replays: lines of each replay that is not sealed; of sealed ones it does not matter.
        numbers: the highest line number of each replay.
        total: all lines since the beginning.
        anonymous: the part of ``total`` without identity.
        pool: lines whose replay is not known: ``anonymous``, and those of profile memory that no link covers.
        is_pooled: profile memory wrote lines that no link covers: lines with identity may be in the pool too.
        gap: what profile memory should have written by the links, without what its files hold.
        held: lines in memory channels before this stage; None: an agent runs and does not answer.
    """

    name: str
    behind: int = 0
    replays: Mapping[str, Digest] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)
    total: Digest = field(default_factory=Digest)
    anonymous: Digest = field(default_factory=Digest)
    pool: Digest = field(default_factory=Digest)
    is_pooled: bool = False
    gap: Digest = field(default_factory=Digest)
    held: int | None = 0


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read: ledger, then end offsets, then HDFS and windows.

    Attributes:
        records: the replays' records, repairs included.
        folded: digest of the sealed replays of profile durable whose records were folded away.
        folded_anonymous: that of profile memory's, whose lines have no identity.
        folded_replays: their number, of both.
        give_up_before: replays that stopped half sent before then may be sealed as they are.
        topic_lines: distinct lines that the topic has taken.
        hdfs_lines: lines that stand in HDFS, forgotten days included.
        hdfs, windows: the two ends.
        problems: what is wrong on HDFS.
        notes: what is worth telling.
        folded_unknown: parts of followed logs that nobody could read any more, of records folded away.
    """

    records: tuple[ReplayRecord, ...] = ()
    folded: Digest = field(default_factory=Digest)
    folded_anonymous: Digest = field(default_factory=Digest)
    folded_replays: int = 0
    give_up_before: datetime = NEVER
    topic_lines: int = 0
    hdfs_lines: int = 0
    hdfs: Stage = field(default_factory=lambda: Stage("HDFS"))
    windows: Stage = field(default_factory=lambda: Stage("the windows"))
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    folded_unknown: int = 0


@dataclass(frozen=True, slots=True)
class Accounting:
    """Lines sent, and lines found at each stage; what is lost, doubled, and still in flight.

    Attributes:
        is_waiting: lines of replays that have ended are in flight. Of one that runs some always are.
        problems: what is wrong on HDFS, in words.
        unfinished: replays that were stopped or failed, and not given up yet, in words.
        sealable: replays that are over and equal everywhere, and not sealed yet.
        unknown: parts of followed logs that nobody could read any more: whether they held lines is not known.
        details: everything in words.
    """

    source: int
    topic: int
    hdfs: int
    windows: int
    lost: int
    doubled: int
    in_flight: int = 0
    is_waiting: bool = False
    problems: tuple[str, ...] = ()
    unfinished: tuple[str, ...] = ()
    sealable: tuple[str, ...] = ()
    unknown: int = 0
    details: tuple[str, ...] = ()

    @property
    def is_exact(self) -> bool:
        """Whether every line that arrived did so once, none is lost, and HDFS is as its links say."""
        return not (self.lost or self.doubled or self.problems)

    @property
    def ok(self) -> bool:
        """Whether it is exact, and no replay stands half sent."""
        return self.is_exact and not self.unfinished

    def to_json(self) -> dict[str, int]:
        """The object that `make verify` ends with."""
        names = ("source", "topic", "hdfs", "windows", "lost", "doubled", "in_flight", "unknown")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Lines that are missing, those that are too many, and those sent but not acknowledged."""

    missing: int = 0
    surplus: int = 0
    unacknowledged: int = 0

    @property
    def is_equal(self) -> bool:
        """Whether both hold the same lines."""
        return self == Comparison()

    @classmethod
    def of_digests(cls, expected: Digest, found: Digest) -> "Comparison":
        """Where as many lines are other ones, at least one is missing and one too many."""
        if expected == found:
            return cls()
        difference = expected.lines - found.lines
        return cls(max(0, difference), max(0, -difference)) if difference else cls(1, 1)

    def __add__(self, other: "Comparison") -> "Comparison":
        """Both together."""
        return Comparison(
            self.missing + other.missing,
            self.surplus + other.surplus,
            self.unacknowledged + other.unacknowledged,
        )


def compare(record: ReplayRecord, found: Digest, number: int) -> Comparison:
    """Hold what a stage has of a replay against its record.

    Lines behind the record's last one may have been sent and not acknowledged, or after the record was read:
    then only counts can be compared.
    """
    sent = record.digest
    beyond = 0 if record.state == "done" else max(0, number - record.place.line)
    if not beyond:
        return Comparison.of_digests(sent, found)
    surplus = max(0, found.lines - sent.lines)
    return Comparison(max(0, sent.lines - found.lines), max(0, surplus - beyond), min(surplus, beyond))


def judge(facts: Facts) -> Accounting:
    """Account for every line of every replay."""
    details = [problem.text for problem in facts.problems] + list(facts.notes)
    own = [record for record in facts.records if not record.is_repair]
    unfinished = tuple(
        f"{half_sent(record)}; {_ways_on(record)}"
        for record in own
        if record.state in ("failed", "stopped") and not record.sealed_at
    )
    details += unfinished
    running = [record for record in own if record.state == "running"]
    details += [
        f"replay {_id(record)} runs: {record.digest.lines:,} lines so far"
        for record in running
        if record.generation is None
    ]
    if followed := [record for record in running if record.generation]:
        lines = sum(record.digest.lines for record in followed)
        details.append(f"followed logs: {lines:,} lines so far, of files that are read: {len(followed):,}")
    unknown = [said for record in own if (said := _unknown(record))]
    details += unknown
    if facts.folded_unknown:
        details.append(f"{facts.folded_unknown:,} older parts of followed logs are not known")
    repaired: dict[str, Digest] = defaultdict(Digest)
    for record in facts.records:
        if record.is_repair and record.spec.profile == "durable":
            repaired[credited_to(_id(record))] += record.digest
    judged = [_Judge(facts, own, repaired, stage) for stage in (facts.hdfs, facts.windows)]
    if not judged[0].awaits_anonymous_replays:
        _compare_others(*judged)
    lost = [
        judge.lost + (sum(p.lines for p in facts.problems) if judge.stage is facts.hdfs else 0)
        for judge in judged
    ]
    for each in judged:
        details += each.details()
    is_whole = not facts.problems and facts.hdfs.gap == Digest()
    return Accounting(
        source=sum((record.digest for record in own), facts.folded + facts.folded_anonymous).lines,
        topic=facts.topic_lines,
        hdfs=facts.hdfs_lines,
        windows=facts.windows.total.lines,
        lost=max(lost),
        doubled=max(each.found.surplus for each in judged),
        in_flight=max(each.in_flight for each in judged),
        is_waiting=any(each.in_flight > each.missing_of_running for each in judged),
        problems=tuple(problem.text for problem in facts.problems),
        unfinished=unfinished,
        sealable=tuple(
            _id(record)
            for record in own
            if is_whole
            and not record.sealed_at
            and (record.state == "done" or record.is_given_up(facts.give_up_before))
            and all(_id(record) in each.equal for each in judged)
        ),
        unknown=len(unknown) + facts.folded_unknown,
        details=tuple(details),
    )


class _Judge:
    """One stage against the ledger."""

    def __init__(
        self, facts: Facts, records: list[ReplayRecord], repaired: Mapping[str, Digest], stage: Stage
    ) -> None:
        self.stage = stage
        self.found = Comparison()
        self.equal: set[str] = set()
        self._said: list[str] = []
        self._credited: dict[str, Digest] = defaultdict(Digest)
        for replay, digest in stage.replays.items():
            self._credited[credited_to(replay)] += digest
        self._repaired = repaired
        self._missing_in_pool = 0
        self.missing_of_running = 0
        with_identity = [record for record in records if record.spec.profile == "durable"]
        for record in with_identity:
            if not record.sealed_at:
                self._replay(record)
        without = [record for record in records if record.spec.profile != "durable"]
        self.awaits_anonymous_replays = any(one.digest.lines and not one.sealed_at for one in without)
        self._pool(without, facts.folded_anonymous)
        self._say("profile memory's files", Comparison.of_digests(stage.gap, Digest()))
        self._sealed(facts, records)

    def _say(self, what: str, found: Comparison) -> None:
        self.found += found
        if found.missing or found.surplus:
            self._said.append(f"{what}: {found.missing:,} lines missing, {found.surplus:,} too many")
        if found.unacknowledged:
            self._said.append(f"{what}: {found.unacknowledged:,} lines sent and not acknowledged (yet)")

    def _replay(self, record: ReplayRecord) -> None:
        replay = _id(record)
        number = self.stage.numbers.get(replay, 0)
        if number > record.place.line + AHEAD_LINES[record.state]:
            self._said.append(
                f"replay {replay}: a record has number {number:,}, and {record.place.line:,} lines were "
                "sent: somebody else wrote in its name; its lines below that number count as repeats"
            )
        found = compare(record, self._credited[replay], number)
        if found.is_equal and self._credited[replay] == record.digest:
            self.equal.add(replay)
        if self.stage.is_pooled and not found.surplus:
            # Profile memory's agent writes lines without their identity: they are looked for in the pool.
            self._missing_in_pool += found.missing
            found = replace(found, missing=0)
        if record.state == "running":
            self.missing_of_running += found.missing
        self._say(f"replay {replay}", found)

    def _pool(self, records: list[ReplayRecord], folded: Digest) -> None:
        """Lines without identity: those of profile memory's replays, and of other clients.

        What a repair has sent again of such a replay has an identity: until the replay is sealed it is looked
        for beside the pool, then among the sealed lines.
        """
        waited_for = [record for record in records if not record.sealed_at and record.digest.lines]
        expected = sum((record.digest for record in waited_for), start=folded)
        for record in records:
            if record.sealed_at:
                expected += record.digest - self._repaired[_id(record)]
        pool = sum((self._credited[_id(record)] for record in waited_for), start=self.stage.pool)
        if self.stage.is_pooled:
            lines = expected.lines + self._missing_in_pool
        else:
            lines = expected.lines
            if pool == expected:
                self.equal |= {_id(record) for record in records}
        is_over = bool(waited_for) and all(record.state == "done" for record in waited_for)
        surplus = max(0, pool.lines - lines)
        if not self.stage.is_pooled and (is_over or not (waited_for or surplus)):
            self._say("lines without identity", Comparison.of_digests(expected, pool))
        elif self.stage.is_pooled or waited_for:
            found = Comparison(max(0, lines - pool.lines), surplus if is_over else 0)
            self._say("lines without identity", replace(found, unacknowledged=surplus - found.surplus))

    def others(self, found: Comparison) -> None:
        """Take note of what this stage lacks of other clients' lines."""
        self._say("lines of other clients", found)

    def _sealed(self, facts: Facts, records: list[ReplayRecord]) -> None:
        """What is sealed: all lines with identity, without those that were compared before."""
        sealed = [record for record in records if record.sealed_at]
        expected = facts.folded
        for record in sealed:
            has_identity = record.spec.profile == "durable"
            expected += record.digest if has_identity else self._repaired[_id(record)]
        compared = (self._credited[_id(record)] for record in records if not record.sealed_at)
        found = self.stage.total - self.stage.anonymous - sum(compared, start=Digest())
        if found.lines > expected.lines:
            known = {_id(record) for record in records}
            names = sorted(replay for replay in self._credited if replay not in known)
            some = f": {', '.join(names[:5])}{' …' if names[5:] else ''}" if names else ""
            self._said.append(
                f"{found.lines - expected.lines:,} lines whose identity no replay of this ledger has{some}"
            )
        else:
            self._say(
                f"{facts.folded_replays + len(sealed):,} sealed replays",
                Comparison.of_digests(expected, found),
            )

    @property
    def in_flight(self) -> int:
        """Missing lines that may still come."""
        allowance = self.stage.behind + (self.stage.held or 0)
        return self.found.missing if self.stage.held is None else min(self.found.missing, allowance)

    @property
    def lost(self) -> int:
        """Missing lines that will not come by themselves."""
        return self.found.missing - self.in_flight

    def details(self) -> list[str]:
        """In words."""
        name = self.stage.name
        said = [f"{name}: {text}" for text in self._said]
        if self.in_flight:
            said.append(f"{name}: {self.in_flight:,} of the missing lines are in flight: they may still come")
        if self.stage.behind:
            said.append(f"{name}: {self.stage.behind:,} records behind the topic's end")
        if self.stage.held:
            said.append(f"{name}: {self.stage.held:,} lines are held in memory by an agent")
        if self.stage.held is None:
            said.append(f"{name}: an agent runs and does not say what it holds in memory")
        return said


def _compare_others(hdfs: _Judge, windows: _Judge) -> None:
    """Other clients' lines have no ledger: who has fewer of them lacks some."""
    if hdfs.stage.is_pooled:
        return
    ours, theirs = hdfs.stage.anonymous, windows.stage.anonymous
    if ours.lines < theirs.lines:
        hdfs.others(Comparison(theirs.lines - ours.lines))
    elif theirs != ours:
        windows.others(
            Comparison(ours.lines - theirs.lines) if ours.lines > theirs.lines else Comparison(1, 1)
        )


def half_sent(record: ReplayRecord) -> str:
    """Which replay stopped or failed, where, and why."""
    return (
        f"replay {_id(record)} of {record.spec.to_json()['url']} {record.state} after line "
        f"{record.place.line:,}: {record.reason or 'no reason is known'}"
    )


def _unknown(record: ReplayRecord) -> str:
    """What is not known of a followed log's file."""
    if record.generation is None or (unknown := record.generation.unknown) is None:
        return ""
    return (
        f"followed log {record.generation.path}: what follows line {unknown.from_line - 1:,} of "
        f"{_id(record)} (byte {unknown.from_byte:,}) is not known, if there was anything: "
        f"written between {unknown.since} and {unknown.until}; {unknown.reason}"
    )


def _ways_on(record: ReplayRecord) -> str:
    if record.given_up_at:
        return "it was given up, and is sealed once HDFS and windows hold just what it has sent"
    if record.generation is not None:
        return f"follow it again to go on: `make follow LOG={record.generation.path}`"
    return f"clear its run in Airflow to go on, or give it up: `make forget REPLAY={_id(record)}`"


def _id(record: ReplayRecord) -> str:
    return record.spec.replay_id
