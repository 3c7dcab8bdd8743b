"""Reads the bytes again, for whoever doubts the sums: source, topic, HDFS and windows.

Verify adds up what others have said. Here every file is read and held against its link or its day's sums, the
topic as far as it goes back against the links, and each source against the ledger; and HDFS's lines are
counted by other code than the windows job's. Up to the newest links: what is open behind them is in flight.
"""

import multiprocessing
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain as chained
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from logpipe.accounting import lines as hdfs_lines
from logpipe.accounting.difference import Difference
from logpipe.accounting.judge import compare, judge
from logpipe.accounting.ranges import PartitionReader, RangeSums
from logpipe.accounting.source import SourceGoneError, sent_lines
from logpipe.accounting.verify import Reading, chain_reader, facts_of, read
from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.clients.kafka import RangeGoneError
from logpipe.contracts.chain import Layout, Link, in_use_name
from logpipe.contracts.days import date_of
from logpipe.contracts.parquet import ParquetDay, manifest_path, parquet_folder, text_lines
from logpipe.contracts.sealed import SealedDay
from logpipe.digest import Digest, DigestBuilder, line_hash
from logpipe.identity import credited_to, parse_key
from logpipe.replayer.record import ReplayRecord
from logpipe.settings import Settings
from logpipe.windows.reader import WindowTotals, of_settings

PROCESSES = 2
EXAMPLES = 20
_MOST_AGAIN = 3  # readings that what happened meanwhile has overtaken
_COMPARED = ("total", "malformed", "method", "status")  # dimensions of the windows
SHOWN_BYTES = 160
# A line that every reader of the common format takes apart alike; the windows job's own rule takes more.
_DATE = (
    rb"(?:(?:0[1-9]|1[0-9]|2[0-8])/(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)"
    rb"|(?:29|30)/(?:Jan|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)|31/(?:Jan|Mar|May|Jul|Aug|Oct|Dec))"
    rb"/[12][0-9]{3}"
)
_REGULAR = re.compile(
    rb"[^ ]+ [^ \[]+ [^ \[]+ \["
    + _DATE
    + rb":(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9] [+-](?:0[0-9]|1[0-3])[0-5][0-9]\] "
    rb'"([A-Z]{1,20}) [^" ]+(?: HTTP/[0-9.]+)?" ([0-9]{3}) (?:[0-9]{1,18}|-)(?: "[^"]*" "[^"]*")?\r?$'
)

Progress = Callable[[int, int, int], object]  # told the parts that are read, of how many, and their lines


@dataclass(frozen=True, slots=True)
class Audit:
    """What reading the bytes has shown.

    Attributes:
        lines: of HDFS that were read.
        lost, doubled: as verify says, by what is final.
        damaged: files, ranges of the topic, sources and counts that are not what was said of them.
        days, replays: how many were looked at.
        seconds: how long it took.
        details: in words.
    """

    lines: int
    lost: int
    doubled: int
    damaged: int
    days: int
    replays: int
    seconds: float
    details: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether all is equal."""
        return not (self.lost or self.doubled or self.damaged)

    def to_json(self) -> dict[str, float]:
        """The object that `make audit` ends with."""
        names = ("lines", "lost", "doubled", "damaged", "days", "replays", "seconds")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one part has shown: its lines, what is wrong in words, and counts by other code than the job's."""

    lines: int = 0
    wrong: tuple[str, ...] = ()
    digest: Digest = field(default_factory=Digest)
    counts: Counter[str] = field(default_factory=Counter)
    gone: str = ""  # why it could not be read, where that is no fault


# ---------------------------------------------------------------------- the parts, each read by itself


@dataclass(frozen=True, slots=True)
class FilePart:
    """Files that together hold what was said: one of a link, or those of a sealed day."""

    paths: tuple[str, ...]
    expected: Digest
    what: str
    link: Link | None = None

    def read(self, settings: Settings) -> Finding:
        """Read them."""
        digest, counts = Digest(), Counter[str]()
        with closing(Hdfs.of(settings)) as hdfs:
            try:
                for path in self.paths:
                    for some in _file_lines(hdfs, path, self.link):
                        digest += Digest.of(some)
                        counts.update(_classes(some))
            except HdfsError as error:
                return Finding(digest.lines, (f"{self.what}: {error}",), digest, counts)
        wrong = () if digest == self.expected else (f"{self.what}: {_differ(self.expected, digest)}",)
        return Finding(digest.lines, wrong, digest, counts)


