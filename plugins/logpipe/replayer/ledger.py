"""Copies of the records on HDFS, which outlive this machine.

A copy may lag behind the record, and HDFS may be away: neither holds up a replay. Where several hosts may
send, another one goes on from a copy; what was sent since the copy is sent again, with the same keys. A copy
never takes the place of one that knows of more.

``<ledger>/replays/<replay>.json`` is a copy, ``<ledger>/sums-<number>.json`` holds the sums of those that
were folded; the highest number counts.
"""

import json
import logging
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import timedelta

from logpipe.clients.formats import FormatConflictError, FormatRegistry
from logpipe.clients.hdfs import Hdfs, HdfsError, HdfsExistsError, dumps
from logpipe.contracts.days import DAY, date_of, end_of_day_ms
from logpipe.contracts.formats import Entry, EntryError
from logpipe.replayer.errors import SinkError
from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.sums import KEEP_DAYS, Sums, is_old, to_fold
from logpipe.settings import Settings
from logpipe.settings.unreadable import UNREADABLE

INTERVAL_S = 10.0
FOLD_INTERVAL_S = 86400.0
STOP_WAIT_S = 3.0  # for the last copies
_TIMEOUT_S = 10.0
_READERS = 8
_SUMS_NAME = re.compile(r"sums-(\d{9})\.json")

log = logging.getLogger(__name__)


class LedgerError(Exception):
    """HDFS gave or took no copy; the message says why."""


@contextmanager
def _hdfs_errors() -> Iterator[None]:
    """Raise what HDFS says as `LedgerError`."""
    try:
        yield
    except (HdfsError, EntryError) as error:
        raise LedgerError(str(error)) from error


class Copies:
    """The copies of all hosts. Each method raises `LedgerError` when HDFS is away or a copy can't be read."""

    def __init__(self, settings: Settings) -> None:
        self._hdfs = Hdfs.of(settings, _TIMEOUT_S)
        self._root = settings.hdfs_ledger_dir
        self._logs_dir, self._timezone = settings.hdfs_logs_dir, settings.timezone
        self._kept_s = max(KEEP_DAYS * 86400, settings.topic_retention_hours * 3600)
        self._folder = f"{self._root}/replays"
        self._formats = FormatRegistry(self._hdfs, self._root)
        self._writing = threading.Lock()

    def close(self) -> None:
        """Let go of the connections."""
        self._hdfs.close()

    def get(self, replay_id: str) -> ReplayRecord | None:
        """A replay's copy, without its login; None when there is none."""
        text = self._read(f"{self._folder}/{replay_id}.json")
        try:
            values = None if text is None else json.loads(text)
            return None if values is None else ReplayRecord.from_file(values)
        except UNREADABLE as error:
            raise LedgerError(
                f"The copy of the record of {replay_id} on HDFS can't be read: {error}"
            ) from error

    def all(self) -> list[ReplayRecord]:
        """The copies of all records, oldest first. To add them to `sums`, read these after the records."""
        with _hdfs_errors():
            ids = self._ids()
        with ThreadPoolExecutor(_READERS, "copies") as readers:
            copies = list(readers.map(self.get, ids))
        return sorted((copy for copy in copies if copy), key=lambda record: record.started_at)

    def put(self, record: ReplayRecord) -> ReplayRecord | None:
        """Write a copy, unless what is there knows of more: then give that one.

        A sealed copy is not written again, and neither is one that another host may have folded.
        """
        with self._writing:
            there = self.get(record.spec.replay_id)
            if there is not None and record.is_behind(there):
                return there
            if (there is None and is_old(record)) or (there is not None and there.sealed_at is not None):
                return None
            content = json.dumps(record.to_file(), indent=1).encode()
            self._replace(f"{self._folder}/{record.spec.replay_id}.json", content)
            return None

    @_hdfs_errors()
    def put_format(self, prefix: str, entry: Entry) -> None:
        """Tell all readers how lines are read.

        Args:
            prefix: id of their replay, or of their followed log.
            entry: how.

        Raises:
            SinkError: the id stands for another format.
        """
        try:
            self._formats.put(prefix, *entry)
        except FormatConflictError as error:
            raise SinkError(str(error)) from None

    def drop_format(self, prefix: str) -> None:
        """Take the entry of a prefix away that nobody can need any more."""
        with _hdfs_errors():
            self._formats.drop(prefix)

    def formats_needed_since_s(self) -> float:
        """Formats of what ended before that nobody needs: no record, file or topic has lines of theirs.

        Returns:
            The midnight before the oldest day that has lines on HDFS, or a month ago, Unix time.
        """
        since_s = time.time() - self._kept_s
        with _hdfs_errors():
            names = [entry.name for entry in self._hdfs.list(self._logs_dir) if DAY.fullmatch(entry.name)]
        if not names:
            return since_s
        day_before = date_of(min(names)) - timedelta(days=1)
        return min(since_s, end_of_day_ms(day_before, self._timezone) / 1000)

    def sums(self) -> Sums:
        """The sums of the copies that were folded."""
        while True:
            number = self._newest_sums()
            text = self._read(self._sums_path(number)) if number else b""
            if text is not None:  # or a newer one took its place
                break
        try:
            return Sums.from_json(json.loads(text)) if text else Sums()
        except UNREADABLE as error:
            raise LedgerError(f"{self._sums_path(number)} on HDFS can't be read: {error}") from error

    def fold(self) -> None:
        """Add the copies that are old and sealed to the sums, and delete them.

        The sums' number is taken by a rename that overwrites nothing, so that of two hosts that do so at once
        one wins; the other deletes nothing. A kill in between is made good by the next call.
        """
        number = self._newest_sums()
        sums = self.sums()
        with _hdfs_errors():
            self._delete(sums.folded)
            records = to_fold(self.all())
            if records:
                number += 1
                sums = sums.with_folded(records, self._formats.prefixes())
                temporary = f"{self._root}/.sums-{time.time_ns()}.tmp"
                self._hdfs.write(temporary, dumps(sums.to_json()))
                try:
                    self._hdfs.rename(temporary, self._sums_path(number))
                except HdfsExistsError:
                    self._hdfs.delete(temporary)
                    return
                if number == self._newest_sums():
                    self._delete(sums.folded)
            self._drop_formats(sums)
            for older in self._numbers()[:-1]:
                self._hdfs.delete(self._sums_path(older))

    def _delete(self, replay_ids: Iterable[str]) -> None:
        for replay_id in self._ids().intersection(replay_ids):
            self._hdfs.delete(f"{self._folder}/{replay_id}.json")

    def _drop_formats(self, sums: Sums) -> None:
        """Of folded replays; the next fold forgets their ends."""
        if not (entries := self._formats.prefixes().intersection(sums.ended_s)):
            return
        since_s = self.formats_needed_since_s()
        for prefix in entries:
            if sums.ended_s[prefix] < since_s:
                self._formats.drop(prefix)

    def _ids(self) -> set[str]:
        names = [entry.name for entry in self._hdfs.list(self._folder)]
        return {name.removesuffix(".json") for name in names if name[0] != "." and name.endswith(".json")}

    def _sums_path(self, number: int) -> str:
        return f"{self._root}/sums-{number:09d}.json"

    def _numbers(self) -> list[int]:
        with _hdfs_errors():
            found = [_SUMS_NAME.fullmatch(entry.name) for entry in self._hdfs.list(self._root)]
        return sorted(int(name[1]) for name in found if name)

    def _newest_sums(self) -> int:
        return max(self._numbers(), default=0)

    def _read(self, path: str) -> bytes | None:
        with _hdfs_errors():
            return self._hdfs.read(path)

    def _replace(self, path: str, content: bytes) -> None:
        folder, _, name = path.rpartition("/")
        temporary = f"{folder}/.{name}.tmp"
        with _hdfs_errors():
            self._hdfs.write(temporary, content, overwrite=True)
            self._hdfs.rename(temporary, path, overwrite=True)


