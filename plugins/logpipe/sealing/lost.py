"""Lines that a source has, and that never reached Kafka: they are sent again, once.

Profile `memory` acknowledges what its agent 1 holds in memory; profile `durable` only loses what a broker
loses that said it had it.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import BinaryIO

from logpipe.accounting import lines as hdfs_lines
from logpipe.accounting.chain import ChainReader
from logpipe.accounting.difference import Difference
from logpipe.accounting.source import all_records, replays, sent_lines
from logpipe.accounting.topic import describe, end_offsets, offsets_at, records
from logpipe.clients.flume import Agents, held_events
from logpipe.clients.hdfs import Hdfs
from logpipe.contracts.chain import Layout
from logpipe.contracts.days import name_of
from logpipe.digest import Digest, DigestBuilder, line_hash
from logpipe.identity import Identities, Verdict, credited_to, parse_key
from logpipe.replayer.record import ReplayRecord
from logpipe.sealing.place import Reached
from logpipe.settings import Settings, zone_of

CLOCKS_MS = 3_600_000  # the broker's clock and the replayer's differ by less
PASS_WAIT_S = 60.0  # for agent 2 to make its ranges final; it may have been restarted just now
PASS_POLL_S = 0.5


@dataclass(frozen=True)
class _Lost:
    """What the chains lack of a replay. ``is_known``: they say something of it, its marks are not gone."""

    digest: Digest
    is_known: bool


class NotSentError(Exception):
    """Lines could not be sent again; the message says why. The next repair goes on with them."""


def resend(
    hdfs: Hdfs,
    settings: Settings,
    send: Callable[[str, Path], None] | None,
    done: list[str],
    failed: list[str],
    reached: Reached,
) -> None:
    """Send what an earlier repair has not finished; then look what is lost, and send that.

    Raises:
        SourceGoneError: records or a source cannot be read.
        TopicError, HdfsError, ChainError: the topic, HDFS or a chain cannot be read.
    """
    folder = settings.state_dir / "repairs"
    states = {record.spec.replay_id: record.state for record in all_records(settings)}
    unfinished = [path for path in sorted(folder.glob("repair-*.log")) if states.get(path.stem) != "done"]
    if not unfinished:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        unfinished = _write_lost(hdfs, settings, folder, set(states), failed)
        reached("lost-written")
    for path in unfinished:
        if send is None:
            failed.append(f"{path} holds lines that never reached Kafka: `make repair` sends them")
            continue
        try:
            send(path.stem, path)
        except NotSentError as error:
            failed.append(str(error))
            continue
        reached("lost-sent")
        with path.open("rb") as file:
            done.append(f"{sum(1 for _ in file)} lines that never reached Kafka are sent again: {path.stem}")


def _write_lost(
    hdfs: Hdfs, settings: Settings, folder: Path, taken: set[str], failed: list[str]
) -> list[Path]:
    """Write the lost lines of each replay that is done to a file of its own."""
    over = [record for record in replays(settings) if record.state == "done"]
    # What is sealed was equal everywhere, and its marks may have left the links.
    ended = [record for record in over if not record.sealed_at]
    by_memory = _memory_group(over)
    reader = ChainReader(hdfs, settings.hdfs_logs_dir)
    written = []
    if lacking := _lacking(reader, ended):
        if _have_passed(reader, settings):
            for record, lost in _lacking(reader, [record for record, _ in lacking]):
                written += _write_difference(hdfs, settings, folder, [record], lost, taken, failed)
        else:
            names = ", ".join(record.spec.replay_id for record, _ in lacking)
            failed.append(f"{names}: agent 2 has not made all final, so nobody knows yet whether any is lost")
    if by_memory:
        if (waiting := held_events(Agents.of(settings).filling)) != 0:
            held = "does not say what it holds" if waiting is None else f"holds {waiting} lines"
            failed.append(f"agent 1 {held}: whether any is lost shows when it has sent them")
        else:
            written += _write_difference(hdfs, settings, folder, by_memory, None, taken, failed)
    return written


def _memory_group(over: list[ReplayRecord]) -> list[ReplayRecord]:
    """Profile memory's replays that are not sealed, and those whose lines may stand beside theirs."""
    by_memory = [record for record in over if record.spec.profile == "memory"]
    group = [record for record in by_memory if not record.sealed_at]
    while group:
        since = datetime.fromtimestamp(_began_ms(group) / 1000, UTC)
        wider = [
            record
            for record in by_memory
            if not record.sealed_at
            or datetime.fromisoformat(record.finished_at or record.updated_at) >= since
        ]
        if len(wider) == len(group):
            break
        group = wider
    return group


def _began_ms(group: list[ReplayRecord]) -> int:
    """No record of the group in the topic is older."""
    first = min(datetime.fromisoformat(record.started_at) for record in group)
    return int(first.timestamp() * 1000) - CLOCKS_MS


def _lacking(reader: ChainReader, ended: list[ReplayRecord]) -> list[tuple[ReplayRecord, _Lost]]:
    """The replays of profile durable of which the chains do not hold all, with what they lack."""
    held = [
        (credited_to(replay), mark.digest)
        for chain in reader.chains().values()
        for replay, mark in (chain.newest.marks if chain.newest else {}).items()
    ]
    lacking = []
    for record in ended:
        marks = [digest for replay, digest in held if replay == record.spec.replay_id]
        missing = record.digest - sum(marks, Digest())
        # One of which there is too much is for `make audit`.
        if record.spec.profile != "memory" and missing != Digest() and missing.lines >= 0:
            lacking.append((record, _Lost(missing, is_known=bool(marks))))
    return lacking