@dataclass(frozen=True, slots=True)
class TopicPart:
    """A partition of the topic against its links, from a link on whose marks are known.

    Attributes:
        links: in order, in one epoch.
        marks: highest number of each replay before the first of them.
        stretch: offsets between what HDFS and what the windows have reached; its lines are counted.
    """

    partition: int
    links: tuple[Link, ...]
    marks: dict[str, int]
    stretch: tuple[int, int]

    def read(self, settings: Settings) -> Finding:
        """Read it."""
        first, end = self.links[0].first, max(self.links[-1].next, self.stretch[1])
        reader = PartitionReader(settings, self.links[0].topic_id, self.partition, first, end, self.marks)
        wrong: list[str] = []
        stretch, counts = DigestBuilder(), Counter[str]()
        read = 0
        ranges: list[tuple[int, int, Link | None]] = [(link.first, link.next, link) for link in self.links]
        try:
            for first, next_, link in [*ranges, (self.links[-1].next, end, None)]:
                for record in reader.records(first, next_):
                    read += 1
                    if self.stretch[0] <= record.offset < self.stretch[1]:
                        stretch.add(record.value)
                        counts.update(_classes([record.value]))
                if link is not None:
                    wrong += _against(link, reader.sums)
        except RangeGoneError as error:
            return Finding(read, tuple(wrong), gone=f"partition {self.partition}: {error}")
        return Finding(read, tuple(wrong), stretch.build(), counts)


@dataclass(frozen=True, slots=True)
class SourcePart:
    """A replay's source against what the ledger says of it."""

    record: ReplayRecord

    def read(self, settings: Settings) -> Finding:
        """Read it."""
        builder = DigestBuilder()
        what = f"source of replay {self.record.spec.replay_id}, {self.record.spec.url}"
        try:
            for _, line in sent_lines(self.record, settings):
                builder.add(line)
        except SourceGoneError as error:
            return Finding(builder.lines, gone=f"{what}: only its sums are known: {error}")
        digest = builder.build()
        if digest == self.record.digest:
            return Finding(digest.lines, digest=digest)
        return Finding(digest.lines, (f"{what}: {_differ(self.record.digest, digest)}",), digest)


def _against(link: Link, found: RangeSums) -> Iterator[str]:
    """What a link says against what the topic holds of its offsets."""
    digest = found.digest.build()
    held = (digest, found.anonymous.build(), found.repeats, found.by_replay())
    if held != (link.digest, link.anonymous, link.repeats, link.replays):
        yield (
            f"partition {link.partition}, link {link.name}: the topic holds other records than it says: "
            f"{_differ(link.digest, digest)}, {found.repeats:,} repeats where it says {link.repeats:,}"
        )


@dataclass(frozen=True, slots=True)
class ParquetPart:
    """A sealed day's lines as Parquet: a row a line."""

    folder: str
    said: ParquetDay | None
    sealed: SealedDay

    def read(self, settings: Settings) -> Finding:
        """Read it, and count."""
        what, found = f"Parquet of the day {self.sealed.day}, {self.folder}", 0
        if self.said is None or not self.said.is_of(self.sealed):
            return Finding(wrong=(f"{what}, is not of the day as it is sealed: `make seal` writes it anew",))
        with closing(Hdfs.of(settings)) as hdfs, tempfile.TemporaryFile(dir=settings.state_dir) as local:
            try:
                for name in self.said.rows:
                    local.seek(0)
                    local.truncate()
                    local.writelines(hdfs.blocks(f"{self.folder}/{name}"))
                    found += sum(batch.num_rows for batch in pq.ParquetFile(local).iter_batches())
            except (HdfsError, pa.ArrowException) as error:
                return Finding(wrong=(f"{what}: {error}",))
        lines = text_lines(self.sealed)
        return Finding(wrong=() if found == lines else (f"{what}: {found:,} rows of {lines:,} lines",))


Part = FilePart | TopicPart | SourcePart | ParquetPart


def _read(part: Part, settings: Settings) -> Finding:
    return part.read(settings)


# ---------------------------------------------------------------------- the whole


