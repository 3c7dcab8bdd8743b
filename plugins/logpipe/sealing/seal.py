"""Sealing a day that is over: few large files, a manifest, ``_SUCCESS``, its sums in ``_sealed/<day>.json``.

What is there tells what is left to do; whoever comes next does it, and each step may be done twice. ``S`` is
``L/_sealing/<day>/<attempt>``, with the attempt that ``_sealed/<day>.json`` names:

==============================  ==============================================================================
no ``_sealed/<day>.json``       The day's folder is the truth. Merge its files into ``S/new``, with manifest
                                and ``_SUCCESS``. Commit: rename ``_sealed/<day>.json`` into place, which
                                one of two does; the other deletes its ``S``.
it, ``S/new``, no ``S/old``     Committed. Rename the day's folder to ``S/old``.
it, ``S/new``, ``S/old``        The day has no folder. Rename ``S/new`` to it.
it, ``S/old``                   Exchanged. What no link knows goes aside. Delete ``_sealing/<day>``.
it, no ``_sealing/<day>``       Sealed. Links may be pruned.
it, with ``forgotten_at``       Delete what the day consists of.
it, with ``erasures``           As after the commit: the day as it was before is in ``S/old``, and goes.
==============================  ==============================================================================

A process that slept in between cannot move the new folder out: ``S/old`` is taken, or ``S`` is gone for ever.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from functools import partial
from itertools import groupby

from logpipe.accounting.chain import Chain, ChainError, own
from logpipe.accounting.lines import digest_file, lines
from logpipe.accounting.ranges import TextDigest
from logpipe.clients.hdfs import Entry, Hdfs, HdfsAbsentError, HdfsError, HdfsExistsError
from logpipe.clients.kafka import RangeGoneError
from logpipe.contracts.chain import IN_USE_NAME, MEMORY_NAME, Link, Totals, file_name
from logpipe.contracts.days import day_name
from logpipe.contracts.sealed import (
    BESIDE_LINES,
    MANIFEST_FILE,
    MOST_REPLAYS,
    SUCCESS_FILE,
    Member,
    Part,
    SealedDay,
    SealedFile,
    merged_name,
)
from logpipe.digest import Digest
from logpipe.sealing.memory import (
    NotConfirmedError,
    link_what_memory_read,
    nothing_of,
    part_of_day,
)
from logpipe.sealing.over import NotOverError, still_missing
from logpipe.sealing.place import Place, Reached, new_attempt, nowhere
from logpipe.sealing.prune import prune
from logpipe.sealing.rewrite import reader_of, rewrite_link, settle
from logpipe.settings import Settings

TARGET_BYTES = 512 << 20  # of a merged file

log = logging.getLogger(__name__)


class _DamagedError(Exception):
    def __init__(self, link: Link) -> None:
        super().__init__(link.file_name)
        self.link = link


@dataclass(frozen=True)
class _Source:
    """Bytes that go into one merged file whole. ``link``: of which they are; None: a file of memory's own."""

    length_bytes: int
    blocks: Callable[[], Iterator[bytes]]
    link: Link | None = None


@dataclass
class _Plan:
    """What the day is made of."""

    parts: list[Part] = field(default_factory=list)
    sources: list[_Source] = field(default_factory=list)
    totals: Totals = field(default_factory=Totals)
    replays: dict[str, Digest] = field(default_factory=dict)
    memory_files: tuple[str, ...] = ()
    unconfirmed: str = ""

    def count(self, link: Link) -> None:
        """Add the sums of a link."""
        self.totals += own(link)
        for replay, digest in link.replays.items():
            self.replays[replay] = self.replays.get(replay, Digest()) + digest


