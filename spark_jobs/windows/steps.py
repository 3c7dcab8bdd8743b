"""The job's steps. Each leads from one commit to the next; between two commits nothing has happened."""

import json
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from functools import reduce
from operator import add, or_
from typing import Any

import polars as pl
from pyspark.sql import DataFrame

from logpipe.clients.kafka import Kafka
from logpipe.contracts import formats
from logpipe.windows.commit import FIRST_QUERY, Commit, Kind
from windows import console
from windows.counts import CountPlan, RangeSummary, count_batch
from windows.errors import CutError, WindowsError
from windows.folds import DateFiles, ErasedError, old_dates
from windows.hdfs import Hdfs
from windows.kafka_rows import DeadLetters, Sender
from windows.marks import Forgetting, Ledger
from windows.open_windows import News, OpenWindows
from windows.options import Options
from windows.patience import first_line
from windows.reading import Formats
from windows.rows import COUNTS, added_up, capped, no_rows, to_windows
from windows.store import CommitLog

log = logging.getLogger("windows")

FOLD_STEPS = 64
FOLD_ROWS = 1_000_000
LOOK_INTERVAL_S = 3600.0
_MODULUS = 1 << 64
_DAY_MS = 86_400_000
_EARLIEST = -2  # as Spark's startingOffsets say it


class StoppingError(WindowsError):
    """The job is being stopped; the batch was not begun."""


Step = tuple[Commit, pl.DataFrame]  # and the rows of its file


