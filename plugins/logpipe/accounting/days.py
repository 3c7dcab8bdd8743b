"""Holds the days that are not sealed against their links, and the sealed ones against their sums.

Names, lengths and sums are compared; lines are read of profile memory's files only.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path

from logpipe.accounting.chain import Chain, ChainReader, Problem, own, parallel, sums_of
from logpipe.accounting.lines import digest_file
from logpipe.clients.hdfs import Entry
from logpipe.contracts.chain import (
    FILE_NAME,
    FILE_PREFIX,
    IN_USE_NAME,
    MEMORY_IN_USE_NAME,
    MEMORY_NAME,
    Link,
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

FORGOTTEN = 0  # stands for when files of a forgotten day came or went


@dataclass(frozen=True, slots=True)
class Days:
    """The days, held against their links and sums.

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


class DaysReader:
    """Read access to the days of one folder of logs.

    Args:
        reader: of the chains there.
        memory_file: keeps between calls which sealed days were looked at; None: nothing does.
    """

    def __init__(self, reader: ChainReader, memory_file: Path | None = None) -> None:
        self._reader = reader
        self._hdfs, self._layout = reader.hdfs, reader.layout
        self._memory_file = memory_file

    def read(self, chains: dict[int, Chain], *, each_link: bool = False) -> Days:
        """Hold the days that are there against their links and sums. Errors as `ChainReader.chains`.

        Args:
            chains: their names were listed just now.
            each_link: read every link that is kept, and not only where sums and lengths of files do not do.
        """
        sealed, folders = self._reader.sealed_names(), self._folders()
        listings = self._listings(folders.keys() - sealed)
        floors = self._reader.floors(chains)
        if not each_link:
            lengths = _lengths([entry for entries in listings.values() for entry in entries])
            chains = {
                chain.partition: self._added_up(chain, floors[chain.partition], lengths)
                for chain in chains.values()
            }
        waiting = {number: chain for number, chain in chains.items() if not chain.adds_up}
        chains = chains | self._reader.links_from(waiting, floors)
        problems = [problem for number in waiting for problem in chains[number].problems()]
        links = [link for chain in chains.values() for link in chain.links]
        listings |= self._listings({link.day for link in links if link.day} - sealed - listings.keys())
        later = self._reader.sealed_names()  # a day that was sealed meanwhile is exchanged under our eyes
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
        read = [
            link for link in parallel(lambda name: self._reader.link(chain.partition, name), asked) if link
        ]
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
        is_begun = bool(floor) or sums_of(first.totals) == sums_of(own(first))
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
        days = parallel(self._reader.sealed, sorted(day for day in sealed if first <= day <= last))
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
        for sums, found in parallel(lambda day: (self._reader.sealed(day), self._listing(day)), asked):
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


def _length(link: Link, lengths: dict[str, int]) -> int | None:
    in_use = in_use_name(link.partition, link.epoch, link.first, link.attempt)
    return lengths.get(link.file_name, lengths.get(in_use))