def audit(
    settings: Settings,
    day: str | None = None,
    replay: str | None = None,
    progress: Progress = lambda *_: None,
) -> Audit:
    """Read the bytes of everything, of one day, or of one replay.

    Args:
        settings: the pipeline's.
        day: ``%y-%m-%d``; None for all.
        replay: its id; None for all.
        progress: told how far it is.

    Raises:
        TopicError, HdfsError, WindowsError, SourceGoneError: something cannot be read at all.
        ValueError: there is no such day or replay.
    """
    started = time.monotonic()
    plan = _Plan(settings, day, replay)
    findings = _run(plan.parts, settings, progress)
    for _ in range(_MOST_AGAIN):
        if not any(finding.wrong for _, finding in findings):
            break
        then = _Plan(settings, day, replay)
        if not plan.is_overtaken(findings, then):
            break
        plan, findings = then, _run(then.parts, settings, progress)
    reading, counted = plan.reading, plan.counted
    accounting = judge(facts_of(reading))
    wrong = [text for _, finding in findings for text in finding.wrong]
    details = [finding.gone for _, finding in findings if finding.gone]
    if counted is not None:
        compared = list(_recount(counted, reading, findings, plan.erased))
        wrong += [text for text, is_wrong in compared if is_wrong]
        details += [text for text, is_wrong in compared if not is_wrong]
    lost, doubled = accounting.lost, accounting.doubled
    if replay:
        lost, doubled = _of_replay(reading, plan.records[0])
    if plan.erased != Digest():
        details.append(
            "an address was erased from sealed days: their manifests tell when, and of how many lines"
        )
    named: list[str] = []
    if wrong or lost or doubled:
        named = list(_name_lines(settings, reading, plan, findings, is_all=not day and not replay))
    files = [finding for part, finding in findings if isinstance(part, FilePart)]
    return Audit(
        lines=sum(finding.lines for finding in files),
        lost=lost,
        doubled=doubled,
        damaged=len(wrong) + len(reading.days.problems),
        days=len(plan.days),
        replays=len(plan.records),
        seconds=round(time.monotonic() - started, 1),
        details=(*wrong, *named, *details, *(() if replay else accounting.details)),
    )