class Steps:
    """Runs the steps, one at a time. A step publishes after its commit, beside the next step."""

    def __init__(
        self,
        hdfs: Hdfs,
        commits: CommitLog,
        kafka: Kafka,
        options: Options,
        commit: Commit,
    ) -> None:
        self._hdfs = hdfs
        self._commits = commits
        self._kafka = kafka
        self._options = options
        self._forgetting = Forgetting(
            Ledger(hdfs, options.hdfs_url + options.ledger_dir).held, options.identity_days * _DAY_MS
        )
        self._formats = Formats(hdfs, options.hdfs_url + formats.folder(options.ledger_dir))
        self._lock = threading.Lock()
        self._sender = Sender(options.kafka_client)
        self._keep = DeadLetters(tuple(options.kafka_client.items()), options.dead_letters_topic)
        self._files = DateFiles(hdfs, commits.store, commits.scratch, options.max_keys)
        self._open: OpenWindows
        self._unfolded: list[pl.DataFrame]  # what each step behind the last fold added
        self._erased_ms = 0
        self._folds = [commit.folded_before, commit.folded]
        self._untidy: set[str] = set()
        self._look_at = time.monotonic()
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
        news = self._remember()
        self._publishing = self._background.submit(self._publish, self.commit, news, self._erased_ms)
        self._unprinted = True

    def _remember(self) -> News | None:
        """Have the open windows as the log has them."""
        self._erased_ms = self._files.erased_ms()
        self._open, self._unfolded, news = self._of_log(self.commit)
        return news

    def _of_log(self, newest: Commit) -> tuple[OpenWindows, list[pl.DataFrame], News | None]:
        """Make anew, from the last fold before the newest step and the steps since then, what they say.

        Returns:
            The open windows, what is not folded at the newest step, and its news.
        """
        fold = newest.folded if newest.kind != "fold" else self._commits.read(newest.step - 1)[0].folded
        before, rows = self._commits.read(fold, COUNTS)
        found = OpenWindows(self._options.window_s, before, rows)
        unfolded: list[pl.DataFrame] = []
        news = None
        for step in range(fold + 1, newest.step + 1):
            after, rows = self._commits.read(step)
            news = found.apply(before, after, rows)
            if step > newest.folded:
                unfolded.append(rows)
            before = after
        return found, unfolded, news

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

    def _do(self, step: Callable[[], Step | None]) -> None:
        """Run one step, and commit it once the last one is published; that goes on beside the step."""
        with self._lock:
            if self._stopping:
                raise StoppingError("The job is being stopped")
            while self.commit.log_rows >= FOLD_ROWS or self.commit.step - self.commit.folded >= FOLD_STEPS:
                with suppress(ErasedError):  # then again, of what is in the files now
                    self._run(self._fold)
            self._run(step)

    def _run(self, step: Callable[[], Step | None]) -> None:
        began = time.monotonic()
        if self._files.erased_ms() != self._erased_ms:
            self._remember()
        done = step()
        if done is None:
            return
        commit, rows = done
        news = self._open.apply(self.commit, commit, rows)
        commit = self._commits.write(replace(commit, open_rows=self._open.height), rows)
        self._published()
        if commit.kind == "fold":
            self._files.check_erased(self._erased_ms)
        self._commits.commit(commit)
        self.commit = commit
        if commit.kind == "fold":
            self._unfolded = []
        else:
            self._unfolded.append(rows)
        self.step_s = time.monotonic() - began
        self._publishing = self._background.submit(self._publish, commit, news, self._erased_ms)
        self._unprinted |= commit.kind in ("batch", "close")
        self._print()

    def _next(self, kind: Kind, **changes: Any) -> Commit:
        """The commit of the next step."""
        changes = {"step": self.commit.step + 1, "kind": kind, "expires": (), **changes}
        return replace(self.commit, **changes)

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
        if not commit.open_rows:
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
        """Merge small files by date, beside the steps; at times delete old dates."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LOOK_INTERVAL_S
            files = self._commits.store.all_date_files()
            if old := old_dates(files, self._options.keep_days):
                self._do(lambda: self._expire(old))
            self._untidy = (self._untidy | {file.date for file in files}) - old
        with self._lock:
            dates, self._untidy = self._untidy, set()
        again = self._files.tidy(self.commit, dates)
        with self._lock:
            self._untidy |= again

    def _count(self, records: DataFrame, batch_id: int) -> Step | None:
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
        plan = CountPlan(
            options.time, options.window_s, options.slide_s, before.watermark_ms, before.marks,
            self._formats.entries(), self._keep,
        )  # fmt: skip
        results = count_batch(records, plan)
        ranges = [seen for _, seen in results]
        self._check_read(ranges, before)
        rows = to_windows([partials for partials, _ in results], options.window_s, options.slide_s)
        rows = capped(rows, options.max_keys)
        self._check_topic(before)
        self._check_log(before)
        self.counted_at = time.monotonic()
        return self._counted(before, batch_id, offsets, ranges, rows.height), rows

    def _counted(
        self, before: Commit, batch_id: int, offsets: dict[int, int], ranges: list[RangeSummary], rows: int
    ) -> Commit:
        """Make the commit of a counted batch."""
        options = self._options
        newest_ms = max((seen.max_arrival_ms for seen in ranges), default=0)
        newest_of = dict(before.newest_ms)
        for seen in ranges:
            newest_of[seen.partition] = max(newest_of.get(seen.partition, 0), seen.max_arrival_ms)
        marks = reduce(or_, (seen.marks for seen in ranges), before.marks)
        window_end_ms = (newest_ms // (options.slide_s * 1000) * options.slide_s + options.window_s) * 1000
        return self._next(
            "batch",
            batch_id=batch_id,
            log_rows=before.log_rows + rows,
            open_until_ms=max(before.open_until_ms, window_end_ms),
            offsets=before.offsets | offsets,
            newest_ms=newest_of,
            watermark_ms=self._watermark(before, ranges),
            marks=self._forgetting.kept(marks, newest_ms),
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

    def _close(self) -> Step:
        if self._options.time == "arrival":
            return self._next("close", watermark_ms=self.commit.open_until_ms), no_rows()
        # In event time the next lines may be another replay's: its clock starts anew.
        return self._next("close", watermark_ms=None, reset_step=self.commit.step + 1), no_rows()

    def _fold(self) -> Step:
        self._published()  # it may be deleting dates that the fold writes to
        before, step = self.commit, self.commit.step + 1
        rows = capped(added_up(self._unfolded), self._options.max_keys)
        self._untidy |= self._files.fold(rows, before.folded + 1, before.step, self._erased_ms)
        self._folds = [*(at for at in self._folds if at < step), step]  # an erasure may have it done twice
        while len(self._folds) > 2 and self._folds[1] <= step - FOLD_STEPS:
            del self._folds[0]
        folded = self._next("fold", folded=step, folded_before=self._folds[0], log_rows=0)
        return folded, self._open.totals()

    def _expire(self, old: set[str]) -> Step:
        log.info("Deleting the windows of %s: older than %d days", sorted(old), self._options.keep_days)
        expired = self.commit.expired + self._files.digest(self.commit, old)
        step = self.commit.step + 1
        return self._next("expire", expires=tuple(sorted(old)), expired_step=step, expired=expired), no_rows()

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
        cuts, ends = self._cuts(self.commit), self._kafka.offsets(topic).ends
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

    def _begun_anew(self, starts: dict[int, int], loss: Exception | None) -> Step:
        before, options = self.commit, self._options
        self._check_topic(before)
        firsts = {part: first for part, (first, _) in self._kafka.offsets(options.topic).offsets.items()}
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
        query = f"{FIRST_QUERY}-{before.step + 1}"
        return self._next("cut", query=query, batch_id=-1, offsets=starts), no_rows()

    def starts(self) -> dict[int, int]:
        """Where a query begins that has no offsets of its own yet; empty for the topic's start."""
        if self.commit.query == FIRST_QUERY:
            return {}
        parts = self._kafka.offsets(self._options.topic).ends
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
        topic = self._kafka.describe(self._options.topic)
        if topic is not None and topic.topic_id != before.topic_id:
            raise WindowsError(topic_was_replaced(self._options, before.topic_id, topic.topic_id))

    def _check_log(self, before: Commit) -> None:
        """Refuse lines behind offsets that were counted and now hold others: the broker lost its tail.

        Called when the batch was read, so that the log was whole all the while.
        """
        cuts = self._cuts(before)
        if cuts:
            raise CutError(f"The log of {self._options.topic} was cut, by partition at offsets {cuts}")

    def _cuts(self, commit: Commit) -> dict[int, int]:
        """Where partitions hold records that came after all that were counted, at offsets that were."""
        after = self._kafka.first_after(self._options.topic, commit.newest_ms)
        return {part: offset for part, offset in after.items() if offset < commit.offsets[part]}

    # After a commit

    def _publish(self, commit: Commit, news: News | None, erased_ms: int) -> None:
        """Show a committed step to the world; may run twice."""
        if news is not None and self._files.erased_ms() != erased_ms:
            _, _, news = self._of_log(commit)
        if news is not None:
            self._sender.send(self._options.windows_topic, news.records(self._options.window_s))
        self._files.drop(commit)
        if commit.kind == "fold":
            self._commits.prune(commit)

    def _print(self) -> None:
        """Print the newest windows, not more often than the console interval."""
        options = self._options
        if not self._unprinted or time.monotonic() - self._printed_at < options.console_interval_s:
            return
        text = console.show(self._open.newest(options.console_windows, options.slide_s), options.top)
        if text and options.console_file:
            self._put(f"{text}\n", options.hdfs_url + options.console_file)
        self._printed_at = time.monotonic()
        self._unprinted = False

    def _put(self, text: str, url: str) -> None:
        """Replace a file by a text; counting goes on without it."""
        try:
            self._hdfs.write_text(url, text)
        except OSError as error:
            log.warning("The tables are not in %s: %s", url, first_line(error))

    def print_later(self) -> None:
        """Print what the interval held back; raises what a step's publishing met."""
        if self._publishing is not None and self._publishing.done():
            self._publishing.result()
        if not self._unprinted or not self._lock.acquire(blocking=False):
            return
        try:
            self._published()
            self._print()
        finally:
            self._lock.release()


def topic_was_replaced(options: Options, old_id: str, new_id: str) -> str:
    """Say that the topic of the checkpoint is gone and another has its name."""
    return (
        f"Topic {options.topic} was deleted and made again (id {old_id}, now {new_id}): the windows in "
        f"{options.windows_url} count lines of the old one. To count the new topic, remove "
        f"{options.checkpoint_url} and {options.windows_url}, or give a new --checkpoint-dir and "
        "--windows-dir"
    )
