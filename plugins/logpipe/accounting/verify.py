"""Proves by adding up that HDFS and the windows hold each line of the source once; reads no lines.

Ledger first, then the topic's end offsets, then the chains and the windows' newest commit: a stage that has
passed the ends must hold what the ledger says. What `verify` reads does not grow with history.
"""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from logpipe.accounting import topic
from logpipe.accounting.chain import Chain, ChainReader
from logpipe.accounting.days import Days, DaysReader
from logpipe.accounting.judge import Accounting, Facts, Stage, half_sent, judge
from logpipe.accounting.source import ledger
from logpipe.clients.flume import Agents, held_events
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.kafka import Topic
from logpipe.contracts.chain import Link, Totals, of_replays
from logpipe.digest import Digest
from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.sums import Sums
from logpipe.settings import Settings
from logpipe.windows.reader import WindowTotals, commit_totals

SEALED_DAYS_FILE = "sealed_days.json"  # in the state folder: spares asking HDFS about each of them again


def verify(settings: Settings, agents: Agents | None = None) -> Accounting:
    """Account for every line of every replay.

    Args:
        settings: of the pipeline.
        agents: the Flume agents, by default those of the settings.

    Raises:
        TopicError, HdfsError, ChainError, WindowsError: a stage cannot be read.
        SourceGoneError: the ledger cannot be read.
    """
    return judge(facts_of(read(settings, agents)))


def chain_reader(settings: Settings) -> ChainReader:
    """Reads this pipeline's chains."""
    return ChainReader(Hdfs.of(settings), settings.hdfs_logs_dir)


@dataclass(frozen=True, slots=True)
class Reading:
    """What was read, in the order that makes it comparable: ledger, the topic's ends, then the rest.

    Attributes:
        records, sums: as `ledger` gives them.
        give_up_before: replays that stopped half sent before then are not waited for any more.
        now: the topic.
        chains: of each partition, with the links that were read.
        days: held against their links and sums.
        counted: the windows' newest commit.
        ahead: what agent 2's group has committed, where profile memory writes.
        held: lines in the memory channels of the agents that fill the topic, and of those that empty it.
    """

    records: tuple[ReplayRecord, ...]
    sums: Sums
    give_up_before: datetime
    now: Topic
    chains: dict[int, Chain]
    days: Days
    counted: WindowTotals
    ahead: dict[int, int]
    held: tuple[int | None, int | None]

    @property
    def links(self) -> list[Link]:
        """The links that were read, of all partitions."""
        return [link for chain in self.chains.values() for link in chain.links]


def read(settings: Settings, agents: Agents | None = None, *, each_link: bool = False) -> Reading:
    """Read what an accounting needs, or also each link that is kept. Errors as `verify`."""
    agents = agents or Agents.of(settings)
    records, sums = ledger(settings)
    # In the direction of the flow: what has left one place by then is seen in the next.
    held_1 = held_events(agents.filling)
    now = topic.describe(settings)
    with (
        closing(chain_reader(settings)) as reader,
        ThreadPoolExecutor(1, thread_name_prefix="accounting") as pool,
    ):
        counting = pool.submit(commit_totals, settings)
        taken = topic.committed(settings, now.offsets)
        held_2 = held_events(agents.emptying)
        days = DaysReader(reader, settings.state_dir / SEALED_DAYS_FILE).read(
            reader.chains(), each_link=each_link
        )
        counted = counting.result()
    # Only where profile memory writes can the group be ahead of the chain, and lines be held in memory.
    is_memory = bool(days.memory_files) or not days.chains
    sends_memory = any(one.spec.profile == "memory" and not one.sealed_at for one in records)
    return Reading(
        tuple(records),
        sums,
        datetime.now(UTC) - timedelta(days=settings.keep_runs_days),
        now,
        days.chains,
        days,
        counted,
        ahead=taken if is_memory else {},
        held=(held_1 if is_memory or sends_memory else 0, held_2 if is_memory else 0),
    )


def facts_of(reading: Reading) -> Facts:
    """Add up what was read."""
    now, chains, days, counted = reading.now, reading.chains, reading.days, reading.counted
    totals = sum((chain.totals for chain in chains.values()), start=Totals())
    flushed = {partition: chain.flushed(now.topic_id) for partition, chain in chains.items()}
    is_counting = counted.topic_id in ("", now.topic_id)
    return Facts(
        records=reading.records,
        folded=reading.sums.digest,
        folded_anonymous=reading.sums.anonymous,
        folded_replays=reading.sums.replays,
        folded_unknown=reading.sums.unknown,
        give_up_before=reading.give_up_before,
        topic_lines=totals.digest.lines + now.behind(flushed),
        hdfs_lines=totals.digest.lines
        + (days.memory_found - days.memory_due).lines
        - sum(problem.lines for problem in days.problems),
        hdfs=_hdfs_stage(now, chains, days, totals, flushed, reading.ahead, _both(*reading.held)),
        windows=Stage(
            "the windows",
            behind=now.behind((counted.covered_offsets or {}) if is_counting else {}),
            replays=counted.replays,
            numbers=counted.numbers,
            total=counted.digest,
            anonymous=counted.anonymous,
            pool=counted.anonymous,
            held=reading.held[0],
        ),
        problems=days.problems,
        notes=(*days.notes, *_notes(reading, totals, is_counting=is_counting)),
    )


