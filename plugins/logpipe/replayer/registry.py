"""All replays of this service, running or not."""

import logging
import threading
import time

from logpipe.replayer.journal import Journal
from logpipe.replayer.ledger import Ledger, LedgerError, load_copy
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.replayer.replay import Replay
from logpipe.settings import Settings

STOP_WAIT_S = 4.5

log = logging.getLogger(__name__)


class ConflictError(Exception):
    """The replay id stands for something else."""


class Registry:
    """Starts, finds and stops replays.

    Args:
        settings: where the sinks and HDFS are.
        journal: where records are.
    """

    def __init__(self, settings: Settings, journal: Journal) -> None:
        self._settings = settings
        self._journal = journal
        self._ledger = Ledger(settings, self.all)
        self._lock = threading.Lock()
        self._replays: dict[str, Replay] = {}
        self._unreadable: dict[str, str] = {}

    def resume(self) -> None:
        """Read all records and go on with the running ones, but for those that another host went on with."""
        records, self._unreadable = self._journal.load()
        for record in records:
            replay = self._replay(record)
            self._replays[record.spec.replay_id] = replay
            if record.state == "running" and not self._is_elsewhere(record):
                replay.start()
        self._ledger.start()

    def submit(self, spec: ReplaySpec) -> tuple[ReplayRecord, bool]:
        """Start a replay, reattach to it, or let a failed or stopped one go on.

        The password is no part of what must be equal, so that a wrong one can be put right.

        Where several hosts may send, a replay that another host began goes on after the last line that its
        copy on HDFS knows of.

        Returns:
            The record, and whether the replay is new.

        Raises:
            ConflictError: the id is taken by another specification, or its record can't be read.
            LedgerError: whether another host sent a part of it is not known: HDFS is away.
        """
        with self._lock:
            if spec.replay_id in self._unreadable:
                raise ConflictError(self._unreadable[spec.replay_id])
            known = self._replays.get(spec.replay_id)
            if known is not None:
                self._must_equal(known.record.spec, spec)
                if known.is_alive or known.record.state == "done":
                    return known.record, False
                known.join(STOP_WAIT_S)
            record = self._furthest(spec.replay_id, known)
            if record is None:
                record = ReplayRecord(spec)
            else:
                self._must_equal(record.spec, spec)
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
        """Stop a replay for good and wait a little for it; None if there is none."""
        replay = self._replays.get(replay_id)
        if replay is None:
            return None
        if replay.record.state == "running":
            replay.halt(is_final=True)
            replay.join(STOP_WAIT_S)
        return replay.record

    def shut_down(self) -> None:
        """Halt all replays, which stay ``running``, and wait until what is in flight is recorded."""
        replays = list(self._replays.values())
        for replay in replays:
            replay.halt(is_final=False)
        deadline_s = time.monotonic() + STOP_WAIT_S
        for replay in replays:
            replay.join(max(0.0, deadline_s - time.monotonic()))

    def _replay(self, record: ReplayRecord) -> Replay:
        return Replay(record, self._settings, self._journal, self._ledger.wake)

    def _furthest(self, replay_id: str, known: Replay | None) -> ReplayRecord | None:
        """The record that knows of most lines: this host's, or the copy of another one's."""
        own = known.record if known else None
        if self._settings.replays_on == "host":
            return own
        copy = load_copy(self._settings, replay_id)
        return copy if copy is not None and (own is None or _is_further(copy, own)) else own

    def _is_elsewhere(self, record: ReplayRecord) -> bool:
        """Whether another host has gone on with a replay that this one left."""
        if self._settings.replays_on == "host":
            return False
        try:
            copy = load_copy(self._settings, record.spec.replay_id)
        except LedgerError as error:
            log.warning("%s goes on, as this host knows it: %s", record.spec.replay_id, error)
            return False
        return copy is not None and _is_further(copy, record)

    def _must_equal(self, known: ReplaySpec, asked: ReplaySpec) -> None:
        before, now = known.to_json(), asked.to_json()
        differing = [name for name in before if before[name] != now[name]]
        if differing:
            name = differing[0]
            raise ConflictError(
                f"replay {known.replay_id} has {name} {before[name]!r}, not {now[name]!r}: "
                "take another replay_id, or ask for the same"
            )


def _is_further(copy: ReplayRecord, own: ReplayRecord) -> bool:
    return (copy.place.line, copy.state == "done") > (own.place.line, own.state == "done")
