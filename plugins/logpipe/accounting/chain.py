"""Reads the chains of links from HDFS: how far they are, what they hold, and whether they are whole.

The words: a *range* is records of one partition whose lines are in one file; a *link* says what a range
holds, and sums over all before it; the links of a partition are its *chain*. What is in a link is *final*.
The range that agent 2 is writing is *open*: it tells how much of it was *flushed*, and a reader sees that
much. An *epoch* ends where offsets begin anew: another topic, or a broker that lost its tail. Links before
the *floor* were deleted, since their days are sealed.

Decision 7 has the design, `logpipe.contracts.chain` the names. Only the newest link of each partition, what
is open behind it, and the days that are not sealed are read: the rest is in their sums.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import TypeVar

from logpipe.accounting.lines import digest_file
from logpipe.clients.hdfs import Entry, Hdfs, HdfsError
from logpipe.contracts.chain import (
    FILE_NAME,
    FILE_PREFIX,
    FLOOR_ATTRIBUTE,
    IN_USE_NAME,
    LINK_ATTRIBUTE,
    LINK_NAME,
    MEMORY_IN_USE_NAME,
    MEMORY_NAME,
    OPEN_NAME,
    Layout,
    Link,
    Mark,
    Totals,
    file_name,
    in_use_name,
    link_name,
    place_of,
)
from logpipe.contracts.days import DAY
from logpipe.contracts.sealed import SealedDay
from logpipe.digest import Digest
from logpipe.settings.unreadable import UNREADABLE

THREADS = 8
ASK_AGAIN_S = 10.0  # an agent 2 that was started since does not heed what was asked before
FORGOTTEN = 0  # stands for when files of a forgotten day came or went
_ATTEMPTS = 10
_Item = TypeVar("_Item")
_Found = TypeVar("_Found")


class ChainError(HdfsError):
    """A link cannot be read; the message names it, says why, and the way out."""


@dataclass(frozen=True, slots=True)
class Chain:
    """One partition's chain.

    Attributes:
        partition: its number.
        names: of the links that are there, in order; those of days that are not sealed, and the newest.
        newest: the last link; None before the first.
        open: what of the range behind it has been flushed; None when there is none.
        links: those that are kept, from the floor on, once `ChainReader.with_links` has read them.
        is_pruned: whether links before these were deleted; else the first is the chain's beginning.
        adds_up: ``links`` lack those whose files are there, and proved by the sums of the newest link.
    """

    partition: int
    names: tuple[str, ...] = ()
    newest: Link | None = None
    open: Link | None = None
    links: tuple[Link, ...] = ()
    is_pruned: bool = False
    adds_up: bool = False

    @property
    def held(self) -> Link | None:
        """The link whose sums are all that HDFS holds: the open one, unless it does not say all."""
        return self.open if self.open and not self.open.is_partial else self.newest

    @property
    def totals(self) -> Totals:
        """Sums of what HDFS holds."""
        return self.held.totals if self.held else Totals()

    @property
    def marks(self) -> dict[str, Mark]:
        """What HDFS holds of each replay that is not sealed."""
        return self.held.marks if self.held else {}

    def flushed(self, topic_id: str) -> int:
        """Next offset that is not flushed, in that topic; 0 when the chain is in another one."""
        return self.held.next if self.held and self.held.topic_id == topic_id else 0

    def final(self, topic_id: str) -> int:
        """Next offset that is in no link, in that topic; 0 when the chain is in another one."""
        return self.newest.next if self.newest and self.newest.topic_id == topic_id else 0

    def before(self, link: Link) -> Link | None:
        """The link before one of `links`; None when that is the first."""
        at = [each.name for each in self.links].index(link.name)
        return self.links[at - 1] if at else None

    def marks_before(self, link: Link) -> dict[str, int] | None:
        """The highest number of each replay before one of `links`; None when it is not known any more."""
        before = self.before(link)
        if before is None:
            return None if self.is_pruned else {}
        return {replay: mark.number for replay, mark in before.marks.items()}

    def problems(self) -> "Iterator[Problem]":
        """Where `links` leave a gap, overlap, or do not add up."""
        if self.links and not self.is_pruned and _sums(self.links[0].totals) != _sums(own(self.links[0])):
            yield Problem(
                f"{_place(self.links[0])}: links before it are gone, and no floor says that they may be"
            )
        for before, after in pairwise(self.links):
            if (before.next_epoch, before.next) != (after.epoch, after.first):
                is_gap = (before.next_epoch, before.next) < (after.epoch, after.first)
                yield Problem(
                    f"{'a gap' if is_gap else 'an overlap'} in the chain: {_place(before)} ends at "
                    f"{link_name(before.next_epoch, before.next)}, and {after.name} follows. Links are not "
                    "repaired: restore them from a backup of the NameNode"
                )
            elif _sums(before.totals + own(after)) != _sums(after.totals):
                yield Problem(f"{_place(after)}: its sums are not those of the link before it and its own")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something on HDFS that is not as its links say: in words, and how many lines are missing by it."""

    text: str
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Days:
    """The days that are not sealed, held against their links.

    Attributes:
        chains: with links.
        sealed: names of sealed days.
        forgotten: those of them whose lines were deleted on purpose.
        memory_due: what profile memory should have written of these days, by links.
        memory_found: what stands in its files.
        memory_files: their paths.
        problems: broken links, files that are missing, damaged or too many.
        notes: what is worth telling and no failure.
    """

    chains: dict[int, Chain] = field(default_factory=dict)
    sealed: frozenset[str] = frozenset()
    forgotten: tuple[str, ...] = ()
    memory_due: Digest = field(default_factory=Digest)
    memory_found: Digest = field(default_factory=Digest)
    memory_files: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()


