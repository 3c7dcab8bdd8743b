"""Taking away the links of sealed days."""

import time
from datetime import date

from logpipe.clients.hdfs import Hdfs
from logpipe.contracts.chain import FLOOR_ATTRIBUTE, OPEN_NAME, link_name
from logpipe.sealing.chains import Chain, chain_folder, days_of, partitions, read_chain
from logpipe.sealing.place import Place, Reached, nowhere
from logpipe.settings import Settings

ORPHAN_MS = 86_400_000  # so old is a side file that no link names before it is deleted


def prune(hdfs: Hdfs, settings: Settings, reached: Reached = nowhere) -> None:
    """Delete links whose days are sealed, up to the last of them: its marks are where the next day begins.

    The floor goes first, then open links before it, then links: so a writer that slept finds no free place.

    Raises:
        ChainError, HdfsError: a chain cannot be read, HDFS refuses.
    """
    known: dict[str, frozenset[tuple[int, int, int]]] = {}

    def covered(day: str) -> frozenset[tuple[int, int, int]]:
        if day not in known:
            sealed = Place(hdfs, settings, date.fromisoformat(f"20{day}")).load()
            known[day] = sealed.places() if sealed else frozenset()
        return known[day]

    for partition in partitions(hdfs, settings.hdfs_logs_dir):
        chain = read_chain(hdfs, settings.hdfs_logs_dir, partition)
        kept = 0
        for at, link in enumerate(chain.links):
            days = days_of(link, settings.timezone)
            if days is None:
                continue
            if not all((partition, link.epoch, link.first) in covered(day) for day in days):
                break
            kept = at
        folder = chain_folder(settings.hdfs_logs_dir, partition)
        if kept:
            _raise_floor(hdfs, folder, chain, chain.links[kept].name, reached)
        _delete_orphans(hdfs, folder, chain, kept)


def _raise_floor(hdfs: Hdfs, folder: str, chain: Chain, floor: str, reached: Reached) -> None:
    before = (hdfs.attribute(folder, FLOOR_ATTRIBUTE) or b"").decode()
    if before < floor:
        hdfs.set_attribute(folder, FLOOR_ATTRIBUTE, floor.encode())
    reached("floor-raised")
    # They are listed after the floor was raised: a writer that made its own later sees the floor.
    for entry in hdfs.list(folder):
        found = OPEN_NAME.fullmatch(entry.name)
        if found and link_name(int(found[1]), int(found[2])) < floor:
            hdfs.delete(f"{folder}/{entry.name}")
    reached("opens-deleted")
    for link in chain.links:
        if link.name < floor:
            hdfs.delete(f"{folder}/{link.name}")
            if side := chain.side_of.get(link.name):
                hdfs.delete(f"{folder}/{side}")
    reached("links-deleted")


def _delete_orphans(hdfs: Hdfs, folder: str, chain: Chain, kept: int) -> None:
    """Delete side files whose link is gone: a process was killed between the two."""
    gone = {link.name for link in chain.links[:kept]}
    named = {side for name, side in chain.side_of.items() if name not in gone}
    before_ms = time.time() * 1000 - ORPHAN_MS
    for side, modified_ms in chain.sides.items():
        if side not in named and modified_ms < before_ms:
            hdfs.delete(f"{folder}/{side}")
