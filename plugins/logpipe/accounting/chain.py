"""Reads the chains of links from HDFS: how far they are, what they hold, and whether they are whole.

The words: a *range* is records of one partition whose lines are in one file; a *link* says what a range
holds, and sums over all before it; the links of a partition are its *chain*. What is in a link is *final*.
The range that agent 2 is writing is *open*: it tells how much of it was *flushed*, and a reader sees that
much. An *epoch* ends where offsets begin anew: another topic, or a broker that lost its tail. Links before
the *floor* were deleted, since their days are sealed.

Decision 7 has the design, `logpipe.contracts.chain` the names. Only the newest link of each partition and
what is open behind it are read: the rest is in its sums. `logpipe.accounting.days` holds files against links.
"""

import json
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TypeVar

from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.contracts.chain import (
    FLOOR_ATTRIBUTE,
    LINK_ATTRIBUTE,
    LINK_NAME,
    OPEN_NAME,
    Layout,
    Link,
    Mark,
    Totals,
    link_name,
)
from logpipe.contracts.days import DAY
from logpipe.contracts.sealed import SealedDay
from logpipe.digest import Digest
from logpipe.settings.unreadable import UNREADABLE

THREADS = 8
ASK_AGAIN_S = 10.0  # an agent 2 that was started since does not heed what was asked before
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
        if self.links and not self.is_pruned and sums_of(self.links[0].totals) != sums_of(own(self.links[0])):
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
            elif sums_of(before.totals + own(after)) != sums_of(after.totals):
                yield Problem(f"{_place(after)}: its sums are not those of the link before it and its own")


@dataclass(frozen=True, slots=True)
class Problem:
    """Something on HDFS that is not as its links say: in words, and how many lines are missing by it."""

    text: str
    lines: int = 0


def parallel(call: Callable[[_Item], _Found], items: Iterable[_Item], threads: int = THREADS) -> list[_Found]:
    """What the call gives for each item, in their order; asked by a few threads at once."""
    with ThreadPoolExecutor(threads, thread_name_prefix="accounting") as pool:
        return list(pool.map(call, items))


class ChainReader:
    """Read access to the chains, and to the sums of sealed days, of one folder of logs.

    Args:
        hdfs: the client.
        logs_dir: holds one folder a day, and the chains.
    """

    def __init__(self, hdfs: Hdfs, logs_dir: str) -> None:
        self.hdfs = hdfs
        self.layout = Layout(logs_dir.rstrip("/"))
        self._asked_at_s = -ASK_AGAIN_S

    def close(self) -> None:
        """Let go of the connections."""
        self.hdfs.close()

    def chains(self) -> dict[int, Chain]:
        """Each partition's chain; a partition that no link was made for is left out.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: a link cannot be read.
        """
        folders = self.hdfs.list(self.layout.chains)
        partitions = sorted(int(entry.name) for entry in folders if entry.is_folder and entry.name.isdigit())
        return {chain.partition: chain for chain in parallel(self._chain, partitions)}

    def with_links(self, chains: dict[int, Chain]) -> dict[int, Chain]:
        """The same chains with the links that are kept. Errors as `chains`."""
        return self.links_from(chains, self.floors(chains))

    def floors(self, chains: dict[int, Chain]) -> dict[int, str]:
        """Of each partition the name of the oldest link that is kept; empty: none was deleted."""
        folders = [self.layout.chain(partition) for partition in chains]
        found = parallel(lambda folder: self.hdfs.attribute(folder, FLOOR_ATTRIBUTE), folders)
        return dict(zip(chains, ((floor or b"").decode() for floor in found), strict=True))

    def links_from(self, chains: dict[int, Chain], floors: dict[int, str]) -> dict[int, Chain]:
        """The same chains with the links from their floors on. Errors as `chains`."""
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
            self.hdfs.write(self.layout.finish, b"", overwrite=True)
            self._asked_at_s = time.monotonic()

    def link(self, partition: int, name: str) -> Link | None:
        """A link by its name; None when it is gone, or is open and says nothing yet.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: another version wrote it, or it is damaged.
        """
        folder = self.layout.chain(partition)
        text = self.hdfs.attribute(f"{folder}/{name}", LINK_ATTRIBUTE)
        if text is None and (OPEN_NAME.fullmatch(name) or self.hdfs.status(f"{folder}/{name}") is None):
            return None
        try:
            values = json.loads(text or b"")
            if "side" in values:
                side = self.hdfs.read(f"{folder}/{values['side']}")
                if side is None and self.hdfs.status(f"{folder}/{name}") is None:
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
        folder = self.layout.chain(partition)
        for attempt in range(_ATTEMPTS):
            listed = [entry.name for entry in self.hdfs.list(folder)]
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
        names = [entry.name for entry in self.hdfs.list(self.layout.sealed_days)]
        return frozenset(name[:-5] for name in names if name.endswith(".json") and DAY.fullmatch(name[:-5]))

    def sealed(self, day: str) -> SealedDay | None:
        """A sealed day's sums; None while it is not sealed.

        Raises:
            HdfsError: HDFS does not answer, or refuses.
            ChainError: another version wrote it, or it is damaged.
        """
        path = self.layout.sealed(day)
        text = self.hdfs.read(path)
        try:
            return None if text is None else SealedDay.from_json(json.loads(text))
        except UNREADABLE as error:
            raise ChainError(
                f"{path} cannot be read ({type(error).__name__}: {error}): another version wrote it, or it "
                "is damaged: run the version that wrote it, or bring HDFS back from a backup"
            ) from None


def own(link: Link) -> Totals:
    """What one link adds to the sums. It may be fewer records: where offsets are without one."""
    if link.kind == "expired":
        return Totals(expired=link.next - link.first)
    if link.kind == "ended":
        return Totals()
    memory = link.digest if link.kind == "memory" else Digest()
    return Totals(link.records, link.digest, link.anonymous, memory, link.repeats, link.foreign)


def sums_of(totals: Totals) -> Totals:
    """What has to add up from link to link: all but how many records there are."""
    return replace(totals, records=0)


def _place(link: Link) -> str:
    return f"partition {link.partition}, link {link.name}"


def _begins_at(name: str, end: tuple[int, int] | None) -> bool:
    found = OPEN_NAME.fullmatch(name)
    return found is not None and (end is None or (int(found[1]), int(found[2])) == end)