def parallel(call: Callable[[_Item], _Found], items: Iterable[_Item], threads: int = THREADS) -> list[_Found]:
    """What the call gives for each item, in their order; asked by a few threads at once."""
    with ThreadPoolExecutor(threads, thread_name_prefix="accounting") as pool:
        return list(pool.map(call, items))


class ChainReader:
    """Read access to the chains and days of one folder of logs.

    Args:
        hdfs: the client.
        logs_dir: holds one folder a day, and the chains.
        memory_file: keeps between calls which sealed days were looked at; None: nothing does.
    """

    def __init__(self, hdfs: Hdfs, logs_dir: str, memory_file: Path | None = None) -> None:
        self._hdfs = hdfs
        self._layout = Layout(logs_dir.rstrip("/"))
        self._memory_file = memory_file
        self._asked_at_s = -ASK_AGAIN_S

    def close(self) -> None:
        """Let go of the connections."""
        self._hdfs.close()

    def chains(self) -> dict[int, Chain]:
        """Each partition's chain; a partition that no link was made for is left out.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: a link cannot be read.
        """
        folders = self._hdfs.list(self._layout.chains)
        partitions = sorted(int(entry.name) for entry in folders if entry.is_folder and entry.name.isdigit())
        return {chain.partition: chain for chain in parallel(self._chain, partitions)}

    def with_links(self, chains: dict[int, Chain]) -> dict[int, Chain]:
        """The same chains with the links that are kept. Errors as `chains`."""
        return self._with_links(chains, self._floors(chains))

    def _floors(self, chains: dict[int, Chain]) -> dict[int, str]:
        """Of each partition the name of the oldest link that is kept; empty: none was deleted."""
        folders = [self._layout.chain(partition) for partition in chains]
        found = parallel(lambda folder: self._hdfs.attribute(folder, FLOOR_ATTRIBUTE), folders)
        return dict(zip(chains, ((floor or b"").decode() for floor in found), strict=True))

    def _with_links(self, chains: dict[int, Chain], floors: dict[int, str]) -> dict[int, Chain]:
        wanted = [
            (chain.partition, name)
            for chain in chains.values()
            for name in chain.names
            if name >= floors[chain.partition]
        ]
        heads = {(chain.partition, chain.names[-1]): chain.newest for chain in chains.values() if chain.names}
        found = parallel(lambda place: heads.get(place) or self.link(*place), wanted)
        links: dict[int, list[Link]] = {partition: [] for partition in chains}
        is_pruned = {partition: bool(floors[partition]) for partition in chains}
        for (partition, _), link in zip(wanted, found, strict=True):
            if link is not None:
                links[partition].append(link)
            else:  # pruned while it was read, and with it all before it
                links[partition].clear()
                is_pruned[partition] = True
        return {
            partition: replace(chain, links=tuple(links[partition]), is_pruned=is_pruned[partition])
            for partition, chain in chains.items()
        }

    def finish(self) -> None:
        """Ask agent 2 to make its open ranges final at once; heeded each `ASK_AGAIN_S` when it is repeated.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
        """
        if time.monotonic() - self._asked_at_s >= ASK_AGAIN_S:
            self._hdfs.write(self._layout.finish, b"", overwrite=True)
            self._asked_at_s = time.monotonic()

    def link(self, partition: int, name: str) -> Link | None:
        """A link by its name; None when it is gone, or is open and says nothing yet.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: another version wrote it, or it is damaged.
        """
        folder = self._layout.chain(partition)
        text = self._hdfs.attribute(f"{folder}/{name}", LINK_ATTRIBUTE)
        if text is None and (OPEN_NAME.fullmatch(name) or self._hdfs.status(f"{folder}/{name}") is None):
            return None
        try:
            values = json.loads(text or b"")
            if "side" in values:
                side = self._hdfs.read(f"{folder}/{values['side']}")
                if side is None and self._hdfs.status(f"{folder}/{name}") is None:
                    return None
                values = json.loads(side or b"")
            return Link.from_json(values)
        except UNREADABLE as error:
            raise ChainError(
                f"The link {folder}/{name} cannot be read ({type(error).__name__}: {error}): another version "
                "wrote it, or it is damaged: run the version that wrote it, or bring HDFS back from a backup"
            ) from None

    def _chain(self, partition: int) -> Chain:
        """The newest link, and what is open behind it; asked again when a writer came between two calls."""
        folder = self._layout.chain(partition)
        for attempt in range(_ATTEMPTS):
            listed = [entry.name for entry in self._hdfs.list(folder)]
            names = tuple(sorted(name for name in listed if LINK_NAME.fullmatch(name)))
            newest = self.link(partition, names[-1]) if names else None
            if names and newest is None:
                continue
            end = (newest.next_epoch, newest.next) if newest else None
            opened = [name for name in listed if _begins_at(name, end)]
            found = [link for name in opened if (link := self.link(partition, name)) is not None]
            if len(found) < len(opened) and attempt < _ATTEMPTS // 2:
                continue
            return Chain(partition, names, newest, max(found, key=lambda link: link.next, default=None))
        raise ChainError(f"The newest link in {folder} was gone at each of {_ATTEMPTS} looks: ask again")

    def sealed_names(self) -> frozenset[str]:
        """Names of the sealed days. Raises HdfsError."""
        names = [entry.name for entry in self._hdfs.list(self._layout.sealed_days)]
        return frozenset(name[:-5] for name in names if name.endswith(".json") and DAY.fullmatch(name[:-5]))

    def sealed(self, day: str) -> SealedDay | None:
        """A sealed day's sums; None while it is not sealed.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: another version wrote it, or it is damaged.
        """
        path = self._layout.sealed(day)
        text = self._hdfs.read(path)
        try:
            return None if text is None else SealedDay.from_json(json.loads(text))
        except UNREADABLE as error:
            raise ChainError(
                f"{path} cannot be read ({type(error).__name__}: {error}): another version wrote it, or it "
                "is damaged: run the version that wrote it, or bring HDFS back from a backup"
            ) from None

    def days(self, chains: dict[int, Chain], *, each_link: bool = False) -> Days:
        """Hold the days that are not sealed against their links. Errors as `chains`.

        Args:
            chains: their names were listed just now.
            each_link: read every link that is kept, and not only where sums and lengths of files do not do.
        """
        sealed, folders = self.sealed_names(), self._folders()
        listings = self._listings(folders.keys() - sealed)
        floors = self._floors(chains)
        if not each_link:
            lengths = _lengths([entry for entries in listings.values() for entry in entries])
            chains = {
                chain.partition: self._added_up(chain, floors[chain.partition], lengths)
                for chain in chains.values()
            }
        waiting = {number: chain for number, chain in chains.items() if not chain.adds_up}
        chains = chains | self._with_links(waiting, floors)
        problems = [problem for number in waiting for problem in chains[number].problems()]
        links = [link for chain in chains.values() for link in chain.links]
        listings |= self._listings({link.day for link in links if link.day} - sealed - listings.keys())
        later = self.sealed_names()  # a day that was sealed meanwhile is exchanged under our eyes
        listings = {day: entries for day, entries in listings.items() if day not in later}
        memory_files: list[str] = []
        for day, entries in listings.items():
            mine = [link for link in links if link.day == day]
            problems += self._lines_of(day, mine, entries)
            names = [entry.name for entry in entries if not entry.is_folder]
            memory_files += [f"{self._layout.day(day)}/{name}" for name in names if is_memory_file(name)]
            problems += self._surplus(day, names, mine, chains)
        found = [digest_file(self._hdfs, path) for path in memory_files]
        forgotten, damaged, notes = self._sealed(sealed, folders, links)
        return Days(
            chains=chains,
            sealed=later,
            forgotten=forgotten,
            memory_due=self._memory_due(links, later),
            memory_found=sum(found, start=Digest()),
            memory_files=tuple(memory_files),
            problems=(*problems, *damaged),
            notes=notes,
        )

    def _folders(self) -> dict[str, int]:
        """Of each day's folder when a file last came or went there."""
        entries = self._hdfs.list(self._layout.root)
        return {
            entry.name: entry.modified_ms
            for entry in entries
            if entry.is_folder and DAY.fullmatch(entry.name)
        }

    def _listing(self, day: str) -> list[Entry]:
        return self._hdfs.list(self._layout.day(day))

    def _listings(self, days: Iterable[str]) -> dict[str, list[Entry]]:
        names = sorted(days)
        return dict(zip(names, parallel(self._listing, names), strict=True))

    def _added_up(self, chain: Chain, floor: str, lengths: dict[tuple[int, int, int], int]) -> Chain:
        """The chain with the links for which no file stands, where all others are as sums and lengths say.

        Read are the first link, the newest, and those without a file. What lies between is told by the sums
        of the newest: so many offsets, in files of so many bytes. Else the chain is given back as it is.
        """
        names = [name for name in chain.names if name >= floor]
        if len(names) < 2 or chain.newest is None:
            return chain
        files = {name: lengths.get((chain.partition, *place_of(name))) for name in names[1:-1]}
        asked = [names[0], *(name for name, length in files.items() if length is None)]
        read = [link for link in parallel(lambda name: self.link(chain.partition, name), asked) if link]
        links = (*read, chain.newest)
        first, totals = links[0], links[0].totals
        offsets, place = 0, (first.next_epoch, first.next)
        for before, link in pairwise(links):
            between = names[names.index(before.name) + 1 : names.index(link.name)]
            follows = between[0] if between else link.name
            if follows != link_name(*place) or link.epoch != place[0]:
                return chain
            offsets += link.first - place[1]
            totals += own(link)
            place = (link.next_epoch, link.next)
        is_begun = bool(floor) or _sums(first.totals) == _sums(own(first))
        behind = chain.newest.totals.digest - totals.digest
        size = sum(length for length in files.values() if length is not None)
        expected = replace(chain.newest.totals, records=chain.newest.totals.records - offsets)
        is_whole = len(links) == len(asked) + 1 and is_begun and _stated(expected) == _stated(totals)
        if not is_whole or behind.size_bytes + behind.lines != size:
            return chain
        return replace(chain, links=links, is_pruned=bool(floor), adds_up=True)

    def _lines_of(self, day: str, links: list[Link], entries: list[Entry]) -> Iterator[Problem]:
        """Each link's file is there, under its final or its in-use name, as long as the link says."""
        lengths = {entry.name: entry.length_bytes for entry in entries}
        lines = [link for link in links if link.kind == "lines"]
        if any(_length(link, lengths) != link.length_bytes for link in lines):
            # Renamed between two rows of a long listing, or just repaired.
            lengths = {entry.name: entry.length_bytes for entry in self._listing(day)}
        for link in lines:
            length = _length(link, lengths)
            path = f"{self._layout.day(day)}/{link.file_name}"
            if length is None:
                yield Problem(
                    f"{path} is missing, with {link.digest.lines:,} lines: "
                    f"`make repair DATE=20{day}` writes it again from the topic",
                    link.digest.lines,
                )
            elif length != link.length_bytes:
                yield Problem(
                    f"{path} has {length:,} bytes, its link says {link.length_bytes:,}: "
                    f"`make repair DATE=20{day}` writes it again from the topic"
                )

    def _surplus(
        self, day: str, names: list[str], links: list[Link], chains: dict[int, Chain]
    ) -> Iterator[Problem]:
        """Files that readers take for lines, and no link knows."""
        known = {link.file_name for link in links}
        for chain in chains.values():
            if chain.adds_up:
                known |= {file_name(chain.partition, *place_of(name)) for name in chain.names}
        for name in names:
            found = FILE_NAME.fullmatch(name)
            is_lines = name.startswith(FILE_PREFIX) and name.endswith(".log") and not is_memory_file(name)
            if not is_lines or name in known:
                continue
            of = chains.get(int(found[1])) if found else None
            if found and of and of.newest:
                end = (of.newest.next_epoch, of.newest.next)
                if (int(found[2]), int(found[3])) >= end:
                    continue  # linked since the chain was read
            yield Problem(
                f"{self._layout.day(day)}/{name} is in no link, its lines are too many for whoever reads the "
                f"day: `make repair DATE=20{day}` puts it aside"
            )

    def _memory_due(self, links: list[Link], sealed: frozenset[str]) -> Digest:
        """What memory links say of days that are not sealed. Such a link may hold lines of several days."""
        memory = [link for link in links if link.kind == "memory"]
        due = sum((link.digest for link in memory), start=Digest())
        if not memory:
            return due
        newest = max(link.last_arrival_ms for link in memory)
        first, last = _day(min(link.first_arrival_ms for link in memory), -1), _day(newest, 1)
        days = parallel(self.sealed, sorted(day for day in sealed if first <= day <= last))
        return due - sum((memory_part(day, memory) for day in days if day), start=Digest())

    def _sealed(
        self, sealed: frozenset[str], folders: dict[str, int], links: list[Link]
    ) -> tuple[tuple[str, ...], list[Problem], tuple[str, ...]]:
        """The forgotten ones among the sealed days, and what is wrong with others by names and lengths.

        Each is looked at once, and again when a file has come or gone since.
        """
        known = self._looked_at()
        kept = {link.day for link in links if link.kind == "lines"}  # what came later has its link still
        asked = sorted(day for day in sealed if day in kept or known.get(day) != folders.get(day, FORGOTTEN))
        fresh: dict[str, int] = {}
        problems, notes = [], []
        for sums, found in parallel(lambda day: (self.sealed(day), self._listing(day)), asked):
            if sums is None:
                continue
            day, late = sums.day, sums.late(links)
            wrong = list(self._lines_of(day, late, found))
            if not sums.forgotten_at:
                wrong += self._wrong(sums, found, late)
            if not wrong:
                fresh[day] = FORGOTTEN if sums.forgotten_at else folders.get(day, FORGOTTEN)
            elif self._hdfs.status(self._layout.sealing(day)):
                notes.append(
                    f"{day} is being sealed: its folder is exchanged; the DAG hdfs_partitions ends that"
                )
            else:
                problems += wrong
        if fresh:
            self._remember({day: known[day] for day in known.keys() & sealed} | fresh)
        forgotten = {day for day in sealed if (known | fresh).get(day) == FORGOTTEN}
        return tuple(sorted(forgotten)), problems, tuple(notes)

    def _wrong(self, sums: SealedDay, found: list[Entry], late: list[Link]) -> Iterator[Problem]:
        """What a sealed day's folder has not as its sums say; ``late`` came when it was sealed already."""
        folder, mend = self._layout.day(sums.day), f"`make repair DATE=20{sums.day}`"
        if not found:
            yield Problem(
                f"The sealed day {sums.day} is missing, with {sums.lines:,} lines: {mend} writes it again as "
                f"far as Kafka has it, `make forget DATE=20{sums.day}` says that it may be gone",
                sums.lines,
            )
            return
        lengths = {entry.name: entry.length_bytes for entry in found}
        for file in sums.files:
            if file.name not in lengths:
                yield Problem(
                    f"{folder}/{file.name} of a sealed day is missing, with {file.text.lines:,} lines: "
                    f"{mend} writes it again as far as Kafka has it",
                    file.text.lines,
                )
            elif lengths[file.name] != file.length_bytes:
                yield Problem(
                    f"{folder}/{file.name} of a sealed day has {lengths[file.name]:,} bytes, not "
                    f"{file.length_bytes:,}: {mend} writes it again as far as Kafka has it"
                )
        known = {file.name for file in sums.files} | {link.file_name for link in late}
        for name in lengths.keys() - known:
            if name.startswith(FILE_PREFIX) and name.endswith(".log"):
                yield Problem(f"{folder}/{name} is no file of the sealed day: {mend} puts it aside")

    def _looked_at(self) -> dict[str, int]:
        try:
            return dict(json.loads(self._memory_file.read_text())) if self._memory_file else {}
        except (OSError, *UNREADABLE):
            return {}

    def _remember(self, days: dict[str, int]) -> None:
        if self._memory_file:
            try:
                fresh = self._memory_file.with_suffix(".fresh")
                fresh.write_text(json.dumps(days, sort_keys=True))
                fresh.replace(self._memory_file)
            except OSError:
                return  # it only spares requests


