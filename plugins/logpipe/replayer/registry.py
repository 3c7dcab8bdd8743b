"""All replays of this service, running or not."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from logpipe.contracts.formats import Entry
from logpipe.identity import REPAIR_PREFIX
from logpipe.replayer.errors import SinkUnavailableError, SourceRefusedError
from logpipe.replayer.follow.generation import number_of
from logpipe.replayer.front_door import check_source
from logpipe.replayer.journal import SUMS_FILE, Journal
from logpipe.replayer.ledger import Copies, Ledger, LedgerError
from logpipe.replayer.record import ReplayRecord, ReplaySpec, now_text
from logpipe.replayer.replay import Replay
from logpipe.replayer.sums import KEEP_DAYS, to_fold
from logpipe.replayer.urls import SourceUrl
from logpipe.settings import Settings

STOP_WAIT_S = 4.5
MAX_ID_CHARACTERS = 180  # of a replay; a repair's id is longer, and no key holds one of more than 200

log = logging.getLogger(__name__)


class ConflictError(Exception):
    """The replay id stands for something else."""


class Kept:
    """The record of a followed log's file, whose lines `logpipe.replayer.follow` sends."""

    is_alive = False

    def __init__(self, record: ReplayRecord) -> None:
        self.record = record

    def start(self) -> None:
        """Nothing to start."""

    def halt(self, *, is_final: bool) -> None:
        """Nothing to halt."""

    def join(self, timeout_s: float) -> None:
        """Nothing to wait for."""


