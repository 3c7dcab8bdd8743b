"""One run: a day, and the neighbours whose lines it has or that have lines of it."""

import json
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F  # noqa: N812

from logpipe.digest import Digest
from reconciliation import faults
from reconciliation.comparison import Difference
from reconciliation.day import Day
from reconciliation.errors import ReconcileError, StillOpenError
from reconciliation.hdfs import LogFiles
from reconciliation.in_use import PREFIX, WRITTEN_HERE, Writers, is_final, is_in_use, recover
from reconciliation.lines import LINE_KEY, FileSet, line_key
from reconciliation.lock import Lock
from reconciliation.manifest import NAME, SUCCESS, Manifest, Repairs
from reconciliation.options import Options
from reconciliation.records import DayRecords, TopicReader, arrival_dates
from reconciliation.switch import Journal, Switch, mark_success, write_manifest
from reconciliation.topic import Gap, Span, Topic
from windows.hdfs import Entry

LOG = logging.getLogger("reconcile")
MIB = 1 << 20


@dataclass(frozen=True)
class DayReport:
    """How a day was left."""

    manifest: Manifest | None
    changed: bool

    @property
    def repairs(self) -> Repairs:
        """What this run did."""
        return self.manifest.repairs if self.manifest is not None and self.changed else Repairs()


@dataclass
class Report:
    """What a run did; `to_json` is the last line of its output."""

    day: Day
    days: dict[str, DayReport] = field(default_factory=dict)
    finished_switches: list[str] = field(default_factory=list)
    needs_own_run: dict[str, str] = field(default_factory=dict)

    @property
    def unconfirmable(self) -> list[dict[str, Any]]:
        """Parts of the day that retention took."""
        manifest = self.days[self.day.partition].manifest
        return manifest.unconfirmable if manifest is not None else []

    @property
    def rescued_files(self) -> int:
        """Files that an agent wrote into the day during its switch: they were not compared."""
        return self.days[self.day.partition].repairs.rescued_files

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        mine = self.days[self.day.partition]
        digest = mine.manifest.digest if mine.manifest is not None else Digest()
        return {
            "changed": any(report.changed for report in self.days.values()) or bool(self.finished_switches),
            **digest.to_json(),
            "files": len(mine.manifest.files) if mine.manifest is not None else 0,
            "repaired": vars(mine.repairs),
            "topic_repeats": mine.manifest.repeats if mine.manifest is not None else 0,
            "unconfirmable": self.unconfirmable,
            "neighbours": {
                name: {"changed": report.changed, "repaired": vars(report.repairs)}
                for name, report in self.days.items()
                if name != self.day.partition
            },
            "needs_own_run": self.needs_own_run,
            "finished_switches": self.finished_switches,
        }


class _Plan(NamedTuple):
    """A new set to write."""

    lines: DataFrame
    files: int
    digest: Digest
    repairs: Repairs


def reconcile(spark: SparkSession, options: Options) -> Report:
    """Reconcile a day.

    Raises:
        StillOpenError: the day, or one that must come before it, is being written; nothing was changed.
        LockedError: another reconciliation runs.
        ReconcileError: it can't be done; the message says why.
        windows.hdfs.HdfsError: HDFS does not answer.
    """
    spark.conf.set("spark.sql.session.timeZone", options.zone)
    hdfs = LogFiles(spark, options.hdfs_url)
    if not hdfs.exists(options.logs_url):
        raise ReconcileError(
            f"{options.hdfs_url} has no {options.logs_dir}: run the pipeline first, or give --logs-dir"
        )
    with Lock(hdfs, f"{options.work_dir}/lock") as lock:
        return _Run(spark, options, hdfs, lock).run()