def _hdfs_stage(
    now: Topic,
    chains: dict[int, Chain],
    days: Days,
    totals: Totals,
    flushed: dict[int, int],
    ahead: dict[int, int],
    held: int | None,
) -> Stage:
    replays, numbers = of_replays(mark for chain in chains.values() for mark in chain.marks.items())
    beyond = days.memory_found - days.memory_due
    # The group commits a moment after lines may stand in a file already.
    is_pooled = any(offset > flushed.get(partition, 0) for partition, offset in ahead.items()) or (
        beyond.lines > 0 and now.behind(flushed) > 0
    )
    return Stage(
        "HDFS",
        behind=now.behind(topic.further(flushed, ahead)),
        replays=replays,
        numbers=numbers,
        total=totals.digest,
        anonymous=totals.anonymous,
        pool=totals.anonymous + beyond if is_pooled else totals.anonymous,
        is_pooled=is_pooled,
        gap=Digest() if is_pooled else days.memory_due - days.memory_found,
        held=held,
    )


def _both(first: int | None, second: int | None) -> int | None:
    return None if first is None or second is None else first + second


def _notes(reading: Reading, totals: Totals, *, is_counting: bool) -> Iterable[str]:
    """What is worth telling, and no failure by itself."""
    now, chains, days, counted = reading.now, reading.chains, reading.days, reading.counted
    given_up = [one for one in reading.records if one.sealed_at and one.state != "done"]
    for record in given_up:
        yield f"{half_sent(record)}; it was given up"
    if replays := len(given_up) + reading.sums.given_up:
        lines = sum(record.digest.lines for record in given_up) + reading.sums.given_up_lines
        yield f"{replays:,} replays were given up half sent: {lines:,} lines of theirs were sent, and count"
    if totals.repeats:
        yield f"{totals.repeats:,} repeated records in the topic, known by their identity and left out"
    if others := totals.anonymous.lines - totals.foreign:
        yield f"{others:,} lines without identity: of other clients, or of profile memory"
    if totals.foreign:
        yield f"{totals.foreign:,} records of other clients whose key is no identity; their lines count"
    if totals.expired:
        yield f"{totals.expired:,} records were taken by Kafka's retention before agent 2 had read them"
    if totals.memory.lines:
        yield f"{totals.memory.lines:,} lines were written by profile memory"
    if days.forgotten:
        yield f"{len(days.forgotten):,} days were forgotten on purpose, of which the sums are kept"
    for link in reading.links:
        if link.kind == "ended":
            where = f"partition {link.partition}: epoch {link.epoch} ended at offset {link.first:,}"
            yield f"{where}: {link.reason}"
    for chain in chains.values():
        if chain.newest and chain.newest.topic_id != now.topic_id:
            yield (
                f"partition {chain.partition}: HDFS follows the topic with id {chain.newest.topic_id}, "
                f"Kafka's has {now.topic_id} now: agent 2 goes over to it by itself once it runs"
            )
        end = now.offsets.get(chain.partition, (0, 0))[1]
        if (reached := chain.flushed(now.topic_id)) > end:
            yield (
                f"partition {chain.partition}: HDFS has lines up to offset {reached:,}, Kafka's log ends "
                f"at {end:,}: the broker lost its tail; agent 2 begins a new epoch there"
            )
    if not is_counting:
        yield (
            f"the windows count the topic with id {counted.topic_id}, Kafka's has {now.topic_id} now: see "
            "the log of the windows job (`make logs SERVICE=analytics`) for what it refuses and the way on"
        )
    if counted.foreign > totals.foreign:
        yield f"{counted.foreign:,} records of other clients whose key is no identity are in the windows"


def seal_replays(accounting: Accounting, seal: Callable[[str], bool]) -> list[str]:
    """Have the replays sealed that are over and equal everywhere; what fails is left for the next time.

    Args:
        accounting: says which.
        seal: asks the replayer to seal one, and tells whether it did; a ConnectionError says that it is away.

    Returns:
        Those that were sealed.
    """
    sealed = []
    for replay in accounting.sealable:
        try:
            if seal(replay):
                sealed.append(replay)
        except ConnectionError:
            break
    return sealed