class Registry:
    """Starts, finds and stops replays.

    Args:
        settings: where the sinks and HDFS are.
        journal: where records are.
    """

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._copies = Copies(settings)
        self._ledger = Ledger(self._copies, self.all, self._adopt, self._fold, self._drop_formats)
        self._lock = threading.Lock()
        self._replays: dict[str, Replay | Kept] = {}
        self.on_fold: Callable[[list[ReplayRecord]], None] = lambda _: None
        self.drop_formats: Callable[[float, Callable[[str], None]], None] = lambda *_: None
        self._unreadable: dict[str, str] = {}

    def resume(self) -> None:
        """Read all records and go on with the running ones, but for those that another host went on with."""
        try:
            self._journal.fold([])  # makes good what a kill left half done
        except (OSError, ValueError) as error:
            log.error("What a fold left half done is not made good: %s", error)
        records, self._unreadable = self._journal.load()
        for record in records:
            self._replays[record.spec.replay_id] = self._gone_on(record)
        self._ledger.start()

    def submit(self, spec: ReplaySpec) -> tuple[ReplayRecord, bool]:
        """Start a replay, reattach to it, or let a failed or stopped one go on.

        The login is no part of what must be equal, so that a wrong one can be put right.

        Where several hosts may send, a replay that another host began goes on after the last line that its
        copy on HDFS knows of.

        Returns:
            The record, and whether the replay is new.

        Raises:
            ValueError: the id is not for a replay of this source, or the source may not be read.
            ConflictError: the id is taken by another specification, or was, or its record can't be read.
            LedgerError: whether another host sent a part of it is not known: HDFS is away.
        """
        _check(spec, self._settings)
        with self._lock:
            if spec.replay_id in self._unreadable:
                raise ConflictError(self._unreadable[spec.replay_id])
            known = self._replays.get(spec.replay_id)
            if known is not None:
                _must_be_a_replay(known.record)
                self._must_equal(known.record.spec, spec)
                if known.is_alive or known.record.state == "done":
                    return known.record, False
                known.join(STOP_WAIT_S)
            record = self._furthest(spec.replay_id, known)
            if record is None:
                self._must_be_new(spec.replay_id)
                record = ReplayRecord(spec)
            else:
                self._must_equal(record.spec, spec)
                given_up_at = record.sealed_at or record.given_up_at
                if record.state != "done" and given_up_at:
                    raise ConflictError(
                        f"replay {spec.replay_id} was given up at {given_up_at} after line "
                        f"{record.place.line}: take another replay_id to send the log again"
                    )
                if record.state != "done":
                    record = record.changed(spec=spec, state="running", reason=None, finished_at=None)
            self._journal.save_new(record)
            replay = self._replay(record)
            self._replays[spec.replay_id] = replay
            if record.state == "running":
                replay.start()
        self._ledger.wake()
        return replay.record, known is None

    def get(self, replay_id: str) -> ReplayRecord | None:
        """The record, None if there is none."""
        replay = self._replays.get(replay_id)
        return replay.record if replay else None

    def all(self) -> list[ReplayRecord]:
        """All records, oldest first."""
        return [replay.record for replay in list(self._replays.values())]

    def stop(self, replay_id: str) -> ReplayRecord | None:
        """Stop a replay for good and wait a little for it; None if there is none.

        Raises:
            ConflictError: it is a followed log's file.
        """
        replay = self._replays.get(replay_id)
        if replay is None:
            return None
        _must_be_a_replay(replay.record)
        if replay.record.state == "running":
            replay.halt(is_final=True)
            replay.join(STOP_WAIT_S)
        return replay.record

    def keep(self, record: ReplayRecord, *, is_new: bool) -> None:
        """Write the record of a followed log's file; a new or an ended one outlasts a power cut.

        Raises:
            OSError: the disk is full or fails; the record before is left as it was.
        """
        (self._journal.save_synced if is_new else self._journal.save)(record)
        self._replays[record.spec.replay_id] = Kept(record)
        if is_new:
            self._ledger.wake()

    def generations(self, follow_id: str) -> list[ReplayRecord]:
        """The records of a followed log's files that are kept, in their order."""
        found = [one for one in self.all() if one.generation and one.generation.follow_id == follow_id]
        return sorted(found, key=lambda one: number_of(one.spec.replay_id))

    def give_up(self, replay_id: str) -> ReplayRecord | None:
        """Note that nobody will go on with a replay that stopped or failed; None if there is none.

        What it has sent stays and counts; it is sealed once HDFS and windows hold just that.

        Raises:
            ConflictError: it runs or is done.
            LedgerError: what another host knows of it is not known: HDFS is away.
        """

        def given_up(record: ReplayRecord) -> ReplayRecord:
            if record.state not in ("stopped", "failed"):
                raise ConflictError(
                    f"replay {replay_id} is {record.state}, expected stopped or failed: "
                    + ("stop it first" if record.state == "running" else "all of it was sent")
                )
            is_marked = record.given_up_at is not None or record.sealed_at is not None
            return record if is_marked else record.changed(given_up_at=now_text())

        return self._mark(replay_id, given_up)

    def seal(self, replay_id: str, sealed_at: str) -> ReplayRecord | None:
        """Mark a replay that is done, or given up half sent, as equal everywhere; None if there is none.

        Given up is what somebody gave up (`give_up`), and what stopped or failed more than
        ``LOGPIPE_KEEP_RUNS_DAYS`` ago: Airflow has no task of it any more that could be cleared.

        Args:
            replay_id: of the replay.
            sealed_at: when it was found so, ISO-8601. It stays as it was if the replay is sealed already.

        Raises:
            ConflictError: it may go on.
            LedgerError: what another host knows of it is not known: HDFS is away.
        """

        def sealed(record: ReplayRecord) -> ReplayRecord:
            before = datetime.now(UTC) - timedelta(days=self._settings.keep_runs_days)
            if record.state != "done" and not record.is_given_up(before):
                raise ConflictError(
                    f"replay {replay_id} is {record.state}, expected done, given up, or stopped or failed "
                    f"for {self._settings.keep_runs_days} days: only what cannot go on is sealed"
                )
            return record if record.sealed_at is not None else record.changed(sealed_at=sealed_at)

        return self._mark(replay_id, sealed)

    def _mark(self, replay_id: str, marked: Callable[[ReplayRecord], ReplayRecord]) -> ReplayRecord | None:
        """Change the record that knows most of a replay, here and on HDFS; None if there is none."""
        with self._lock:
            known = self._replays.get(replay_id)
            record = self._furthest(replay_id, known)
            if record is None:
                return None
            record = marked(record)
            if known is None or known.record != record:
                self._journal.save_synced(record)
                self._replays[replay_id] = self._replay(record)
        self._ledger.wake()
        return record

    def shut_down(self) -> None:
        """Halt all replays, which stay ``running``, wait until what is in flight is recorded, and copy it."""
        replays = list(self._replays.values())
        for replay in replays:
            replay.halt(is_final=False)
        deadline_s = time.monotonic() + STOP_WAIT_S
        for replay in replays:
            replay.join(max(0.0, deadline_s - time.monotonic()))
        self._ledger.stop()

    def _replay(self, record: ReplayRecord) -> Replay | Kept:
        if record.generation is not None:
            return Kept(record)
        return Replay(record, self._settings, self._journal, self.publish, self._ledger.wake)

    def register_format(self, follow_id: str, log_path: str, text: str) -> None:
        """Let all readers know how a followed log's lines are read, before the first one is sent.

        Raises:
            SinkUnavailableError: HDFS is away.
            SinkError: the log is registered with another format.
        """
        try:
            self._copies.put_format(follow_id, Entry(log_path, text))
        except LedgerError as error:
            raise SinkUnavailableError(f"readers are to know the format first: {error}") from None

    def publish(self, record: ReplayRecord) -> None:
        """Before the first line is sent, let all readers know its format, and other hosts its partitions.

        Raises:
            SinkUnavailableError: HDFS is away.
            SinkError: the id stands for another format.
        """
        treatment = record.treatment
        try:
            if record.format_taken is not None or treatment is not None:
                log_name = ""
                if record.generation is not None:
                    log_name = record.generation.path
                elif record.format_taken is not None:  # its log is called as its file
                    log_name = SourceUrl.parse(record.spec.url).path.rpartition("/")[2].removesuffix(".gz")
                text = record.format_taken or (treatment.format_text if treatment else "")
                addresses = str(treatment) if treatment else ""
                self._copies.put_format(record.spec.replay_id, Entry(log_name, text, addresses))
            if self._settings.replays_on == "hdfs":
                self._copies.put(record)
        except LedgerError as error:
            raise SinkUnavailableError(f"other hosts are to know of it first: {error}") from None

    def _adopt(self, copy: ReplayRecord) -> None:
        """Take over how a replay ended on another host."""
        with self._lock:
            known = self._replays[copy.spec.replay_id]
            if copy.state != "running" and not known.is_alive and known.record.is_behind(copy):
                record = replace(copy, spec=known.record.spec)
                self._journal.save(record)
                self._replays[copy.spec.replay_id] = self._replay(record)

    def _fold(self) -> None:
        with self._lock:
            records = to_fold(self.all())
            self._journal.fold(records)
            self.on_fold(records)
            for record in records:
                del self._replays[record.spec.replay_id]

    def _drop_formats(self) -> None:
        self.drop_formats(self._copies.formats_needed_since_s(), self._copies.drop_format)

    def _furthest(self, replay_id: str, known: Replay | Kept | None) -> ReplayRecord | None:
        """The record that knows of most lines: this host's, or the copy of another one's."""
        own = known.record if known else None
        if self._settings.replays_on == "host":
            return own
        copy = self._copies.get(replay_id)
        return copy if copy is not None and (own is None or own.is_behind(copy)) else own

    def _gone_on(self, record: ReplayRecord) -> Replay | Kept:
        """Go on with a replay that runs by its record, unless another host has gone on with it."""
        if record.generation is not None:
            return Kept(record)
        replay_id = record.spec.replay_id
        if record.state == "running" and self._settings.replays_on == "hdfs":
            try:
                copy = self._copies.get(replay_id)
            except LedgerError as error:
                log.warning("%s goes on, as this host knows it: %s", replay_id, error)
            else:
                if copy is not None and record.is_behind(copy):
                    return self._replay(record)
                if copy is None and record.partitions:
                    # It was there before the first line was sent: another host may have sent all, long ago.
                    reason = (
                        "its copy on HDFS is gone: see whether another host has sent it, or ask for it again"
                    )
                    record = record.changed(state="failed", reason=reason, finished_at=now_text())
                    self._journal.save(record)
        replay = self._replay(record)
        if record.state == "running":
            replay.start()
        return replay

    def _must_be_new(self, replay_id: str) -> None:
        try:
            sums = self._journal.sums() if self._settings.replays_on == "host" else self._copies.sums()
        except ValueError as error:
            raise ConflictError(f"whether {replay_id} is new is not known: {error}") from None
        if replay_id in sums.folded:
            raise ConflictError(
                f"replay {replay_id} was sealed and ended more than {KEEP_DAYS} days ago, its record is "
                "gone: take another replay_id to send the log again"
            )

    def _must_equal(self, known: ReplaySpec, asked: ReplaySpec) -> None:
        before, now = known.to_json(), asked.to_json()
        differing = [name for name in before if before[name] != now[name]]
        if differing:
            name = differing[0]
            raise ConflictError(
                f"replay {known.replay_id} has {name} {before[name]!r}, not {now[name]!r}: "
                "take another replay_id, or ask for the same"
            )