def seal(
    settings: Settings, day: date, *, target_bytes: int = TARGET_BYTES, reached: Reached = nowhere
) -> SealedDay | None:
    """Seal a day, or finish what an earlier try left; None when the pipeline has no line of it.

    Raises:
        NotOverError: lines of it may still come.
        LinesGoneError: a file is missing or damaged and cannot be written again.
        ChainError, TopicError, HdfsError: chain, topic or HDFS cannot be read.
    """
    with contextlib.closing(Hdfs.of(settings)) as hdfs:
        place = Place(hdfs, settings, day)
        sealed = place.load()
        if sealed is None:
            if missing := still_missing(hdfs, settings, day):
                raise NotOverError(missing)
            link_what_memory_read(place, reached)
            if missing := still_missing(hdfs, settings, day, linked=True):
                raise NotOverError(missing)
            sealed = _Sealing(place, target_bytes, reached).commit()
        if sealed is not None:
            finish(place, sealed, reached)
        prune(hdfs, settings, reached)
        return sealed


class _Sealing:
    """Makes a day that is not sealed yet a sealed one, up to the commit."""

    def __init__(self, place: Place, target_bytes: int, reached: Reached) -> None:
        self._place = place
        self._hdfs = place.hdfs
        self._target_bytes = target_bytes
        self._reached = reached

    def commit(self) -> SealedDay | None:
        """Merge and commit; None when there is no line."""
        place = self._place
        attempt = new_attempt()
        folder = f"{place.sealing}/{attempt}/new"
        mended: set[str] = set()
        while True:
            chains = place.reader.with_links(place.reader.chains())
            try:
                plan = self._plan(chains)
                if not plan.parts:
                    return None
                files = self._merge(plan.sources, folder)
                break
            except _DamagedError as error:
                self._hdfs.delete(folder)
                if error.link.file_name in mended:
                    raise HdfsError(f"{error.link.file_name} is damaged as soon as it is written") from None
                mended.add(error.link.file_name)
                rewrite_link(place, chains[error.link.partition], error.link, self._reached)
        sealed = SealedDay(
            day=place.name,
            attempt=attempt,
            digest=plan.totals.digest,
            anonymous=plan.totals.anonymous,
            replays=plan.replays,
            repeats=plan.totals.repeats,
            foreign=plan.totals.foreign,
            expired=plan.totals.expired,
            files=tuple(files),
            parts=tuple(plan.parts),
            sealed_at=datetime.now(UTC).isoformat(timespec="seconds"),
            memory_files=plan.memory_files,
            unconfirmed=plan.unconfirmed,
        )
        place.write_manifest(folder, sealed)
        self._reached("merged")
        try:
            place.save(sealed, overwrite=False)
        except HdfsExistsError:
            log.info("%s was sealed by another process meanwhile", place.name)
            place.delete_attempts([attempt])
            return place.load()
        self._reached("committed")
        return sealed

    def _plan(self, chains: dict[int, Chain]) -> _Plan:
        plan = _Plan()
        place = self._place
        found = {entry.name: entry for entry in self._hdfs.list(place.folder)}
        memory = self._memory(chains, plan)
        for chain in chains.values():
            for problem in chain.problems():
                raise ChainError(problem.text)
            links: list[Link] = []
            expired = Totals()
            for link in chain.links:
                if link.kind == "expired":
                    expired += own(link)
                elif link.kind in ("lines", "memory"):
                    if link.holds_day(place.name, place.settings.timezone):
                        _must_be_of_zone(link, place.settings.timezone)
                        plan.totals += expired
                        links.append(link)
                    expired = Totals()
            for (topic_id, epoch), rows in groupby(links, lambda link: (link.topic_id, link.epoch)):
                run = list(rows)
                members = []
                for link in run:
                    counted = memory.get((chain.partition, link.name), link)
                    plan.count(counted)
                    plan.sources.append(self._source(chain, counted, found, is_kept=bool(plan.unconfirmed)))
                    members.append(
                        Member(link.first, link.next, counted.digest, link.kind, _replays_of(counted))
                    )
                marks = chain.marks_before(run[0]) or {}
                plan.parts.append(Part(chain.partition, topic_id, epoch, marks, tuple(members)))
        if memory:
            self._plan_memory_files(plan, memory.values(), found)
        return plan

    def _memory(self, chains: dict[int, Chain], plan: _Plan) -> dict[tuple[int, str], Link]:
        """The day's memory links, by partition and name, with the sums of the day only."""
        place = self._place
        links = [
            (chain, link)
            for chain in chains.values()
            for link in chain.links
            if link.kind == "memory" and link.holds_day(place.name, place.settings.timezone)
        ]
        try:
            return {(link.partition, link.name): part_of_day(place, chain, link) for chain, link in links}
        except (RangeGoneError, NotConfirmedError) as error:
            plan.unconfirmed = str(error)
            return {(link.partition, link.name): nothing_of(link) for _, link in links}

    def _source(self, chain: Chain, link: Link, found: dict[str, Entry], *, is_kept: bool) -> _Source:
        if link.kind == "memory":
            if is_kept:
                return _Source(0, lambda: iter(()), link)
            place = self._place
            return _Source(
                link.length_bytes,
                lambda: reader_of(place, chain, link).blocks(link.first, link.next, place.between_ms),
                link,
            )
        entry = found.get(link.file_name) or settle(self._place, link)
        path = f"{self._place.folder}/{link.file_name}"
        if entry is None or entry.length_bytes != link.length_bytes:
            raise _DamagedError(link)
        return _Source(link.length_bytes, lambda: self._hdfs.blocks(path), link)

    def _plan_memory_files(self, plan: _Plan, links: Iterable[Link], found: dict[str, Entry]) -> None:
        """Drop memory's own files where they are what is written anew, keep them where nothing can be."""
        names = tuple(name for name in found if MEMORY_NAME.fullmatch(name))
        paths = [f"{self._place.folder}/{name}" for name in names]
        digests = [digest_file(self._hdfs, path) for path in paths]
        held = sum(digests, Digest())
        if plan.unconfirmed:
            plan.totals += Totals(digest=held, anonymous=held)
            plan.sources += [
                _Source(digest.size_bytes + digest.lines, partial(self._ended_blocks, path))
                for path, digest in zip(paths, digests, strict=True)
            ]
            plan.memory_files = names
            log.warning("Files of profile memory stay as they are: %s", plan.unconfirmed)
        elif held == sum((link.text for link in links), Digest()):
            plan.memory_files = names

    def _ended_blocks(self, path: str) -> Iterator[bytes]:
        """A file's lines, the last one with its end too."""
        return (b"\n".join([*some, b""]) for some in lines(self._hdfs, path))

    def _merge(self, sources: list[_Source], folder: str) -> list[SealedFile]:
        files: list[SealedFile] = []
        at = 0
        while at < len(sources):
            end, size = at + 1, sources[at].length_bytes
            while end < len(sources) and size + sources[end].length_bytes <= self._target_bytes:
                size += sources[end].length_bytes
                end += 1
            own, text = sources[at:end], TextDigest()
            name = merged_name(len(files) + 1)
            self._hdfs.write(f"{folder}/{name}", self._stream(own, text))
            members = sum(source.link is not None for source in own)
            files.append(SealedFile(name, text.length_bytes, text.digest, members))
            self._reached(f"file-{len(files)}")
            at = end
        written = {entry.name: entry.length_bytes for entry in self._hdfs.list(folder)}
        for file in files:
            if written.get(file.name) != file.length_bytes:
                raise HdfsError(
                    f"{folder}/{file.name} has {written.get(file.name)} bytes, not {file.length_bytes}"
                )
        return files

    def _stream(self, sources: list[_Source], whole: TextDigest) -> Iterator[bytes]:
        for source in sources:
            text = TextDigest()
            try:
                yield from text.through(source.blocks())
            except HdfsError as error:  # its blocks are lost or damaged
                if source.link is None or source.link.kind != "lines":
                    raise
                log.warning("%s", error)
                raise _DamagedError(source.link) from None
            link = source.link
            if link is not None and (text.length_bytes, text.digest) != (source.length_bytes, link.text):
                if link.kind == "lines":
                    raise _DamagedError(link)
                raise HdfsError(f"memory link {link.name} of partition {link.partition} changed while read")
            whole.join(text)


