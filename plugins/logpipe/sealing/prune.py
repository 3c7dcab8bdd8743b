"""Taking away the links of sealed days."""

import time

from logpipe.accounting.chain import Chain, ChainReader
from logpipe.clients.hdfs import Hdfs
from logpipe.contracts.chain import FLOOR_ATTRIBUTE, LINK_NAME, OPEN_NAME, SIDE_NAME, Layout, link_name
from logpipe.sealing.place import Reached, nowhere
from logpipe.settings import Settings

ORPHAN_MS = 86_400_000  # so old is a side file that no link names before it is deleted


def prune(hdfs: Hdfs, settings: Settings, reached: Reached = nowhere) -> None:
    """Delete links whose days are sealed, up to the last of them: its marks are where the next day begins.

    The floor goes first, then open links before it, then links: so a writer that slept finds no free place.

    Raises:
        ChainError, HdfsError: a chain cannot be read, HDFS refuses.
    """
    reader = ChainReader(hdfs, settings.hdfs_logs_dir)
    known: dict[str, frozenset[tuple[int, int, int]]] = {}

    def covered(day: str) -> frozenset[tuple[int, int, int]]:
        if day not in known:
            sealed = reader.sealed(day)
            known[day] = sealed.places() if sealed else frozenset()
        return known[day]

    for chain in reader.with_links(reader.chains()).values():
        kept = 0
        for at, link in enumerate(chain.links):
            days = link.days(settings.timezone)
            if days is None:
                continue
            if not all((chain.partition, link.epoch, link.first) in covered(day) for day in days):
                break
            kept = at
        _delete_before(hdfs, Layout(settings.hdfs_logs_dir).chain(chain.partition), chain, kept, reached)


def _delete_before(hdfs: Hdfs, folder: str, chain: Chain, kept: int, reached: Reached) -> None:
    """Make one of the links the floor, and delete what is before it, also what a killed prune left there."""
    floor = (hdfs.attribute(folder, FLOOR_ATTRIBUTE) or b"").decode()
    if kept:
        if floor < chain.links[kept].name:
            floor = chain.links[kept].name
            hdfs.set_attribute(folder, FLOOR_ATTRIBUTE, floor.encode())
        reached("floor-raised")
    # They are listed after the floor was raised: a writer that made its own later sees the floor.
    entries = hdfs.list(folder)
    attempts = {link.attempt for link in chain.links[kept:]}
    for entry in entries:
        if (found := OPEN_NAME.fullmatch(entry.name)) and link_name(int(found[1]), int(found[2])) < floor:
            hdfs.delete(f"{folder}/{entry.name}")
        elif found:
            attempts.add(found[4])
    reached("opens-deleted")
    for entry in entries:
        if LINK_NAME.fullmatch(entry.name) and entry.name < floor:
            hdfs.delete(f"{folder}/{entry.name}")
    gone = {link.attempt for link in chain.links[:kept]}
    before_ms = time.time() * 1000 - ORPHAN_MS
    for entry in entries:
        side = SIDE_NAME.fullmatch(entry.name)
        if side and side[1] not in attempts and (side[1] in gone or entry.modified_ms < before_ms):
            hdfs.delete(f"{folder}/{entry.name}")
    reached("links-deleted")