def _have_passed(reader: ChainReader, settings: Settings) -> bool:
    """Wait until the chains pass the topic's end of now, for which agent 2 is asked; false: they did not."""
    now = describe(settings)
    deadline = time.monotonic() + PASS_WAIT_S
    while now.behind({number: chain.final(now.topic_id) for number, chain in reader.chains().items()}):
        if time.monotonic() > deadline:
            return False
        reader.finish()
        time.sleep(PASS_POLL_S)
    return True


def _write_difference(
    hdfs: Hdfs,
    settings: Settings,
    folder: Path,
    group: list[ReplayRecord],
    lost: _Lost | None,
    taken: set[str],
    failed: list[str],
) -> list[Path]:
    """Write what the sources of a group have and the topic has not; HDFS stands in where retention took some.

    Lines of profile memory have no identity: all its replays are one group, and only the topic tells. For a
    replay of profile durable the lines, without those that somebody else has sent in its name, must be those
    that the chains lack, or nothing is sent.
    """
    names = ", ".join(record.spec.replay_id for record in group)
    found = _in_topic(settings, group)
    if found is None and lost is None:
        failed.append(f"{names}: retention took records of its time, so nobody knows whether any is lost")
        return []
    with Difference(settings) as difference:
        difference.add("source", (line for record in group for _, line in sent_lines(record, settings)))
        difference.add("found", _on_hdfs(hdfs, settings, group[0]) if found is None else found)
        counts = difference.compare("source", "found")
        most = counts.missing + counts.surplus if counts.missing else 0
        differing = difference.hashes("source", "found", most)
    wanted = {hashed: count for hashed, count in differing.items() if count > 0}
    others = Digest()
    if found is not None and counts.surplus and lost is not None:
        surplus = {hashed: -count for hashed, count in differing.items()}
        others = _digest_of(surplus, _in_topic(settings, group))
    written, digest = [], Digest()
    for record in group:
        path = _next_free(folder, record.spec.replay_id, taken)
        own = _write_wanted(record, settings, wanted, path)
        digest += own
        if own.lines:
            written.append(path)
    if lost is not None and digest - others != lost.digest and (digest.lines or lost.is_known):
        for path in written:
            path.unlink()
        failed.append(f"{names}: {lost.digest.lines} lines are lost, and which cannot be told any more")
        return []
    return written


def _digest_of(counts: dict[int, int], lines: Iterator[bytes] | None) -> Digest:
    """Digest so many of the lines of each hash."""
    digest = DigestBuilder()
    for line in lines or ():
        hashed = line_hash(line)
        if counts.get(hashed, 0) > 0:
            counts[hashed] -= 1
            digest.add(line)
    return digest.build()


def _write_wanted(record: ReplayRecord, settings: Settings, wanted: dict[int, int], path: Path) -> Digest:
    """Write those lines of a source; the file is there as a whole or not at all."""
    digest = DigestBuilder()
    temporary = path.with_suffix(".tmp")
    with ExitStack() as stack:
        file: BinaryIO | None = None
        for _, line in sent_lines(record, settings) if wanted else ():
            hashed = line_hash(line)
            if wanted.get(hashed, 0) > 0:
                wanted[hashed] -= 1
                file = file or stack.enter_context(temporary.open("wb"))
                file.write(line + b"\n")
                digest.add(line)
    if file is not None:
        temporary.rename(path)
    return digest.build()


def _next_free(folder: Path, replay_id: str, taken: set[str]) -> Path:
    number = 1
    while (path := folder / f"repair-{number}+{replay_id}.log").exists() or path.stem in taken:
        number += 1
    return path


def _in_topic(settings: Settings, group: list[ReplayRecord]) -> Iterator[bytes] | None:
    """The group's lines in the topic, each identity once; None once retention took some of that time."""
    starts, bounds = offsets_at(settings, _began_ms(group)), end_offsets(settings)
    if any(low and starts[partition] <= low for partition, (low, _) in bounds.items()):
        return None
    own = {record.spec.replay_id for record in group}
    is_memory = group[0].spec.profile == "memory"

    def lines() -> Iterator[bytes]:
        identities = Identities()
        for partition, (_, end) in bounds.items():
            for record in records(settings, {partition: (starts[partition], end)}):
                verdict = identities.judge(partition, record.key)
                if verdict is Verdict.NEW:
                    identity = parse_key(record.key or b"")
                    if identity and credited_to(identity[0]) in own:
                        yield record.value
                elif is_memory and verdict is not Verdict.REPEAT:
                    yield record.value

    return lines()


def _on_hdfs(hdfs: Hdfs, settings: Settings, record: ReplayRecord) -> Iterator[bytes]:
    """All lines of the days of a replay."""
    zone = zone_of(settings.timezone)
    first, last = (
        datetime.fromisoformat(text).astimezone(zone).date()
        for text in (record.started_at, record.finished_at or record.updated_at)
    )
    for number in range((last - first).days + 2):
        folder = Layout(settings.hdfs_logs_dir).day(name_of(first + timedelta(days=number)))
        for path in hdfs_lines.files(hdfs, folder):
            if path == hdfs_lines.final_name(path):
                for some in hdfs_lines.lines(hdfs, path):
                    yield from some
