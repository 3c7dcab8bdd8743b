"""Which marks a commit keeps: those of replays whose lines may still be sent again, and a bounded rest."""

import json
import logging
import time
from collections.abc import Callable, Iterable

from logpipe.identity import credited_to
from logpipe.windows.commit import Marks
from windows.hdfs import Hdfs

log = logging.getLogger("windows")

FORGET_FROM = 300  # marks; fewer are not worth a look at the ledger
MAX_MARKS = 10_000  # beside those that the ledger holds: at most 300 bytes each in a commit
LOOK_INTERVAL_S = 600.0


class Ledger:
    """The copies of the replays' records on HDFS, ``<folder>/replays/<replay>.json``."""

    def __init__(self, hdfs: Hdfs, folder: str) -> None:
        self._hdfs = hdfs
        self._folder = f"{folder}/replays"
        self._sealed: dict[tuple[str, int], bool] = {}  # by name and time of its last change

    def held(self, replays: Iterable[str]) -> set[str]:
        """Those of the replays that are there and not sealed, they or the one that they repair.

        Costs a listing, and a read of each record that changed.
        """
        there = {entry.name: entry.modified_ms for entry in self._hdfs.list(self._folder)}
        self._sealed = {key: sealed for key, sealed in self._sealed.items() if there.get(key[0]) == key[1]}
        held = set()
        for replay in replays:
            names = {f"{replay}.json", f"{credited_to(replay)}.json"} & there.keys()
            if not all(self._is_sealed(name, there[name]) for name in names):
                held.add(replay)
        return held

    def _is_sealed(self, name: str, modified_ms: int) -> bool:
        key = (name, modified_ms)
        if key not in self._sealed:
            try:
                record = json.loads(self._hdfs.read_text(f"{self._folder}/{name}"))
            except (FileNotFoundError, ValueError):  # it is being replaced
                return False
            self._sealed[key] = record.get("sealed_at") is not None
        return self._sealed[key]


class Forgetting:
    """Forgets marks, rarely.

    Args:
        held: of some replays tells those whose marks must stay.
        silent_ms: a replay that was silent for so long may go.
    """

    def __init__(self, held: Callable[[Iterable[str]], set[str]], silent_ms: int) -> None:
        self._held = held
        self._silent_ms = silent_ms
        self._look_at = 0.0

    def kept(self, marks: Marks, newest_ms: int) -> Marks:
        """The marks that stay. ``newest_ms``: arrival of the newest record."""
        too_many = len(marks) > MAX_MARKS  # of replays that are held there may be as many
        if len(marks) <= FORGET_FROM or (not too_many and time.monotonic() < self._look_at):
            return marks
        self._look_at = time.monotonic() + LOOK_INTERVAL_S
        oldest_ms = newest_ms - self._silent_ms
        silent = {place: mark for place, mark in marks.items() if mark.last_arrival_ms < oldest_ms}
        held = self._held({replay for _, replay in (marks if too_many else silent)})
        gone = {place for place in silent if place[1] not in held}
        free = [place for place in marks if place not in gone and place[1] not in held]
        if len(free) > MAX_MARKS:
            log.warning(
                "%d marks of replays that no ledger holds: the longest silent are forgotten", len(free)
            )
            free.sort(key=lambda place: marks[place].last_arrival_ms)
            gone.update(free[: len(free) - MAX_MARKS // 2])
        return {place: mark for place, mark in marks.items() if place not in gone}
