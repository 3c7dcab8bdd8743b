"""Repair, the exception: files that are missing, damaged or foreign, and lines lost on their way to Kafka.

It works while lines arrive: what is linked does not change, and a file that is put in place equals its link.
"""

import logging
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

from logpipe.accounting.chain import Chain, ChainReader
from logpipe.clients.hdfs import Entry, Hdfs
from logpipe.contracts.chain import IN_USE_NAME, MEMORY_IN_USE_NAME, MEMORY_NAME
from logpipe.contracts.days import DAY, date_of
from logpipe.contracts.sealed import BESIDE_LINES, MANIFEST_FILE, SUCCESS_FILE
from logpipe.sealing.lock import alone
from logpipe.sealing.lost import resend
from logpipe.sealing.place import Place, Reached, nowhere
from logpipe.sealing.rewrite import LinesGoneError, is_whole, rewrite_link, rewrite_sealed, settle
from logpipe.sealing.seal import finish
from logpipe.settings import Settings

log = logging.getLogger(__name__)


@dataclass
class Outcome:
    """What a repair did, and what it could not do, a sentence each."""

    done: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def repair(
    settings: Settings,
    day: date | None = None,
    send: Callable[[str, Path], None] | None = None,
    *,
    reached: Reached = nowhere,
) -> Outcome:
    """Mend what HDFS lacks or has too much; without a day also what was lost on its way to Kafka.

    Sealed days are read whole only when they are asked for; else files tell by name and length.

    Args:
        settings: of the pipeline.
        day: only this one.
        send: has the lines of a file sent as the replay of the given id, and returns once they are
            acknowledged, or raises NotSentError; without it lost lines are only told.
        reached: told about each step.

    Raises:
        LockedError: another process repairs or seals on this machine.
        ChainError, TopicError, HdfsError, SourceGoneError: chain, topic, HDFS or records cannot be read.
    """
    outcome = Outcome()
    with alone(settings, "a repair"), closing(Hdfs.of(settings)) as hdfs:
        _repair_days(hdfs, settings, day, outcome, reached)
        if day is None:
            resend(hdfs, settings, send, outcome.done, outcome.failed, reached)
    return outcome


def _repair_days(
    hdfs: Hdfs, settings: Settings, only: date | None, outcome: Outcome, reached: Reached
) -> None:
    root = settings.hdfs_logs_dir
    reader = ChainReader(hdfs, root)
    sealed = reader.sealed_names()
    # Folders are listed before links are read: a file that is final has its link by then.
    names = {entry.name for entry in hdfs.list(root) if DAY.fullmatch(entry.name)}
    found = {name: hdfs.list(f"{root}/{name}") for name in names}
    chains = list(reader.with_links(reader.chains()).values())
    outcome.failed += [problem.text for chain in chains for problem in chain.problems()]
    names |= {link.day for chain in chains for link in chain.links if link.kind == "lines"}
    for day in [only] if only else sorted(map(date_of, names | sealed)):
        place = Place(hdfs, settings, day)
        try:
            if place.load() is not None:
                _repair_sealed(place, chains, outcome, reached, read=only is not None)
            else:
                _repair_open(place, chains, found.get(place.name, []), outcome, reached)
        except LinesGoneError as error:
            outcome.failed.append(str(error))


def _repair_open(
    place: Place, chains: list[Chain], found: list[Entry], outcome: Outcome, reached: Reached
) -> None:
    """A day that is not sealed: its files are those of its links."""
    known = set()
    for chain in chains:
        for link in chain.links:
            if link.kind != "lines" or link.day != place.name:
                continue
            known.add(link.file_name)
            if not is_whole(place, link.file_name, settle(place, link), link.length_bytes, link.text):
                rewrite_link(place, chain, link, reached)
                outcome.done.append(f"{place.folder}/{link.file_name} is written again from the topic")
    patterns = (IN_USE_NAME, MEMORY_NAME, MEMORY_IN_USE_NAME)
    for entry in found:
        if entry.name not in known and not any(pattern.fullmatch(entry.name) for pattern in patterns):
            _put_aside(place, entry.name, outcome)


def _repair_sealed(
    place: Place, chains: list[Chain], outcome: Outcome, reached: Reached, *, read: bool
) -> None:
    """A sealed day: its files are those of its manifest, whatever the chain still says."""
    sealed = place.load()
    assert sealed is not None
    finish(place, sealed, reached)
    if sealed.forgotten_at:
        return
    found = {entry.name: entry for entry in place.hdfs.list(place.folder)}
    damaged = {
        file.name
        for file in sealed.files
        if not is_whole(place, file.name, found.get(file.name), file.length_bytes, file.text, read=read)
    }
    if damaged:
        rewrite_sealed(place, sealed, damaged, reached)
        outcome.done += [f"{place.folder}/{name} is written again from the topic" for name in sorted(damaged)]
    if not {MANIFEST_FILE, SUCCESS_FILE} <= found.keys():
        place.write_manifest(place.folder, sealed)
        outcome.done.append(f"{place.folder} has its {MANIFEST_FILE} and {SUCCESS_FILE} again")
    known = BESIDE_LINES | {file.name for file in sealed.files}
    late = sealed.late(link for chain in chains for link in chain.links)
    known |= {link.file_name for link in late if link.kind == "lines"}
    for name in found.keys() - known:
        _put_aside(place, name, outcome)


def _put_aside(place: Place, name: str, outcome: Outcome) -> None:
    if kept := place.put_aside(f"{place.folder}/{name}"):
        outcome.done.append(f"{place.folder}/{name} belongs to nothing: it is kept as {kept}")