class _Plan:
    """What is to be read."""

    def __init__(self, settings: Settings, day: str | None, replay: str | None) -> None:
        self.day = day
        reading = read(settings, each_link=True)
        chains = {number: replace(chain, open=None) for number, chain in reading.chains.items()}
        self.reading = reading = replace(reading, chains=chains)
        self.counted = None if day or replay else _Counted(*of_settings(settings).counts(_COMPARED))
        self._layout = Layout(settings.hdfs_logs_dir)
        self._hdfs = Hdfs.of(settings)
        self.parts: list[Part] = []
        self.days: set[str] = set()
        self.erased = Digest()  # see `SealedDay.erased`
        self.records = [
            record
            for record in reading.records
            if credited_to(record.spec.replay_id) == record.spec.replay_id
            and replay in (None, record.spec.replay_id)
        ]
        if replay and not self.records:
            raise ValueError(
                f"There is no replay {replay}: the page Logs has their names, and the folder replays in "
                f"{settings.state_dir}"
            )
        links = [
            link
            for link in reading.links
            if link.kind == "lines"
            and link.day not in reading.days.sealed
            and day in (None, link.day)
            and (replay is None or replay in map(credited_to, link.replays))
        ]
        self.parts += [self._file(link) for link in links]
        self.days |= {link.day for link in links}
        for name in sorted(reading.days.sealed - set(reading.days.forgotten)):
            if day in (None, name):
                self.parts += self._sealed(settings, name, replay)
        if day and day not in self.days:
            raise ValueError(f"There is no day {day} in {self._layout.root}, or it was forgotten")
        if reading.days.memory_files and not day and not replay:
            files, found = reading.days.memory_files, reading.days.memory_found
            self.parts.append(FilePart(files, found, "profile memory's files"))
            self.days |= {path.split("/")[-2] for path in files}
        self.parts += self._topic(reading, {link.name for link in links})
        if not day:
            self.parts += [SourcePart(record) for record in self.records]

    def is_overtaken(self, findings: list[tuple[Part, Finding]], then: "_Plan") -> bool:
        """Whether what is wrong may only be old: its day was sealed, erased from, repaired or forgotten."""
        wrong = [part for part, finding in findings if finding.wrong]
        return any(part not in then.parts for part in wrong if isinstance(part, FilePart | ParquetPart))

    def _file(self, link: Link) -> FilePart:
        path = f"{self._layout.day(link.day)}/{link.file_name}"
        return FilePart((path,), link.text, path, link)

    def _sealed(self, settings: Settings, day: str, replay: str | None) -> Iterator[Part]:
        sums = chain_reader(settings).sealed(day)
        if sums is None or (replay and replay not in map(credited_to, sums.replays)):
            return
        self.days.add(day)
        self.erased += sums.erased
        folder = self._layout.day(day)
        for file in sums.files:
            path = f"{folder}/{file.name}"
            yield FilePart((path,), file.text, path)
        parquet = parquet_folder(settings, date_of(day))
        if (said := self._hdfs.read(manifest_path(parquet))) is not None:
            yield ParquetPart(parquet, ParquetDay.from_file(said), sums)
        known = {file.name for file in sums.files} | set(sums.memory_files)
        surplus = [
            path for path in hdfs_lines.files(self._hdfs, folder) if path.rpartition("/")[2] not in known
        ]
        if surplus:
            yield FilePart(tuple(surplus), Digest(), f"files that the sealed day {day} does not know")

    def _topic(self, reading: Reading, names: set[str]) -> Iterator[TopicPart]:
        """Of each partition the links that the topic still has, from one on whose marks are known.

        Where not all is read, those up to the last of ``names``.
        """
        for partition, chain in reading.chains.items():
            first, end = reading.now.offsets.get(partition, (0, 0))
            links: list[Link] = []
            marks: dict[str, int] = {}
            for link in chain.links:
                is_there = link.topic_id == reading.now.topic_id and link.kind in ("lines", "memory")
                before = chain.marks_before(link)
                if is_there and before is not None and link.first >= first and link.next <= end:
                    marks = marks if links else before
                    links.append(link)
                elif links:  # expired, or another epoch
                    links, marks = [], {}
            if self.counted is None:
                if not any(link.name in names for link in links):
                    continue
                until = max(number for number, link in enumerate(links) if link.name in names)
                yield TopicPart(partition, tuple(links[: until + 1]), marks, (0, 0))
                continue
            final = chain.final(reading.now.topic_id)
            reached = (self.counted.totals.covered_offsets or {}).get(partition, 0)
            stretch = (
                (min(final, reached), max(final, reached)) if links and links[0].first <= reached else (0, 0)
            )
            if links:
                yield TopicPart(partition, tuple(links), marks, stretch)


def _run(parts: list[Part], settings: Settings, progress: Progress) -> list[tuple[Part, Finding]]:
    """Read the parts, in processes of their own: reading lines takes a core."""
    findings: dict[int, Finding] = {}
    lines = 0
    with ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(_read, part, settings): number for number, part in enumerate(parts)}
        for future in as_completed(waiting):
            found = findings[waiting[future]] = future.result()
            lines += found.lines
            progress(len(findings), len(parts), lines)
    return [(part, findings[number]) for number, part in enumerate(parts)]


def _of_replay(reading: Reading, record: ReplayRecord) -> tuple[int, int]:
    """Lines of one replay that are lost, and doubled, by the sums; a sealed one was compared before."""
    if record.sealed_at or record.spec.profile != "durable":
        return 0, 0
    facts = facts_of(reading)
    replay = record.spec.replay_id
    lost = doubled = 0
    for stage in (facts.hdfs, facts.windows):
        found = sum(
            (digest for other, digest in stage.replays.items() if credited_to(other) == replay),
            start=Digest(),
        )
        compared = compare(record, found, stage.numbers.get(replay, 0))
        lost = max(lost, compared.missing - min(compared.missing, stage.behind))
        doubled = max(doubled, compared.surplus)
    return lost, doubled


class _Counted(NamedTuple):
    """What the windows hold, read at one commit before all else: they move on while the bytes are read."""

    totals: WindowTotals
    lines: dict[tuple[str, str], int]  # by dimension and key, of `_COMPARED`