class Ledger:
    """A thread that copies records: each after a change of its state, running ones every `INTERVAL_S`.

    Once a day it folds what is old and sealed.

    Args:
        records: gives all records.
        adopt: takes a copy that knows of more than this host's record.
        fold: folds this host's own records.
        drop_formats: drops the formats of followed logs that nobody can need.
    """

    def __init__(
        self,
        copies: Copies,
        records: Callable[[], Iterable[ReplayRecord]],
        adopt: Callable[[ReplayRecord], None],
        fold: Callable[[], None],
        drop_formats: Callable[[], None] = lambda: None,
    ) -> None:
        self._copies = copies
        self._records = records
        self._adopt = adopt
        self._fold_own = fold
        self._drop_formats = drop_formats
        self._copied: dict[str, ReplayRecord] = {}
        self._overtaken: set[str] = set()  # other hosts go on with these
        self._wake = threading.Event()
        self._stopping = False
        self._is_away = False
        self._fold_at_s = dict.fromkeys(("own", "copies", "formats"), 0.0)
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Start; copies all records once, since what was copied before is not known."""
        self._thread.start()

    def wake(self) -> None:
        """Copy what changed now, rather than with the next interval."""
        self._wake.set()

    def stop(self) -> None:
        """Copy what changed, if HDFS takes it within `STOP_WAIT_S`, and end."""
        self._stopping = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WAIT_S)

    def _run(self) -> None:
        while True:
            last = self._stopping
            self._fold_daily(self._fold_own, "own")
            self._copy_changed()
            if last:
                return
            if not self._is_away:
                self._fold_daily(self._copies.fold, "copies")
                self._fold_daily(self._drop_formats, "formats")
            self._pause()

    def _pause(self) -> None:
        """Until the next interval; also until woken, but not while HDFS is away."""
        until_s = time.monotonic() + INTERVAL_S
        while self._wake.wait(max(0.0, until_s - time.monotonic())):
            self._wake.clear()
            if self._stopping or not self._is_away:
                return

    def _copy_changed(self) -> None:
        records = list(self._records())
        for record in records:
            replay_id = record.spec.replay_id
            if self._copied.get(replay_id) == record:
                continue
            try:
                ahead = self._copies.put(record)
                if ahead is not None:
                    if replay_id not in self._overtaken:
                        log.warning("The copy of the record of %s on HDFS knows of more: it stays", replay_id)
                        self._overtaken.add(replay_id)
                    self._adopt(ahead)
            except LedgerError as error:
                if not self._is_away:
                    log.warning("Records are not copied to HDFS for now: %s", error)
                self._is_away = True
                return
            if self._is_away:
                log.info("Records are copied to HDFS again")
            self._is_away = False
            if ahead is not None and ahead.state == "running":
                continue  # how it ends is looked for with the next interval
            self._overtaken.discard(replay_id)
            self._copied[replay_id] = record
        self._overtaken &= {record.spec.replay_id for record in records}
        for replay_id in self._copied.keys() - {record.spec.replay_id for record in records}:
            del self._copied[replay_id]

    def _fold_daily(self, fold: Callable[[], None], what: str) -> None:
        if time.monotonic() < self._fold_at_s[what]:
            return
        self._fold_at_s[what] = time.monotonic() + FOLD_INTERVAL_S
        try:
            fold()
        except (LedgerError, OSError, ValueError) as error:
            log.warning("Sealed records (%s) are not folded today: %s", what, error)
