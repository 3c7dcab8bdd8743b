"""The job's steps. Each leads from one commit to the next; between two commits nothing has happened."""

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial, reduce
from operator import add, or_

from pyspark.sql import DataFrame, Observation, SparkSession
from pyspark.sql import functions as sf

from windows import console, kafka_rows, parquet_store, totals
from windows.counts import PARTIALS_SCHEMA, CountPlan, RangeSummary, Summaries, count_lines
from windows.errors import CutError, WindowsError
from windows.hdfs import Hdfs
from windows.marks import Forgetting, Ledger
from windows.options import Options
from windows.store import FIRST_QUERY, Commit, CommitLog
from windows.topics import Topics

log = logging.getLogger("windows")

_MODULUS = 1 << 64
_DAY_MS = 86_400_000
_FOREVER_MS = 1 << 60
_EARLIEST = -2  # as Spark's startingOffsets say it


class StoppingError(WindowsError):
    """The job is being stopped; the batch was not begun."""


class Steps:
    """Runs the steps, one at a time. A step publishes after its commit, beside the next step."""

    def __init__(
        self,
        spark: SparkSession,
        hdfs: Hdfs,
        commits: CommitLog,
        topics: Topics,
        options: Options,
        commit: Commit,
    ) -> None:
        self._spark = spark
        self._hdfs = hdfs
        self._commits = commits
        self._topics = topics
        self._options = options
        self._forgetting = Forgetting(
            Ledger(hdfs, options.hdfs_url + options.ledger_dir).held, options.identity_days * _DAY_MS
        )
        self._lock = threading.Lock()
        self._summaries = spark.sparkContext.accumulator({}, Summaries())
        self._background = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._publishing: Future[None] | None = None
        self._printed_at = 0.0
        self._unprinted = False
        self._stopping = False
        self.commit = commit
        self.step_s = 0.0
        self.counted_at = time.monotonic()
        self.failure: BaseException | None = None

    @property
    def query_folder(self) -> str:
        """Where Spark keeps its offsets."""
        return f"{self._options.checkpoint_url}/{self.commit.query}"

    # Between the steps

    def recover(self) -> None:
        """Clear away what was not committed, and finish, in the background, what the last step had left."""
        self._commits.clean(self.commit)
        self._publishing = self._background.submit(self._publish, self.commit)

    def stop(self, deadline_s: float) -> bool:
        """Let the running step finish and begin none after it; tell whether that came about in time."""
        self._stopping = True
        end = time.monotonic() + deadline_s
        if not self._lock.acquire(timeout=deadline_s):
            return False
        self._lock.release()
        if self._publishing is not None:
            try:
                self._publishing.result(max(0.0, end - time.monotonic()))
            except TimeoutError:
                return False
        return True

    def _published(self) -> None:
        """Wait until the last step is published; its error, if any, is raised here."""
        if self._publishing is not None:
            self._publishing.result()
            self._publishing = None

    def _do(self, step: Callable[[], Commit | None]) -> None:
        """Run one step, and commit it once the last one is published; that goes on beside the step."""
        with self._lock:
            if self._stopping:
                raise StoppingError("The job is being stopped")
            began = time.monotonic()
            next_commit = step()
            if next_commit is None:
                return
            self._published()
            self.commit = self._commits.commit(next_commit)
            self.step_s = time.monotonic() - began
            self._publishing = self._background.submit(self._publish, self.commit)

    # Steps

    def count_batch(self, records: DataFrame, batch_id: int) -> None:
        """Count a batch of the query: columns ``key, value, partition, offset, arrival_ms, hash``."""
        try:
            self._do(lambda: self._count(records, batch_id))
        except BaseException as error:
            self.failure = error
            raise

    def close_if_idle(self) -> None:
        """Close the open windows when no line came for long enough."""
        commit, options = self.commit, self._options
        if not commit.open_folder:
            return
        idle_s = time.monotonic() - self.counted_at
        if options.time == "arrival":
            due_s = commit.open_until_ms / 1000 + options.watermark_s
            if time.time() < due_s or idle_s < options.watermark_s:
                return
        elif idle_s < options.idle_s:
            return
        self._do(self._close)

    def tidy(self) -> None:
        """Merge small files, delete old windows: one step at most."""
        if any(self._untidy()):
            self._do(self._tidy)

    def _count(self, records: DataFrame, batch_id: int) -> Commit | None:
        before, options = self.commit, self._options
        offsets = self._planned_offsets(batch_id)
        if batch_id <= before.batch_id:
            self._check_counted(batch_id, offsets)
            return None
        if batch_id != before.batch_id + 1:
            raise WindowsError(
                f"Batch {batch_id} follows on batch {before.batch_id} in {options.checkpoint_url}: its "
                "folders `query` and `windows` are not of one run; remove it and "
                "the windows folder to count anew"
            )
        step = before.step + 1
        folder = self._commits.step_folder(step)
        plan = CountPlan(
            batch_id, options.time, options.window_s, options.slide_s, before.watermark_ms, before.marks,
            self._summaries,
        )  # fmt: skip
        self._summaries.value = {}
        spark = records.sparkSession
        partials = records.mapInArrow(partial(count_lines, plan=plan), PARTIALS_SCHEMA).persist()
        try:
            partials.count()  # from here on the summaries are known, and with them what can be closed
            ranges = list(self._summaries.value.values())
            self._check_read(ranges, before)
            watermark_ms = self._watermark(before, ranges)
            rows = totals.to_windows(partials, options.window_s, options.slide_s, step)
            if before.open_folder:
                rows = rows.unionByName(parquet_store.read_rows(spark, [before.open_folder]))
            open_rows = self._write(
                totals.with_slot(totals.summed(rows), options.window_s, watermark_ms), folder
            )
            if any(seen.malformed or seen.late for seen in ranges):
                dead = kafka_rows.dead_letter_records(partials)
                kafka_rows.send(dead, options.bootstrap, options.dead_letters_topic)
        finally:
            partials.unpersist()
        self._check_topic(before)
        self._check_log(before)
        self.counted_at = time.monotonic()
        counted = self._counted(before, step, folder, batch_id, offsets, ranges, watermark_ms)
        return replace(counted, open_rows=open_rows)

    def _counted(
        self, before: Commit, step: int, folder: str, batch_id: int, offsets: dict[int, int],
        ranges: list[RangeSummary], watermark_ms: int | None,
    ) -> Commit:  # fmt: skip
        """Make the commit of a counted batch."""
        options = self._options
        slots = parquet_store.written_slots(self._hdfs, folder)
        newest_ms = max((seen.max_arrival_ms for seen in ranges), default=0)
        newest_of = dict(before.newest_ms)
        for seen in ranges:
            newest_of[seen.partition] = max(newest_of.get(seen.partition, 0), seen.max_arrival_ms)
        marks = reduce(or_, (seen.marks for seen in ranges), before.marks)
        window_end_ms = (newest_ms // (options.slide_s * 1000) * options.slide_s + options.window_s) * 1000
        return replace(
            before,
            step=step,
            kind="batch",
            batch_id=batch_id,
            folder=folder,
            open_folder=f"{folder}/slot={totals.OPEN}" if slots.get(totals.OPEN) else "",
            open_until_ms=max(before.open_until_ms, window_end_ms),
            offsets=before.offsets | offsets,
            newest_ms=newest_of,
            watermark_ms=watermark_ms,
            marks=self._forgetting.kept(marks, newest_ms),
            moves=parquet_store.moves_of(slots, options.windows_url, step),
            removes=(),
            lines=before.lines + sum(seen.lines for seen in ranges),
            line_bytes=before.line_bytes + sum(seen.line_bytes for seen in ranges),
            hash_sum=(before.hash_sum + sum(seen.hash_sum for seen in ranges)) % _MODULUS,
            late=before.late + sum(seen.late for seen in ranges),
            malformed=before.malformed + sum(seen.malformed for seen in ranges),
            repeats=before.repeats + sum(seen.repeats for seen in ranges),
            anonymous=reduce(add, (seen.anonymous for seen in ranges), before.anonymous),
            foreign=before.foreign + sum(seen.foreign for seen in ranges),
        )

    def _watermark(self, before: Commit, ranges: list[RangeSummary]) -> int | None:
        """Tell until when windows are closed, by the slowest partition's clock.

        In a backlog partitions are read at different paces.
        """
        times = [seen.max_time_ms for seen in ranges if seen.max_time_ms is not None]
        reached = [min(times) - self._options.watermark_s * 1000] if times else []
        known = [before.watermark_ms] if before.watermark_ms is not None else []
        return max(known + reached, default=None)

    def _close(self) -> Commit:
        before, options = self.commit, self._options
        step = before.step + 1
        folder = self._commits.step_folder(step)
        rows = parquet_store.read_rows(self._spark, [before.open_folder])
        self._write(totals.with_slot(rows, options.window_s, _FOREVER_MS), folder)
        slots = parquet_store.written_slots(self._hdfs, folder)
        # In event time the next lines may be another replay's: its clock starts anew.
        watermark_ms = before.open_until_ms if options.time == "arrival" else None
        return replace(
            before,
            step=step,
            kind="close",
            folder=folder,
            open_folder="",
            open_rows=0,
            watermark_ms=watermark_ms,
            moves=parquet_store.moves_of(slots, options.windows_url, step),
            removes=(),
        )

    def _untidy(self) -> tuple[list[parquet_store.WindowFile], parquet_store.Merge | None]:
        """Look for files to delete and files to merge."""
        files = parquet_store.list_files(self._hdfs, self._options.windows_url)
        now_ms = time.time_ns() // 1_000_000
        old = parquet_store.expired(files, now_ms, self._options.keep_days)
        return old, parquet_store.next_merge(files, now_ms - 120_000)

    def _tidy(self) -> Commit | None:
        self._published()  # a merge that is not published has files beside it that it stands for
        old, merge = self._untidy()
        if old:
            return self._expire(old)
        return self._merge(merge) if merge is not None else None

    def _merge(self, merge: parquet_store.Merge) -> Commit:
        step = self.commit.step + 1
        folder = self._commits.step_folder(step)
        self._write(parquet_store.merged(self._spark, merge), folder)
        slots = parquet_store.written_slots(self._hdfs, folder)
        log.info("Merged %d files of %s", len(merge.paths), merge.date)
        return replace(
            self.commit,
            step=step,
            kind="rewrite",
            folder=folder,
            moves=parquet_store.moves_of(slots, self._options.windows_url, step, merge.tier),
            removes=merge.paths,
            rewrite_step=step,
        )

    def _expire(self, old: list[parquet_store.WindowFile]) -> Commit:
        paths = [file.path for file in old]
        every_line_once = sf.unix_timestamp("window_start") % self._options.window_s == 0
        row = (
            parquet_store.read_rows(self._spark, paths)
            .where((sf.col("dimension") == totals.TOTAL) & every_line_once)
            .agg(*(sf.coalesce(sf.sum(name), sf.lit(0)) for name in ("lines", "line_bytes", "hash_sum")))
            .collect()[0]
        )
        lines, line_bytes, hash_sum = self.commit.expired
        log.info(
            "Deleting the windows of %s: older than %d days",
            sorted({f.date for f in old}),
            self._options.keep_days,
        )
        step = self.commit.step + 1
        return replace(
            self.commit,
            step=step,
            kind="rewrite",
            folder="",
            moves=(),
            removes=tuple(paths),
            rewrite_step=step,
            expired=(lines + row[0], line_bytes + row[1], (hash_sum + row[2]) % _MODULUS),
        )

    @staticmethod
    def _write(rows: DataFrame, folder: str) -> int:
        """Write rows by slot; gives the number of those that stay open."""
        seen = Observation()
        is_open = sf.col("slot") == totals.OPEN
        observed = rows.observe(seen, sf.count_if(is_open).alias("open_rows"))
        observed.write.mode("overwrite").partitionBy("slot").parquet(folder)
        return int(seen.get["open_rows"])

    def mend(self, loss: Exception | None) -> None:
        """Before a query begins: if Spark's offsets, or ours, are not the topic's any more, begin it anew.

        It gets a folder of its own, and begins where the topic still is what was counted.

        Args:
            loss: what the query before ended with, if Kafka had lost lines.

        Raises:
            WindowsError: lines were deleted before they were counted, the topic is another one, or there is
                nothing to mend.
        """
        counted, topic = self.commit.offsets, self._options.topic
        cuts, ends = self._cuts(self.commit), self._topics.end_offsets(topic)
        is_behind = any(
            end > ends.get(part, end)
            for read in (counted, self._last_planned())
            for part, end in read.items()
        )
        if loss or cuts or is_behind:
            starts = {
                part: min(end, cuts.get(part, end), ends.get(part, end)) for part, end in counted.items()
            }
            self._do(lambda: self._begun_anew(starts, loss))

    def _begun_anew(self, starts: dict[int, int], loss: Exception | None) -> Commit:
        before, options = self.commit, self._options
        self._check_topic(before)
        firsts = self._topics.first_offsets(options.topic)
        is_gone = starts.keys() - firsts.keys() or any(
            first > starts.get(part, 0) for part, first in firsts.items()
        )
        was_mended = before.query != FIRST_QUERY and before.batch_id < 0 and starts == before.offsets
        if is_gone or was_mended:
            raise WindowsError(
                f"Kafka deleted lines of {options.topic} before they were counted (offsets counted: "
                f"{before.offsets}, kept from {firsts} on): raise the topic's retention; to count what is "
                "left, give a new --checkpoint-dir and --windows-dir"
            ) from loss
        for part, start in starts.items():
            if start < before.offsets[part]:
                log.error(
                    "Partition %d of %s was counted up to offset %d, but the broker has lost what it held "
                    "from offset %d on: going on from there; what was counted stays counted",
                    part, options.topic, before.offsets[part], start,
                )  # fmt: skip
        step = before.step + 1
        return replace(
            before,
            step=step,
            kind="cut",
            query=f"{FIRST_QUERY}-{step}",
            batch_id=-1,
            folder="",
            offsets=starts,
            moves=(),
            removes=(),
        )

    def starts(self) -> dict[int, int]:
        """Where a query begins that has no offsets of its own yet; empty for the topic's start."""
        if self.commit.query == FIRST_QUERY:
            return {}
        parts = self._topics.end_offsets(self._options.topic)
        return {part: self.commit.offsets.get(part, _EARLIEST) for part in parts}

    # Checks: what Spark hands over must follow on what is committed

    def _last_planned(self) -> dict[int, int]:
        """Where the last batch ends that Spark has planned; empty before the first."""
        names = [entry.name for entry in self._hdfs.list(f"{self.query_folder}/offsets")]
        batches = [int(name) for name in names if name.isdigit()]
        return self._planned_offsets(max(batches)) if batches else {}

    def _planned_offsets(self, batch_id: int) -> dict[int, int]:
        """Read from Spark's checkpoint where a batch ends."""
        text = self._hdfs.read_text(f"{self.query_folder}/offsets/{batch_id}")
        ends = json.loads(text.splitlines()[-1]).get(self._options.topic, {})
        return {int(partition): int(offset) for partition, offset in ends.items()}

    def _check_counted(self, batch_id: int, offsets: dict[int, int]) -> None:
        covered = self.commit.offsets
        uncounted = {part: end for part, end in offsets.items() if end > covered.get(part, 0)}
        if uncounted:
            raise WindowsError(
                f"Batch {batch_id} was counted up to offsets {covered}, but is planned up to {uncounted}: "
                f"the folders `query` and `windows` in {self._options.checkpoint_url} are not of one run; "
                "remove it and the windows folder to count anew"
            )

    def _check_read(self, ranges: list[RangeSummary], before: Commit) -> None:
        seen: set[int] = set()
        for part in ranges:
            covered = before.offsets.get(part.partition, 0)
            if part.partition in seen or part.first_offset < covered:
                raise WindowsError(
                    f"Partition {part.partition} was handed over from offset {part.first_offset} on, but is "
                    f"counted up to {covered}: {self._options.checkpoint_url} is not of one run; remove "
                    "it and the windows folder to count anew"
                )
            seen.add(part.partition)

    def _check_topic(self, before: Commit) -> None:
        """Refuse lines of a topic that was made again under the name."""
        topic_id = self._topics.topic_id(self._options.topic)
        if topic_id is not None and topic_id != before.topic_id:
            raise WindowsError(topic_was_replaced(self._options, before.topic_id, topic_id))

    def _check_log(self, before: Commit) -> None:
        """Refuse lines behind offsets that were counted and now hold others: the broker lost its tail.

        Called when the batch was read, so that the log was whole all the while.
        """
        cuts = self._cuts(before)
        if cuts:
            raise CutError(f"The log of {self._options.topic} was cut, by partition at offsets {cuts}")

    def _cuts(self, commit: Commit) -> dict[int, int]:
        """Where partitions hold records that came after all that were counted, at offsets that were."""
        after = self._topics.first_after(self._options.topic, commit.newest_ms)
        return {part: offset for part, offset in after.items() if offset < commit.offsets[part]}

    # After a commit

    def _publish(self, commit: Commit) -> None:
        """Show a committed step to the world; may run twice."""
        if commit.kind in ("batch", "close"):
            self._send_rows(commit)
            self._unprinted = True
        parquet_store.finish(self._hdfs, commit)
        self._commits.prune(commit)
        self.print_windows(commit)

    def _send_rows(self, commit: Commit) -> None:
        spark, options = self._spark, self._options
        self._commits.refuse_if_fenced()  # a driver that slept would put older totals over newer ones
        paths = parquet_store.current_paths(self._hdfs, commit.moves)
        records = kafka_rows.window_records(
            parquet_store.read_rows(spark, paths), options.window_s, sf.lit(True)
        )
        if commit.open_folder.startswith(f"{commit.folder}/"):
            changed = parquet_store.read_rows(spark, [commit.open_folder]).where(
                sf.col("step") == commit.step
            )
            open_records = kafka_rows.window_records(changed, options.window_s, sf.lit(False))
            records = records.union(open_records) if paths else open_records
        kafka_rows.send(records, options.bootstrap, options.windows_topic)

    def print_windows(self, commit: Commit) -> None:
        """Print the newest windows of a step, not more often than the console interval."""
        options = self._options
        if not self._unprinted or time.monotonic() - self._printed_at < options.console_interval_s:
            return
        paths = [move.target for move in commit.moves] + ([commit.open_folder] if commit.open_folder else [])
        if not paths or commit.kind == "rewrite":
            return
        rows = parquet_store.read_rows(self._spark, paths)
        newest = rows.where(sf.col("dimension") == totals.TOTAL).agg(sf.max("window_start")).collect()[0][0]
        if newest is not None:
            first = newest.astimezone(UTC) - timedelta(
                seconds=options.slide_s * (options.console_windows - 1)
            )
            shown = rows.where(sf.unix_timestamp("window_start") >= int(first.timestamp()))
            top = totals.top_keys(shown, options.top).collect()
            console.show([_top_row(row) for row in top], options.top)
        self._printed_at = time.monotonic()
        self._unprinted = False

    def print_later(self) -> None:
        """Print what the interval held back; raises what a step's publishing met."""
        if self._publishing is not None and self._publishing.done():
            self._publishing.result()
        if not self._unprinted or not self._lock.acquire(blocking=False):
            return
        try:
            self._published()
            self.print_windows(self.commit)
        finally:
            self._lock.release()


def _top_row(row: object) -> console.TopRow:
    values = row.asDict()  # type: ignore[attr-defined]
    start: datetime = values["window_start"]
    values["window_start"] = start.astimezone(UTC).replace(tzinfo=None)
    return console.TopRow(**values)


def topic_was_replaced(options: Options, old_id: str, new_id: str) -> str:
    """Say that the topic of the checkpoint is gone and another has its name."""
    return (
        f"Topic {options.topic} was deleted and made again (id {old_id}, now {new_id}): the windows in "
        f"{options.windows_url} count lines of the old one. To count the new topic, remove "
        f"{options.checkpoint_url} and {options.windows_url}, or give a new --checkpoint-dir and "
        "--windows-dir"
    )
