"""Reads the chains of links from HDFS: how far they are, what they hold, and whether they are whole.

Decision 7 has the design. Only the newest link of each partition, what is open behind it, and the days that
are not sealed are read: the rest is in their sums.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeVar

from logpipe.accounting.lines import digest_file
from logpipe.clients.hdfs import Entry, Hdfs, HdfsError
from logpipe.contracts.chain import (
    CHAIN_FOLDER,
    DAY,
    FILE_NAME,
    FILE_PREFIX,
    FINISH_FILE,
    FLOOR_ATTRIBUTE,
    LINK_ATTRIBUTE,
    LINK_NAME,
    OPEN_NAME,
    SEALED_FOLDER,
    SEALING_FOLDER,
    Link,
    Mark,
    Totals,
    digest_of_list,
    in_use_name,
    link_name,
)
from logpipe.digest import Digest

THREADS = 8
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
        names: of the links that are kept, in order; those of days that are not sealed, and the newest.
        newest: the last link; None before the first.
        open: what of the range behind it has been flushed; None when there is none.
    """

    partition: int
    names: tuple[str, ...] = ()
    newest: Link | None = None
    open: Link | None = None

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


@dataclass(frozen=True, slots=True)
class Problem:
    """Something on HDFS that is not as its links say: in words, and how many lines are missing by it."""

    text: str
    lines: int = 0