def _must_be_of_zone(link: Link, zone: str) -> None:
    """A day of another zone goes on; agent 2 never writes a line into a folder before its day."""
    if link.kind == "lines" and link.day < (arrived := day_name(link.first_arrival_ms, zone)):
        raise ChainError(
            f"{link.file_name} of {link.day} has lines of {arrived} by LOGPIPE_TIMEZONE={zone}: agent 2 runs "
            "with another zone, so the day is not sealed: give both the same"
        )


def _replays_of(link: Link) -> tuple[str | None, ...] | None:
    """Whose lines a link has, as `Member` says it."""
    named: list[str | None] = [*sorted(replay for replay, digest in link.replays.items() if digest.lines)]
    if link.anonymous.lines:
        named.append(None)
    return tuple(named) if len(named) <= MOST_REPLAYS else None


def finish(place: Place, sealed: SealedDay, reached: Reached = nowhere) -> None:
    """Do what is left after the commit: exchange the folders, put aside what no link knows.

    Raises:
        HdfsError: HDFS does not answer or refuses.
    """
    hdfs = place.hdfs
    if sealed.forgotten_at:
        _delete_lines(place, sealed)
        hdfs.delete(place.parquet)
        place.drop_parquet_attempts()
    elif hdfs.status(place.sealing) is not None:
        new, old = (f"{place.sealing}/{sealed.attempt}/{name}" for name in ("new", "old"))
        while hdfs.status(new) is not None:
            with contextlib.suppress(HdfsExistsError, HdfsAbsentError):  # it is out already, or never was
                hdfs.rename(place.folder, old)
            reached("old-out")
            try:
                hdfs.rename(new, place.folder)
            except HdfsAbsentError:
                break  # another process has put it in
            except HdfsExistsError:
                _clear_way(place, sealed, new)
            reached("new-in")
        _look_through(place, sealed, old)
        reached("looked-through")
    hdfs.delete(place.sealing)
    reached("exchanged")