def _must_be_a_replay(record: ReplayRecord) -> None:
    if record.generation is not None:
        raise ConflictError(
            f"{record.spec.replay_id} is a file of the followed log {record.generation.path}, expected a "
            "replay's id: `make unfollow LOG=…` ends the following"
        )


def _check(spec: ReplaySpec, settings: Settings) -> None:
    """Keep files to those that may be read, the ids of repairs to repairs, and that of the sums to nobody.

    Raises:
        ValueError: the id is not for this source, or the source may not be read.
    """
    is_repair = spec.replay_id.startswith(REPAIR_PREFIX)
    try:
        check_source(spec.url, settings, spec.replay_id)
        is_kept = not is_repair or SourceUrl.parse(spec.url).scheme == "file"
    except SourceRefusedError:
        if not is_repair:
            raise
        is_kept = False
    if not is_kept:
        raise ValueError(
            f"replay_id is {spec.replay_id!r}, expected one that does not begin with {REPAIR_PREFIX!r}: "
            f"that is kept for repairs, whose lines stand below {settings.state_dir / 'repairs'}"
        )
    if not is_repair and len(spec.replay_id) > MAX_ID_CHARACTERS:
        raise ValueError(
            f"replay_id has {len(spec.replay_id)} characters, expected at most {MAX_ID_CHARACTERS}"
        )
    if f"{spec.replay_id}.json" == SUMS_FILE:
        raise ValueError(f"replay_id is {spec.replay_id!r}, expected another one: {SUMS_FILE} holds the sums")