@dataclass(frozen=True, slots=True)
class Days:
    """The days that are not sealed, held against their links.

    Attributes:
        links: those that are kept, of all partitions.
        sealed: names of sealed days.
        forgotten: those of them whose lines were deleted on purpose.
        memory_due: what profile memory should have written of these days, by links.
        memory_found: what stands in its files.
        memory_files: their paths.
        problems: broken links, files that are missing, damaged or too many.
        notes: what is worth telling and no failure.
    """

    links: tuple[Link, ...] = ()
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
        memory_file: keeps the days that are known to be forgotten between calls; None: nothing does.
    """

    def __init__(self, hdfs: Hdfs, logs_dir: str, memory_file: Path | None = None) -> None:
        self._hdfs = hdfs
        self._logs = logs_dir.rstrip("/")
        self._memory_file = memory_file

    def close(self) -> None:
        """Let go of the connections."""
        self._hdfs.close()

    def chains(self) -> dict[int, Chain]:
        """Each partition's chain; a partition that no link was made for is left out.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: a link cannot be read.
        """
        folders = self._hdfs.list(f"{self._logs}/{CHAIN_FOLDER}")
        partitions = sorted(int(entry.name) for entry in folders if entry.is_folder and entry.name.isdigit())
        return {chain.partition: chain for chain in parallel(self._chain, partitions)}

    def finish(self) -> None:
        """Ask agent 2 to make its open ranges final at once.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
        """
        self._hdfs.write(f"{self._logs}/{CHAIN_FOLDER}/{FINISH_FILE}", b"", overwrite=True)

    def link(self, partition: int, name: str) -> Link | None:
        """A link by its name; None when it is gone, or says nothing yet.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: another version wrote it, or it is damaged.
        """
        folder = f"{self._logs}/{CHAIN_FOLDER}/{partition}"
        text = self._hdfs.attribute(f"{folder}/{name}", LINK_ATTRIBUTE)
        if text is None:
            return None
        try:
            values = json.loads(text)
            if "side" in values:
                side = self._hdfs.read(f"{folder}/{values['side']}")
                if side is None:
                    return None
                values = json.loads(side)
            return Link.from_json(values)
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ChainError(
                f"The link {folder}/{name} cannot be read ({type(error).__name__}: {error}): another version "
                "wrote it, or it is damaged: run the version that wrote it, or bring HDFS back from a backup"
            ) from None

    def _chain(self, partition: int) -> Chain:
        """The newest link, and what is open behind it; asked again when a writer came between two calls."""
        for attempt in range(_ATTEMPTS):
            listed = [entry.name for entry in self._hdfs.list(f"{self._logs}/{CHAIN_FOLDER}/{partition}")]
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
        raise ChainError(
            f"The link {self._logs}/{CHAIN_FOLDER}/{partition}/{names[-1]} says nothing: it has no attribute "
            f"{LINK_ATTRIBUTE}; delete it if no agent 2 made it, or bring HDFS back from a backup"
        )

    def sealed(self) -> frozenset[str]:
        """Names of the sealed days. Raises HdfsError."""
        names = [entry.name for entry in self._hdfs.list(f"{self._logs}/{SEALED_FOLDER}")]
        return frozenset(name[:-5] for name in names if name.endswith(".json") and DAY.fullmatch(name[:-5]))

    def days(self, chains: dict[int, Chain]) -> Days:
        """Hold the days that are not sealed against their links. Errors as `chains`."""
        sealed = self.sealed()
        links, problems = self._kept(chains)
        folders = self._folders()
        unsealed = sorted(folders - sealed | {link.day for link in links if link.day} - sealed)
        listings = dict(zip(unsealed, parallel(self._listing, unsealed), strict=True))
        later = self.sealed()  # a day that was sealed meanwhile is exchanged under our eyes
        listings = {day: entries for day, entries in listings.items() if day not in later}
        memory_files: list[str] = []
        for day, entries in listings.items():
            mine = [link for link in links if link.day == day]
            problems += self._lines_of(day, mine, entries)
            names = [entry.name for entry in entries if not entry.is_folder]
            memory_files += [f"{self._logs}/{day}/{name}" for name in names if is_memory_file(name)]
            problems += self._surplus(day, names, mine, chains)
        found = [digest_file(self._hdfs, path) for path in memory_files]
        forgotten, gone, notes = self._gone(sealed, folders)
        return Days(
            links=tuple(links),
            sealed=later,
            forgotten=forgotten,
            memory_due=self._memory_due(links, later),
            memory_found=sum(found, start=Digest()),
            memory_files=tuple(memory_files),
            problems=(*problems, *gone),
            notes=notes,
        )

    def _folders(self) -> set[str]:
        return {
            entry.name
            for entry in self._hdfs.list(self._logs)
            if entry.is_folder and DAY.fullmatch(entry.name)
        }

    def _listing(self, day: str) -> list[Entry]:
        return self._hdfs.list(f"{self._logs}/{day}")

    def _kept(self, chains: dict[int, Chain]) -> tuple[list[Link], list[Problem]]:
        """The links from the floor on, and where they do not follow one another."""
        floors = parallel(
            lambda partition: self._hdfs.attribute(
                f"{self._logs}/{CHAIN_FOLDER}/{partition}", FLOOR_ATTRIBUTE
            ),
            chains,
        )
        floor_of = dict(zip(chains, ((floor or b"").decode() for floor in floors), strict=True))
        wanted = [
            (chain.partition, name)
            for chain in chains.values()
            for name in chain.names
            if name >= floor_of[chain.partition]
        ]
        heads = {(chain.partition, chain.names[-1]): chain.newest for chain in chains.values() if chain.names}
        found = parallel(lambda place: heads.get(place) or self.link(*place), wanted)
        links = [link for link in found if link is not None]
        problems = []
        # A link that goes while it is read was sealed: what follows it is judged with the next call.
        gone = {place[0] for place, link in zip(wanted, found, strict=True) if link is None}
        for partition in chains.keys() - gone:
            chain = [link for link in links if link.partition == partition]
            problems += list(follow(chain, is_pruned=bool(floor_of[partition])))
        return links, problems

    def _lines_of(self, day: str, links: list[Link], entries: list[Entry]) -> Iterator[Problem]:
        """Each link's file is there, under its final or its in-use name, as long as the link says."""
        lengths = {entry.name: entry.length_bytes for entry in entries}
        lines = [link for link in links if link.kind == "lines"]
        if any(_length(link, lengths) != link.length_bytes for link in lines):
            # Renamed between two rows of a long listing, or just repaired.
            lengths = {entry.name: entry.length_bytes for entry in self._listing(day)}
        for link in lines:
            length = _length(link, lengths)
            path = f"{self._logs}/{day}/{link.file_name}"
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
        for name in names:
            found = FILE_NAME.fullmatch(name)
            is_lines = name.startswith(FILE_PREFIX) and name.endswith(".log") and not is_memory_file(name)
            if not is_lines or name in known:
                continue
            chain = chains.get(int(found[1])) if found else None
            if found and chain and chain.newest:
                end = (chain.newest.next_epoch, chain.newest.next)
                if (int(found[2]), int(found[3])) >= end:
                    continue  # linked since the chain was read
            yield Problem(
                f"{self._logs}/{day}/{name} is in no link, its lines are too many for whoever reads the day: "
                f"`make repair DATE=20{day}` puts it aside"
            )

    def _memory_due(self, links: list[Link], sealed: frozenset[str]) -> Digest:
        """What memory links say of days that are not sealed. Such a link may hold lines of several days."""
        memory = [link for link in links if link.kind == "memory"]
        due = sum((link.digest for link in memory), start=Digest())
        if not memory:
            return due
        newest = max(link.last_arrival_ms for link in memory)
        first, last = _day(min(link.first_arrival_ms for link in memory), -1), _day(newest, 1)
        for day in sorted(day for day in sealed if first <= day <= last):
            values = json.loads(self._hdfs.read(f"{self._logs}/{SEALED_FOLDER}/{day}.json") or b"{}")
            due -= memory_part(values, memory)
        return due

    def _gone(
        self, sealed: frozenset[str], folders: set[str]
    ) -> tuple[tuple[str, ...], list[Problem], tuple[str, ...]]:
        """Sealed days whose folder is not there: forgotten on purpose, being exchanged, or lost."""
        known = self._forgotten()
        asked = sorted(sealed - folders - known)
        sums = parallel(lambda day: self._hdfs.read(f"{self._logs}/{SEALED_FOLDER}/{day}.json"), asked)
        values = {day: json.loads(text) for day, text in zip(asked, sums, strict=True) if text}
        fresh = {day for day in values if values[day].get("forgotten_at") or values[day].get("forgotten")}
        if fresh:
            self._remember(known | fresh)
        problems, notes = [], []
        away = sorted(values.keys() - fresh)
        now = self._folders() if away else folders
        for day in away:
            if day in now:
                continue
            if self._hdfs.status(f"{self._logs}/{SEALING_FOLDER}/{day}"):
                notes.append(
                    f"{day} is being sealed: its folder is exchanged; the DAG hdfs_partitions ends that"
                )
                continue
            lines = int(values[day]["digest"][0])
            problems.append(
                Problem(
                    f"The sealed day {day} is missing, with {lines:,} lines: "
                    f"`make repair DATE=20{day}` writes it again as far as Kafka has it, "
                    f"`make forget DATE=20{day}` says that it may be gone",
                    lines,
                )
            )
        return tuple(sorted((known & sealed - folders) | fresh)), problems, tuple(notes)

    def _forgotten(self) -> set[str]:
        try:
            return set(json.loads(self._memory_file.read_text())) if self._memory_file else set()
        except (OSError, ValueError):
            return set()

    def _remember(self, days: set[str]) -> None:
        if self._memory_file:
            try:
                fresh = self._memory_file.with_suffix(".fresh")
                fresh.write_text(json.dumps(sorted(days)))
                fresh.replace(self._memory_file)
            except OSError:
                return  # it only spares requests