class _Run:
    def __init__(self, spark: SparkSession, options: Options, hdfs: LogFiles, lock: Lock) -> None:
        self._spark = spark
        self._options = options
        self._hdfs = hdfs
        self._lock = lock
        self._reader = TopicReader(spark, options.bootstrap, options.topic)
        self._writers = Writers(hdfs, options, self._connect)
        self._report = Report(options.day)
        self._begun: set[Day] = set()

    def _connect(self) -> Topic:
        return Topic(self._options.bootstrap, self._options.topic, self._options.group)

    def _reached(self, step: str) -> None:
        faults.reached(step, self._hdfs.jvm)

    def _folder(self, day: Day) -> str:
        return f"{self._options.logs_url}/{day.partition}"

    def _work(self, day: Day) -> str:
        return f"{self._options.work_dir}/{day.partition}"

    def _switch(self, day: Day) -> Switch:
        return Switch(self._hdfs, self._folder(day), self._work(day), self._reached, self._lock.confirm)

    def run(self) -> Report:
        for entry in self._hdfs.list(self._options.work_dir):
            day = Day.of_partition(entry.name, self._options.zone)
            if day is not None and self._switch(day).recover():
                self._report.finished_switches.append(day.partition)
        self._day(self._options.day)
        return self._report

    # One day ------------------------------------------------------------------------------------

    def _day(self, day: Day) -> DayReport:
        """Reconcile a day: after earlier ones whose lines it has, before later ones that have its lines."""
        self._begun.add(day)
        if not self._options.full and (manifest := self._unchanged(day)) is not None:
            LOG.info("%s stands as its manifest says: nothing to do", day.partition)
            report = self._report.days[day.partition] = DayReport(manifest, changed=False)
            for name in manifest.later_days:  # a run that was killed, or a day that was open, left them
                if not self._is_newer(name, manifest):
                    self._later(name)
            return report
        self._writers.wait_until_closed(day)
        topic = self._connect()
        span = topic.span(day, self._options.late_records_s * 1000)
        recovered = recover(self._hdfs, self._folder(day), self._reached)
        entries = self._final_files(day)
        files = FileSet(self._spark, self._hdfs, entries)
        LOG.info(
            "%s: %s lines in %d files on HDFS", day.partition, f"{files.digest.lines:,}", len(files.files)
        )
        records = DayRecords(self._reader, day, span.before, span.day)
        try:
            LOG.info(
                "%s: %s lines in the topic, %s repeats left out",
                day.partition, f"{records.digest.lines:,}", f"{records.repeats:,}",
            )  # fmt: skip
            return self._compare(day, topic, span, files, records, Repairs(recovered_files=recovered))
        finally:
            records.close()

    def _final_files(self, day: Day) -> list[Entry]:
        return [
            entry for entry in self._hdfs.list(self._folder(day)) if not entry.is_dir and is_final(entry.name)
        ]

    def _manifest(self, day: Day) -> Manifest | None:
        try:
            return Manifest.from_json(json.loads(self._hdfs.read_text(f"{self._folder(day)}/{NAME}")))
        except FileNotFoundError:
            return None

    def _unchanged(self, day: Day) -> Manifest | None:
        """The day's manifest when the files are those that it names, and the topic got no more of the day."""
        manifest = self._manifest(day)
        if manifest is None or manifest.topic != self._options.topic or manifest.zone != day.zone:
            return None
        entries = self._hdfs.list(self._folder(day))
        sizes = {e.name: e.size_bytes for e in entries if is_final(e.name) or is_in_use(e.name)}
        over = day.end_ms <= _now_ms()
        marked = any(entry.name == SUCCESS for entry in entries)
        if sizes != manifest.sizes or not manifest.day_over == over == marked:
            return None
        topic = self._connect()
        stop = topic.span(day, self._options.late_records_s * 1000).stop
        since = {
            partition: (manifest.offsets.get(partition, (0, 0))[1], end) for partition, end in stop.items()
        }
        if any(topic.end[partition] < start for partition, (start, _) in since.items()):
            return None  # the topic was made anew
        new = self._reader.read(since).where(
            (F.col("time_ms") >= day.start_ms) & (F.col("time_ms") < day.end_ms)
        )
        if any(end > start for start, end in since.values()) and not new.isEmpty():
            return None
        return manifest

    def _compare(
        self, day: Day, topic: Topic, span: Span, files: FileSet, records: DayRecords, repairs: Repairs
    ) -> DayReport:
        gaps = topic.gaps(day)
        halves = len(files.unfinished)
        if files.digest == records.digest and not halves:
            plan = self._merge(files, records, repairs, bool(gaps))
            return self._finish(day, span, files, records, plan, repairs, gaps)
        with _closing(Difference(records.keys(), files.keys())) as difference:
            LOG.info(
                "%s: %s lines missing, %s too many, %d unfinished",
                day.partition, f"{difference.missing:,}", f"{difference.surplus:,}", halves,
            )  # fmt: skip
            if difference.surplus:
                self._bring_home_earlier(day, span, difference)
            later = self._later_days(day, difference) if difference.missing else {}
            repairs = replace(repairs, moved_home=sum(later.values()))
            if gaps or (difference.surplus and not self._earlier_confirmed(day, topic)):
                gaps = gaps or topic.gaps(day.previous)
                plan = self._complement(files, records, difference, repairs)
            else:
                plan = self._from_topic(records, repairs, difference, halves)
            report = self._finish(day, span, files, records, plan, repairs, gaps, list(later))
        for name in later:
            self._later(name)
        return report

    # What the new set is -------------------------------------------------------------------------

    @property
    def _target_bytes(self) -> int:
        return self._options.target_file_mb * MIB

    def _from_topic(
        self, records: DayRecords, repairs: Repairs, difference: Difference, halves: int
    ) -> _Plan:
        lines, files = records.lines(self._target_bytes)
        repairs = replace(
            repairs,
            missing_written=difference.missing,
            surplus_removed=max(0, difference.surplus - halves),
            half_lines_mended=halves,
        )
        return _Plan(lines, files, records.digest, repairs)

    def _complement(
        self, files: FileSet, records: DayRecords, difference: Difference, repairs: Repairs
    ) -> _Plan | None:
        """All that HDFS has, and what is missing of what the topic still has."""
        missing = records.lines_of(difference.missing_keys())
        mended = self._mended(files, missing, difference)
        if not difference.missing and not files.unfinished:
            return None
        lines = files.lines(without=mended).unionByName(missing)
        removed = Digest.of(mended)
        added = difference.missing_digest()
        digest = files.digest - removed + added
        count = max(1, -(-(digest.size_bytes + digest.lines) // self._target_bytes))
        repairs = replace(repairs, missing_written=difference.missing, half_lines_mended=len(mended))
        return _Plan(lines.coalesce(count), count, digest, repairs)

    def _mended(self, files: FileSet, missing: DataFrame, difference: Difference) -> list[bytes]:
        """The unfinished lines that are the start of a missing line, which replaces them."""
        halves = files.unfinished
        if not halves or not difference.missing:
            return []
        rows = [(at, bytearray(half)) for at, half in enumerate(halves)]
        frame = self._spark.createDataFrame(rows, "at int, half binary")
        foreign = frame.join(
            frame.select("at", *line_key(F.col("half"))).join(
                difference.surplus_keys(), LINE_KEY, "left_semi"
            ),
            "at",
            "left_semi",
        )
        is_start = F.substring("value", F.lit(1), F.octet_length("half")) == F.col("half")
        found = foreign.join(F.broadcast(missing), is_start, "left_semi").select("at").collect()
        return [halves[row["at"]] for row in found]

    def _merge(
        self, files: FileSet, records: DayRecords, repairs: Repairs, unconfirmable: bool
    ) -> _Plan | None:
        """A smaller number of files with the same lines, when there are too many."""
        size = files.digest.size_bytes + files.digest.lines
        needed = max(1, -(-size // self._target_bytes))
        count = len(files.files)
        if count <= max(self._options.merge_above_files, 2 * needed):
            return None
        repairs = replace(repairs, merged_files=count)
        if unconfirmable:
            return _Plan(files.lines().coalesce(needed), needed, files.digest, repairs)
        lines, needed = records.lines(self._target_bytes)
        return _Plan(lines, needed, records.digest, repairs)

    # Neighbours ----------------------------------------------------------------------------------

    def _bring_home_earlier(self, day: Day, span: Span, difference: Difference) -> None:
        """Before a day loses lines of earlier days, those get theirs."""
        keys = difference.surplus_keys().select(*LINE_KEY)
        for text in arrival_dates(self._reader.read(span.before, tasks=4), keys):
            earlier = Day(date.fromisoformat(text), day.zone)
            if earlier not in self._begun:
                LOG.info("%s has lines that may be of %s", day.partition, earlier.partition)
                self._day(earlier)

    def _earlier_confirmed(self, day: Day, topic: Topic) -> bool:
        """Tell whether a surplus line can be no line of a day before that the topic lost."""
        manifest = self._manifest(day.previous)
        return (manifest is not None and not manifest.unconfirmable) or not topic.gaps(day.previous)

    def _later_days(self, day: Day, difference: Difference) -> dict[str, int]:
        """Later partitions that hold missing lines of this day, and how many."""
        found = {}
        for entry in self._hdfs.list(self._options.logs_url):
            later = Day.of_partition(entry.name, day.zone)
            if later is None or later.date <= day.date:
                continue
            entries = self._final_files(later)
            count = difference.missing_in(FileSet(self._spark, self._hdfs, entries).keys()) if entries else 0
            if count:
                found[later.partition] = count
        return found

    def _is_newer(self, name: str, manifest: Manifest) -> bool:
        """Tell whether a later day was reconciled after this manifest was written."""
        later = Day.of_partition(name, self._options.zone)
        found = self._manifest(later) if later is not None else None
        return found is not None and found.reconciled_at > manifest.reconciled_at

    def _later(self, name: str) -> None:
        """Reconcile a later day that held lines of this one, unless it is being written."""
        later = Day.of_partition(name, self._options.zone)
        if later is None or later in self._begun:
            return
        reasons = self._writers.reasons(later)
        if reasons:
            LOG.info("%s needs a run of its own once it is closed: %s", name, "; ".join(reasons))
            self._report.needs_own_run[name] = "; ".join(reasons)
            return
        try:
            self._day(later)
        except StillOpenError as error:
            self._report.needs_own_run[name] = "; ".join(error.reasons)

    # Writing -------------------------------------------------------------------------------------

    def _finish(
        self,
        day: Day,
        span: Span,
        files: FileSet,
        records: DayRecords,
        plan: _Plan | None,
        repairs: Repairs,
        gaps: list[Gap],
        later_days: Sequence[str] = (),
    ) -> DayReport:
        """Switch to the planned set, or mark the one that is there."""
        manifest = Manifest(
            partition=day.partition,
            topic=self._options.topic,
            digest=files.digest,
            files=[file.to_json() for file in files.files],
            offsets=span.day,
            unconfirmable=[_gap_json(gap) for gap in gaps],
            day_over=day.end_ms <= _now_ms(),
            repairs=repairs,
            repeats=records.repeats,
            reconciled_at=_iso(_now_ms()),
            zone=day.zone,
            later_days=list(later_days),
        )
        folder, work = self._folder(day), self._work(day)
        if plan is not None:
            manifest = self._replace(day, files, manifest, plan)
        elif files.files or self._hdfs.exists(folder):
            self._lock.confirm()
            write_manifest(self._hdfs, folder, work, manifest)
            self._reached("manifest-written")
            mark_success(self._hdfs, folder, manifest)
            self._hdfs.delete(work)
        report = DayReport(manifest, changed=plan is not None or bool(repairs.recovered_files))
        self._report.days[day.partition] = report
        return report

    def _replace(self, day: Day, files: FileSet, manifest: Manifest, plan: _Plan) -> Manifest:
        run = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
        switch = self._switch(day)
        staging = switch.staging(run)
        self._hdfs.delete(self._work(day))
        self._hdfs.make_folder(staging)
        LOG.info("%s: writing %s lines", day.partition, f"{plan.digest.lines:,}")
        plan.lines.select(F.col("value").cast("string")).write.mode("append").option("lineSep", "\n").text(
            staging
        )
        self._name(staging, run)
        self._reached("staged")
        written = FileSet(
            self._spark, self._hdfs, [entry for entry in self._hdfs.list(staging) if is_final(entry.name)]
        )
        if written.digest != plan.digest or written.unfinished:
            raise ReconcileError(
                f"The new files of {day.partition} hold {written.digest.to_json()}, expected "
                f"{plan.digest.to_json()}: nothing was switched; run again, and when it comes again, look "
                f"for failing disks; the files are in {staging}"
            )
        self._reached("verified")
        manifest = replace(
            manifest,
            digest=written.digest,
            files=[file.to_json() for file in written.files],
            repairs=plan.repairs,
            reconciled_at=_iso(_now_ms()),
        )
        self._hdfs.write_text(f"{staging}/{NAME}", manifest.to_text())
        superseded = {file.name: file.size_bytes for file in files.files}
        self._refuse_new_life(day, superseded)
        empty = {entry.name: 0 for entry in self._final_files(day) if entry.size_bytes == 0}
        rescued = switch.begin(Journal(run, superseded | empty, manifest.to_json()))
        return replace(manifest, repairs=replace(manifest.repairs, rescued_files=rescued))

    def _name(self, staging: str, run: str) -> None:
        """Give Spark's part files, in their order, names that say what they are."""
        parts = [entry for entry in self._hdfs.list(staging) if entry.name.startswith("part-")]
        number = 0
        for part in parts:
            if part.size_bytes == 0:
                self._hdfs.delete(part.path)
                continue
            self._hdfs.rename(part.path, f"{staging}/{WRITTEN_HERE}.{run}.{number:05d}.log")
            number += 1

    def _refuse_new_life(self, day: Day, superseded: dict[str, int]) -> None:
        """Leave a day alone that an agent began to write while its new set was computed."""
        entries = self._hdfs.list(self._folder(day))
        new = [
            entry.name
            for entry in entries
            if entry.name.lstrip("_").startswith(PREFIX) and entry.size_bytes and entry.name not in superseded
        ]
        new += [entry.name for entry in entries if is_in_use(entry.name) and entry.name not in new]
        if new:
            self._hdfs.delete(self._work(day))
            raise StillOpenError(day.partition, [f"{', '.join(new[:3])} came while the new set was computed"])


@contextmanager
def _closing(difference: Difference) -> Iterator[Difference]:
    try:
        yield difference
    finally:
        difference.close()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _iso(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _gap_json(gap: Gap) -> dict[str, Any]:
    return {
        "partition": gap.partition,
        "before_offset": gap.before_offset,
        "from": _iso(gap.from_ms),
        "to": _iso(gap.to_ms),
    }