def _recount(
    counted: _Counted, reading: Reading, findings: list[tuple[Part, Finding]], erased: Digest
) -> Iterator[tuple[str, bool]]:
    """What the windows hold against HDFS's lines, counted anew: a text, and whether it tells of a fault.

    The windows' sums are of the lines as they were sent: what was erased of these since is added again.
    """
    files = [finding for part, finding in findings if isinstance(part, FilePart)]
    topic = [(part, finding) for part, finding in findings if isinstance(part, TopicPart)]
    windows = counted.totals
    bridged = {part.partition: part.stretch for part, finding in topic if not finding.gone}
    reasons = {
        "days were forgotten": bool(reading.days.forgotten),
        "profile memory writes": bool(reading.ahead),
        "they count another topic": windows.topic_id not in ("", reading.now.topic_id),
        "offsets between the two are not in the topic any more": any(
            chain.final(reading.now.topic_id) != (windows.covered_offsets or {}).get(partition, 0)
            and bridged.get(partition, (0, 0)) == (0, 0)
            for partition, chain in reading.chains.items()
        ),
        "records hold line ends": any(link.text != link.digest for link in reading.links),
    }
    if why := [reason for reason, holds in reasons.items() if holds]:
        yield f"the windows are not counted anew: {'; '.join(why)}", False
        return
    digest = sum((finding.digest for finding in files), start=erased)
    counts = Counter[str]()
    for finding in files:
        counts.update(finding.counts)
    for part, finding in topic:
        if part.stretch != (0, 0):
            is_ahead = part.stretch[1] > reading.chains[part.partition].final(reading.now.topic_id)
            digest = digest + finding.digest if is_ahead else digest - finding.digest
            (counts.update if is_ahead else counts.subtract)(finding.counts)
    if digest != windows.digest:
        yield f"the windows hold other lines than HDFS: {_differ(digest, windows.digest)}", True
        return
    yield from _compare_rows(counted.lines, counts, digest.lines)


def _compare_rows(
    held: dict[tuple[str, str], int], counts: Counter[str], lines: int
) -> Iterator[tuple[str, bool]]:
    """Methods and status codes: regular lines are counted for certain, each of the others may be anything."""
    found, sums = Counter[str](), Counter[str]()
    for (dimension, key), number in held.items():
        sums[dimension] += number
        if dimension in ("method", "status"):
            found[f"{dimension} {key}"] += number
    total, malformed = sums["total"], sums["malformed"]
    if total != lines:
        yield (
            f"rows of {lines - total:,} lines were deleted by age: only the windows' sums are compared",
            False,
        )
        return
    irregular = lines - sum(number for name, number in counts.items() if name.startswith("status "))
    for name in sorted(counts.keys() | found.keys()):
        if not counts[name] <= found[name] <= counts[name] + irregular:
            yield (
                f"the windows have {found[name]:,} lines with {name}, HDFS {counts[name]:,} "
                f"and {irregular:,} irregular ones",
                True,
            )
    with_status = sum(number for name, number in found.items() if name.startswith("status "))
    if with_status + malformed != total:
        yield (
            f"the windows have {total:,} lines: {with_status:,} with a status, {malformed:,} malformed",
            True,
        )


def _classes(some: list[bytes]) -> Iterator[str]:
    """Method and status of each regular line, by other code than the windows job's."""
    for line in some:
        if found := _REGULAR.match(line):
            yield f"method {found[1].decode()}"
            yield f"status {found[2].decode()}"


# ---------------------------------------------------------------------- naming lines

Named = tuple[str, int, bytes]  # where a line is, its number there, the line


def _name_lines(
    settings: Settings, reading: Reading, plan: _Plan, findings: list[tuple[Part, Finding]], *, is_all: bool
) -> Iterator[str]:
    """The very lines that differ: damaged files against the topic, then all sources against HDFS."""
    left = EXAMPLES
    urls = {record.spec.replay_id: record.spec.url for record in reading.records}
    for part, finding in findings:
        if not isinstance(part, FilePart) or part.link is None or not finding.wrong:
            continue
        marks = reading.chains[part.link.partition].marks_before(part.link)
        first, end = reading.now.offsets.get(part.link.partition, (0, 0))
        is_there = (
            part.link.topic_id == reading.now.topic_id and first <= part.link.first and part.link.next <= end
        )
        if marks is None or not is_there:
            yield f"{part.what}: its lines cannot be named, the topic does not hold them any more"
            continue
        texts = list(
            _differences(
                settings,
                partial(_topic_lines, settings, part.link, marks, urls),
                partial(_part_lines, settings, [part]),
                left,
            )
        )
        yield from texts
        left -= len(texts)
    if left <= 0 or plan.day:
        return
    unreadable = any(finding.gone for _, finding in findings)
    yield from _differences(
        settings,
        partial(_source_lines, settings, plan.records),
        partial(_part_lines, settings, [part for part, _ in findings if isinstance(part, FilePart)]),
        left,
        with_surplus=is_all and not unreadable,
    )