def is_memory_file(name: str) -> bool:
    """Whether it is a file of profile memory's agent 2: ``apache_logs.<millis>.log``, or that in use."""
    return name.removeprefix("_").startswith(f"{FILE_PREFIX}.") and name.removesuffix(".tmp").endswith(".log")


def follow(links: list[Link], *, is_pruned: bool) -> Iterator[Problem]:
    """Where one partition's links leave a gap, overlap, or do not add up.

    Args:
        links: in order.
        is_pruned: links before these were deleted; else the first one is the chain's beginning.
    """
    if links and not is_pruned and _sums(links[0].totals) != own(links[0]):
        yield Problem(f"{_place(links[0])}: links before it are gone, and no floor says that they may be")
    for before, after in pairwise(links):
        if (before.next_epoch, before.next) != (after.epoch, after.first):
            what = "a gap" if (before.next_epoch, before.next) < (after.epoch, after.first) else "an overlap"
            yield Problem(
                f"{what} in the chain: {_place(before)} ends at "
                f"{link_name(before.next_epoch, before.next)}, and {after.name} follows"
            )
        elif _sums(before.totals + own(after)) != _sums(after.totals):
            yield Problem(f"{_place(after)}: its sums are not those of the link before it and its own")


def own(link: Link) -> Totals:
    """What one link adds to the sums; but for records: offsets may be without one."""
    if link.kind == "expired":
        return Totals(expired=link.next - link.first)
    if link.kind == "ended":
        return Totals()
    memory = link.digest if link.kind == "memory" else Digest()
    return Totals(0, link.digest, link.anonymous, memory, link.repeats, link.foreign)


def _sums(totals: Totals) -> Totals:
    return replace(totals, records=0)


def memory_part(sealed: dict[str, Any], links: list[Link]) -> Digest:
    """What a sealed day holds of these memory links: written anew from the topic, or as they were."""
    lines = memory = Digest()
    for partition, parts in sealed.get("chains", {}).items():
        for part in parts:
            for first, _, digest, kind in part["members"]:
                if kind != "memory":
                    lines += digest_of_list(digest)
                elif any(
                    (link.partition, link.epoch) == (int(partition), part["epoch"])
                    and link.first <= first < link.next
                    for link in links
                ):
                    memory += digest_of_list(digest)
    if not sealed.get("unconfirmed"):
        return memory
    return sum((digest_of_list(file["digest"]) for file in sealed["files"]), start=Digest()) - lines


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
