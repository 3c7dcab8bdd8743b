"""Waiting for the end of what the replayer does: of a replay, or of the following of a log."""

import asyncio
import logging
import time
from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from logpipe.airflow.hooks.services import ProcessHostHook, ReplayerHook
from logpipe.airflow.hooks.source_login import source_login
from logpipe.airflow.services import kinds
from logpipe.airflow.triggers.ownership import Ownership, outliving
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger, off_loop
from logpipe.airflow.triggers.service import ServiceTrigger, answered
from logpipe.clients.errors import ClientError, UnreachableError
from logpipe.clients.replayer import Record, Replayer

_STOP_PATIENCE_S = 60.0  # for a replayer that is away when its work shall end

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayEvent(Event):
    """The record of what the replayer does no longer: a replay, or a followed log."""

    record: Record


@dataclass(kw_only=True, eq=False)
class ReplayerTrigger(SerializableTrigger):
    """Fires when the replayer does something no longer; logs its progress until then.

    The replayer is supervised meanwhile, as `ServiceTrigger` does it: one that hangs is killed and so brought
    back, which stands in the log and in XCom ``heals``. One that says what it waits for does not hang. While
    it is away this waits.

    Attributes:
        owner: token of the task try that waits; see `Ownership`.
        service: the replayer's name at its process host.
        hung_after_s: a replayer whose process runs and that does not answer for so long is healed.
        start_s: but not one that was started less than so long ago.
        stall_after_s: and so is one that gets on with nothing for so long, without a reason.
    """

    replayer_conn_id: str = ReplayerHook.default_conn_name
    poll_interval_s: float = 1
    log_interval_s: float = 10
    owner: str | None = None
    service: str = "replayer"
    process_host_conn_id: str = ProcessHostHook.default_conn_name
    hung_after_s: float = 20
    start_s: float = 30
    stall_after_s: float = 120

    @property
    def _replayer(self) -> Replayer:
        return ReplayerHook(self.replayer_conn_id).get_conn()

    @property
    def _kept(self) -> kinds.Replayer:
        """The replayer, as it is supervised."""
        return kinds.Replayer(
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            replayer_conn_id=self.replayer_conn_id,
            stall_after_s=self.stall_after_s,
        )

    @abstractmethod
    def _record(self) -> Record:
        """How it stands."""

    def _record_again(self) -> Record:
        """How it stands at a replayer that has been away."""
        return self._record()

    @abstractmethod
    def _stop(self) -> Record:
        """Have it end."""

    @abstractmethod
    def _goes_on(self, record: Record) -> bool:
        """Whether it is waited for."""

    @abstractmethod
    def _progress(self, record: Record) -> str:
        """One line for the log."""

    async def event(self) -> ReplayEvent:
        """Wait for the end, and heal the replayer."""
        ended, supervision = asyncio.create_task(self._ended()), asyncio.create_task(self._supervise())
        try:
            await asyncio.wait({ended, supervision}, return_when=asyncio.FIRST_COMPLETED)
            return ReplayEvent(ended.result() if ended.done() else supervision.result())
        finally:
            ended.cancel()
            supervision.cancel()
            await asyncio.wait({ended, supervision})

    async def _ended(self) -> Record:
        away = False
        logged = 0.0
        while True:
            try:
                record = await off_loop(self._record_again if away else self._record)
            except UnreachableError as error:
                if not away:
                    log.warning("Waiting for the replayer: %s", error)
                away = True
            else:
                away = False
                if not self._goes_on(record):
                    return record
                if time.monotonic() - logged >= self.log_interval_s:
                    logged = time.monotonic()
                    log.info("%s", self._progress(record))
            await asyncio.sleep(self.poll_interval_s)

    async def _supervise(self) -> Record:
        """Keep the replayer up for as long as it is waited for, whatever becomes of it."""
        while True:
            trigger = ServiceTrigger(
                service=self._kept.serialize(),
                supervise=True,
                start_timeout_s=self.start_s,
                check_interval_s=self.poll_interval_s,
                hung_after_s=self.hung_after_s,
            )
            trigger.task_instance = self.task_instance
            try:
                outcome = await trigger.event()
                log.log(logging.DEBUG if outcome.stopped else logging.WARNING, "%s", outcome.reason)
                if outcome.stopped and (record := self._ends_with_replayer()):
                    return record
            except ClientError as error:
                log.warning("%s is not watched: %s", self.service, error)
            await asyncio.sleep(self.poll_interval_s)

    def _ends_with_replayer(self) -> Record | None:
        """What is told when the replayer was stopped on request; None when that is waited for."""
        return None

    async def on_kill(self) -> None:
        """Have it end when a person ended its task; let it go on when a new try waits for it."""
        await outliving(self._stop_unless_taken_over())

    async def _stop_unless_taken_over(self) -> None:
        if await Ownership(self.task_instance, self.owner).ended():
            log.info("Its task was ended: stopping %s", self)
            record = await answered(
                self._stop,
                self.poll_interval_s,
                _STOP_PATIENCE_S,
                refused_patience_s=0,
                tell=lambda error: log.warning("Waiting for the replayer: %s", error),
            )
            log.info("%s", self._progress(record))


@dataclass(kw_only=True, eq=False)
class ReplayTrigger(ReplayerTrigger):
    """Fires when a replay is done, failed or stopped.

    When the replayer is back after it was away, the same replay is submitted again, which it takes as going
    on. It stalls when nothing is acknowledged at pace ``max``.
    """

    replay_id: str
    spec: dict[str, Any]

    def __str__(self) -> str:
        return f"replay {self.replay_id}"

    @property
    def _kept(self) -> kinds.Replayer:
        return replace(super()._kept, replay_id=self.replay_id)

    def _record(self) -> Record:
        return self._replayer.record(self.replay_id)

    def _record_again(self) -> Record:
        return submit(self._replayer, self.replay_id, self.spec)

    def _stop(self) -> Record:
        return self._replayer.stop(self.replay_id)

    def _goes_on(self, record: Record) -> bool:
        return bool(record["state"] == "running")

    def _progress(self, record: Record) -> str:
        return progress(record)


def submit(replayer: Replayer, replay_id: str, spec: dict[str, Any]) -> Record:
    """Submit a replay, with the login of the connection that ``spec`` may name as ``source_conn_id``.

    Raises:
        SourceLoginError: the connection is not for the log's server.
    """
    body = dict(spec)
    return replayer.submit(replay_id, body, source_login(body.pop("source_conn_id", None), spec["url"]))


def progress(record: Record) -> str:
    """Say in one line how far a replay is."""
    read, size = record["source_bytes_read"], record["source_size_bytes"]
    share = f", {read / size:.0%} of the source" if size else ""
    reason = f": {record['reason']}" if record["reason"] else ""
    return f"{record['lines']:,} lines acknowledged ({record['bytes']:,} bytes){share}{reason}"
