"""The days on HDFS: how many lines and bytes each has, and how far it is on its way to being sealed."""

from contextlib import closing
from dataclasses import dataclass
from typing import Any, Literal

from logpipe.accounting.chain import Chain, ChainReader
from logpipe.accounting.days import is_memory_file
from logpipe.clients.hdfs import Entry, Hdfs
from logpipe.contracts.chain import FILE_NAME, Layout, link_name
from logpipe.contracts.days import DAY, date_of, day_name
from logpipe.contracts.sealed import REPORT_FILE, REPORT_PAGE
from logpipe.page.store import TIMEOUT_S
from logpipe.settings import Settings

REPORT_TYPES = {REPORT_PAGE: "text/html; charset=utf-8", REPORT_FILE: "application/json"}
State = Literal["open", "over", "sealed", "forgotten"]


@dataclass(frozen=True, slots=True)
class Day:
    """One day.

    Attributes:
        date: as ``2026-11-23``.
        state: ``open``: lines still come; ``over``: not sealed yet; ``sealed``; ``forgotten``: its sums stay.
        lines: in it; None where profile memory's files, which say nothing of themselves, hold some.
        size_bytes, files: as listed; of an open day without the range that is being written.
        sealed_at: ISO-8601 UTC; empty before.
        is_unconfirmed: some of its lines could not be compared with the topic.
        is_mended: files were put aside by a repair.
        report: address of its report below the page's own; empty: it has none.
    """

    date: str
    state: State
    lines: int | None
    size_bytes: int
    files: int
    sealed_at: str = ""
    is_unconfirmed: bool = False
    is_mended: bool = False
    report: str = ""

    def to_json(self) -> dict[str, Any]:
        """For the page."""
        return {name: getattr(self, name) for name in self.__slots__}


Days = list[Day]


def read_report(settings: Settings, day: str, name: str) -> bytes | None:
    """A file of a day's report; None when there is none.

    Raises:
        HdfsError: HDFS does not answer, or refuses.
    """
    if not DAY.fullmatch(day) or name not in REPORT_TYPES:
        return None
    with closing(Hdfs.of(settings, TIMEOUT_S)) as hdfs:
        return hdfs.read(f"{Layout(settings.hdfs_logs_dir).day(day)}/{name}")


class DaysReader:
    """Reads the days again and again; what does not change any more is read once.

    A day's lines are the difference of two links' sums, so that two links a partition are read, however many
    it has.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._layout = Layout(settings.hdfs_logs_dir)
        self._known: dict[str, tuple[tuple[int, int], Day]] = {}

    def read(self) -> Days:
        """All days, oldest first.

        Raises:
            HdfsError, ChainError: HDFS does not answer, or a link cannot be read.
        """
        with closing(Hdfs.of(self._settings, TIMEOUT_S)) as hdfs:
            reader = ChainReader(hdfs, self._layout.root)
            folders = {
                entry.name: entry for entry in hdfs.list(self._layout.root) if DAY.fullmatch(entry.name)
            }
            sums = {entry.name[:-5]: entry for entry in hdfs.list(self._layout.sealed_days)}
            mended = {entry.name for entry in hdfs.list(self._layout.root + "/_aside")}
            chains = reader.chains() if folders.keys() - sums.keys() else {}
            found: dict[str, tuple[tuple[int, int], Day]] = {}
            for name in sorted(folders.keys() | {name for name in sums if DAY.fullmatch(name)}):
                changed = (
                    folders[name].modified_ms if name in folders else 0,
                    sums[name].modified_ms if name in sums else 0,
                )
                known = self._known.get(name)
                is_settled = name in sums and known is not None and known[0] == changed
                day = (
                    known[1] if known and is_settled else self._day(hdfs, reader, chains, name, name in sums)
                )
                if day.is_mended != (name in mended):
                    day = Day(**day.to_json() | {"is_mended": name in mended})
                found[name] = (changed, day)
            self._known = found
            return [day for _, day in found.values()]

    def _day(
        self, hdfs: Hdfs, reader: ChainReader, chains: dict[int, Chain], name: str, is_sealed: bool
    ) -> Day:
        shown = date_of(name).isoformat()
        sealed = reader.sealed(name) if is_sealed else None
        if sealed is not None:
            state: State = "forgotten" if sealed.forgotten_at else "sealed"
            return Day(
                shown, state, sealed.lines, sealed.size_bytes, len(sealed.files), sealed.sealed_at,
                bool(sealed.unconfirmed), report=self._report(hdfs, name),
            )  # fmt: skip
        files = [entry for entry in hdfs.list(self._layout.day(name)) if not entry.is_folder]
        lines = None
        if not any(is_memory_file(entry.name) for entry in files):
            lines = sum(self._lines(reader, chain, name, files) for chain in chains.values())
        return Day(
            shown,
            "open" if name >= self._open_day(chains) else "over",
            lines,
            sum(entry.length_bytes for entry in files),
            len(files),
        )

    def _report(self, hdfs: Hdfs, name: str) -> str:
        found = hdfs.status(f"{self._layout.day(name)}/{REPORT_PAGE}")
        return f"reports/{name}/{REPORT_PAGE}" if found else ""

    def _open_day(self, chains: dict[int, Chain]) -> str:
        """The day that lines come into: the latest that a chain is at."""
        ends = [end for chain in chains.values() if (end := chain.open or chain.newest)]
        latest_ms = max((end.last_arrival_ms for end in ends), default=0)
        return day_name(latest_ms, self._settings.timezone)

    def _lines(self, reader: ChainReader, chain: Chain, day: str, files: list[Entry]) -> int:
        """Lines of one partition in a day: what its last link has in all, less what its first one found."""
        places = sorted(
            link_name(int(found[2]), int(found[3]))
            for entry in files
            if (found := FILE_NAME.fullmatch(entry.name)) and int(found[1]) == chain.partition
        )
        first = reader.link(chain.partition, places[0]) if places else None
        last = reader.link(chain.partition, places[-1]) if places else None
        linked = 0
        if first is not None and last is not None:
            linked = last.totals.digest.lines - first.totals.digest.lines + first.digest.lines
        is_open = chain.open is not None and chain.open.day == day
        return linked + (chain.open.digest.lines if chain.open and is_open else 0)
