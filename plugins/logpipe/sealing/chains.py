"""Reading the chains on HDFS."""

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise

from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.contracts.chain import CHAIN_FOLDER, LINK_ATTRIBUTE, LINK_NAME, OPEN_NAME, Link, parse_link
from logpipe.sealing.topic import day_name

READERS = 8  # links are read at once


class ChainError(Exception):
    """A chain is not what it should be; the message names the link and what was expected."""


@dataclass(frozen=True)
class Chain:
    """One partition's links that are kept, oldest first, with the files beside them.

    Attributes:
        opens: names of open links.
        sides: of each file in which a link says what its attribute cannot hold, when it was written, in ms.
        side_of: the side file of each link that has one, by the link's name.
    """

    partition: int
    links: tuple[Link, ...]
    opens: tuple[str, ...] = ()
    sides: dict[str, int] = field(default_factory=dict)
    side_of: dict[str, str] = field(default_factory=dict)

    def before(self, link: Link) -> Link | None:
        """The link before this one; None when the chain begins here."""
        at = [each.name for each in self.links].index(link.name)
        return self.links[at - 1] if at else None

    def marks_before(self, link: Link) -> dict[str, int]:
        """The highest number of each replay before a link."""
        before = self.before(link)
        return {replay: mark.number for replay, mark in before.marks.items()} if before else {}

    def check(self) -> None:
        """Raise ChainError unless each link begins where the one before it ends."""
        for before, link in pairwise(self.links):
            if (link.epoch, link.first) != (before.next_epoch, before.next):
                raise ChainError(
                    f"Partition {self.partition}: link {link.name} follows {before.name}, which ends at "
                    f"{before.next_epoch}-{before.next}: a link is missing or one too many. Links are not "
                    "repaired: restore it from a backup of the NameNode"
                )


def chain_folder(root: str, partition: int) -> str:
    """Where the links of a partition are."""
    return f"{root}/{CHAIN_FOLDER}/{partition}"


def partitions(hdfs: Hdfs, root: str) -> list[int]:
    """The partitions that have a chain."""
    return sorted(int(entry.name) for entry in hdfs.list(f"{root}/{CHAIN_FOLDER}") if entry.name.isdigit())


def newest_link(hdfs: Hdfs, root: str, partition: int) -> Link | None:
    """The end of a chain; None when it has not begun. Costs two calls, however long the chain."""
    folder = chain_folder(root, partition)
    names = [entry.name for entry in hdfs.list(folder) if LINK_NAME.fullmatch(entry.name)]
    found = _read(hdfs, folder, max(names)) if names else None
    return found[0] if found else None


def read_chain(hdfs: Hdfs, root: str, partition: int) -> Chain:
    """A chain whole.

    Raises:
        ChainError: a link cannot be read, or another version wrote it.
    """
    folder = chain_folder(root, partition)
    entries = hdfs.list(folder)
    names = [entry.name for entry in entries if LINK_NAME.fullmatch(entry.name)]
    opens = [entry.name for entry in entries if OPEN_NAME.fullmatch(entry.name)]
    with ThreadPoolExecutor(READERS) as pool:
        found = [row for row in pool.map(lambda name: _read(hdfs, folder, name), names) if row]
        open_sides = list(pool.map(lambda name: _side(hdfs, folder, name), opens))
    side_of = {
        name: side
        for name, side in [*((link.name, side) for link, side in found), *zip(opens, open_sides, strict=True)]
        if side
    }
    return Chain(
        partition,
        tuple(link for link, _ in found),
        tuple(opens),
        {entry.name: entry.modified_ms for entry in entries if entry.name.startswith("side-")},
        side_of,
    )


def read_chains(hdfs: Hdfs, root: str) -> list[Chain]:
    """Every partition's chain. Raises as `read_chain`."""
    return [read_chain(hdfs, root, partition) for partition in partitions(hdfs, root)]


def _side(hdfs: Hdfs, folder: str, name: str) -> str:
    attribute = hdfs.attribute(f"{folder}/{name}", LINK_ATTRIBUTE)
    return str(json.loads(attribute).get("side", "")) if attribute else ""


def _read(hdfs: Hdfs, folder: str, name: str) -> tuple[Link, str] | None:
    """A link and the name of its side file, if it has one; None when it was pruned meanwhile."""
    attribute = hdfs.attribute(f"{folder}/{name}", LINK_ATTRIBUTE)
    if attribute is None and hdfs.status(f"{folder}/{name}") is None:
        return None
    side = str(json.loads(attribute).get("side", "")) if attribute else ""
    try:
        content = hdfs.read(f"{folder}/{side}") if side else attribute
        if content is None:
            raise ValueError("it says nothing")
        return parse_link(content), side
    except (ValueError, KeyError, TypeError, HdfsError) as error:
        raise ChainError(f"Link {folder}/{name} cannot be read: {error}") from None


def days_of(link: Link, zone: str) -> tuple[str, str] | None:
    """First and last day of a link's lines; None when it has none. Only a memory link may have several."""
    if link.kind not in ("lines", "memory") or not link.day:
        return None
    if link.kind == "lines" or not link.last_arrival_ms:
        return link.day, link.day
    return day_name(link.first_arrival_ms, zone), day_name(link.last_arrival_ms, zone)


def holds_day(link: Link, day: str, zone: str) -> bool:
    """Whether lines of a day may be in a link."""
    days = days_of(link, zone)
    return days is not None and days[0] <= day <= days[1]