def _differences(
    settings: Settings,
    expected: Callable[[], Iterator[Named]],
    found: Callable[[], Iterator[Named]],
    most: int,
    *,
    with_surplus: bool = True,
) -> Iterator[str]:
    """Name lines that differ between two multisets; each is read twice, DuckDB holds their hashes."""
    if most <= 0:
        return
    with Difference(settings) as difference:
        difference.add("expected", (line for _, _, line in expected()))
        difference.add("found", (line for _, _, line in found()))
        wanted = difference.hashes("expected", "found", most, only_missing=not with_surplus)
    for side, sign in ((expected, 1), (found, -1)):
        looked_for = {hashed: count * sign for hashed, count in wanted.items() if count * sign > 0}
        if not looked_for or (sign < 0 and not with_surplus):
            continue
        told = 0
        for where, number, line in side():
            if looked_for and (count := looked_for.pop(line_hash(line), 0)):
                what = "missing in HDFS" if sign > 0 else "too many in HDFS"
                yield f"  {count} {what}: {where} line {number:,}: {_shown(line)}"
                told += 1
            if not looked_for or told >= most:
                break


def _topic_lines(
    settings: Settings, link: Link, marks: dict[str, int], urls: dict[str, str]
) -> Iterator[Named]:
    """The lines of a link, from the topic, by replay and number where they have an identity."""
    reader = PartitionReader(settings, link.topic_id, link.partition, link.first, link.next, marks)
    for record in reader.records(link.first, link.next):
        identity = parse_key(record.key) if record.key else None
        if identity is None:
            yield f"without identity, partition {link.partition} offset", record.offset, record.value
        else:
            replay, number = identity
            yield f"replay {replay}, {urls.get(credited_to(replay), 'not known')}", number, record.value


def _source_lines(settings: Settings, records: list[ReplayRecord]) -> Iterator[Named]:
    for record in records:
        where = f"replay {record.spec.replay_id}, {record.spec.url}"
        try:
            for number, line in sent_lines(record, settings):
                yield where, number, line
        except SourceGoneError:
            continue  # it is told already


def _part_lines(settings: Settings, parts: list[FilePart]) -> Iterator[Named]:
    hdfs = Hdfs.of(settings)
    for part in parts:
        for path in part.paths:
            try:
                some = chained.from_iterable(_file_lines(hdfs, path, part.link))
                yield from ((path, number, line) for number, line in enumerate(some, 1))
            except HdfsError:
                continue  # it is told already


def _file_lines(hdfs: Hdfs, path: str, link: Link | None) -> Iterator[list[bytes]]:
    """A file's lines; a linked one may not have its final name yet, one of profile memory may have it."""
    folder = path.rpartition("/")[0]
    other = (
        f"{folder}/{in_use_name(link.partition, link.epoch, link.first, link.attempt)}"
        if link
        else hdfs_lines.final_name(path)
    )
    return hdfs_lines.lines_of_either(hdfs, path, other)


def _differ(expected: Digest, found: Digest) -> str:
    if expected.lines != found.lines:
        return f"{found.lines:,} lines, {expected.lines:,} were said"
    if expected.size_bytes != found.size_bytes:
        return f"{found.size_bytes:,} bytes without line ends, {expected.size_bytes:,} were said"
    return f"as many lines ({found.lines:,}) as were said, and not the same ones"


def _shown(line: bytes) -> str:
    """A line for a terminal: what is not printable is escaped."""
    text = repr(line[:SHOWN_BYTES])[1:]
    return f"{text}… ({len(line):,} bytes)" if len(line) > SHOWN_BYTES else text