def _delete_lines(place: Place, sealed: SealedDay) -> None:
    """Delete the files that the day consists of, or was made of; one that came later is none of them."""
    known = _made_of(sealed) | BESIDE_LINES | {file.name for file in sealed.files}
    entries = place.hdfs.list(place.folder)
    for entry in entries:
        if entry.name in known:
            place.hdfs.delete(f"{place.folder}/{entry.name}")
        else:
            log.warning("%s/%s came after the day was sealed: it stays", place.folder, entry.name)
    if all(entry.name in known for entry in entries):
        place.hdfs.delete(place.folder, recursive=False)


def _made_of(sealed: SealedDay) -> set[str]:
    """Names of the files that were merged."""
    ranges = {file_name(part.partition, part.epoch, member.first) for part, member in sealed.members()}
    return ranges | set(sealed.memory_files)


def _clear_way(place: Place, sealed: SealedDay, new: str) -> None:
    """Take out what came into the day's folder while the day had none."""
    own = {MANIFEST_FILE, SUCCESS_FILE, *(file.name for file in sealed.files)}
    for entry in place.hdfs.list(place.folder):
        if entry.name not in own:
            place.put_aside(f"{place.folder}/{entry.name}")
    try:
        place.hdfs.delete(place.folder, recursive=False)
    except HdfsError:
        if place.hdfs.status(new) is not None:  # else another process has put it in
            raise


def _look_through(place: Place, sealed: SealedDay, old: str) -> None:
    """Put aside what no link knows; the rest is merged, or was in use by writers that are dead."""
    known = _made_of(sealed) | {MANIFEST_FILE, SUCCESS_FILE}
    if sealed.erasures:  # then these are the files of the sealed day as it was before
        known |= BESIDE_LINES | {file.name for file in sealed.files}
    for entry in place.hdfs.list(old):
        if entry.name not in known and not IN_USE_NAME.fullmatch(entry.name):
            log.warning(
                "No link knows %s: it is kept as %s", entry.name, place.put_aside(f"{old}/{entry.name}")
            )