def is_memory_file(name: str) -> bool:
    """Whether profile memory's agent 2 wrote it, or is at it."""
    return bool(MEMORY_NAME.fullmatch(name) or MEMORY_IN_USE_NAME.fullmatch(name))


def own(link: Link) -> Totals:
    """What one link adds to the sums. It may be fewer records: where offsets are without one."""
    if link.kind == "expired":
        return Totals(expired=link.next - link.first)
    if link.kind == "ended":
        return Totals()
    memory = link.digest if link.kind == "memory" else Digest()
    return Totals(link.records, link.digest, link.anonymous, memory, link.repeats, link.foreign)


def _sums(totals: Totals) -> Totals:
    return replace(totals, records=0)


def _stated(totals: Totals) -> tuple[int, int, Digest]:
    return totals.records, totals.expired, totals.memory


def _lengths(entries: Iterable[Entry]) -> dict[tuple[int, int, int], int]:
    """Lengths of files of ranges by place; of two for one place nothing is said."""
    lengths: dict[tuple[int, int, int], int] = {}
    seen: set[tuple[int, int, int]] = set()
    for entry in entries:
        found = FILE_NAME.fullmatch(entry.name) or IN_USE_NAME.fullmatch(entry.name)
        if found:
            place = (int(found[1]), int(found[2]), int(found[3]))
            lengths[place] = entry.length_bytes
            if place in seen:
                del lengths[place]
            seen.add(place)
    return lengths


def memory_part(sealed: SealedDay, links: list[Link]) -> Digest:
    """What a sealed day holds of these memory links: written anew from the topic, or as they were."""
    if sealed.unconfirmed:
        known = [member.digest for _, member in sealed.members() if member.kind != "memory"]
        lines = sum(known, start=Digest())
        return sum((file.text for file in sealed.files), start=sealed.erased) - lines
    return sum(
        (
            member.digest
            for part, member in sealed.members()
            if member.kind == "memory"
            and any(
                (link.partition, link.epoch) == (part.partition, part.epoch)
                and link.first <= member.first < link.next
                for link in links
            )
        ),
        start=Digest(),
    )


def _day(epoch_ms: int, days: int) -> str:
    """The day, in UTC, so many days after an instant."""
    return f"{datetime.fromtimestamp(epoch_ms / 1000, UTC) + timedelta(days=days):%y-%m-%d}"


def _place(link: Link) -> str:
    return f"partition {link.partition}, link {link.name}"


def _begins_at(name: str, end: tuple[int, int] | None) -> bool:
    found = OPEN_NAME.fullmatch(name)
    return found is not None and (end is None or (int(found[1]), int(found[2])) == end)


def _length(link: Link, lengths: dict[str, int]) -> int | None:
    in_use = in_use_name(link.partition, link.epoch, link.first, link.attempt)
    return lengths.get(link.file_name, lengths.get(in_use))
