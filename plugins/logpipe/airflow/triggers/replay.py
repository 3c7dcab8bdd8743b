"""Following one replay until it ends."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from logpipe.airflow.hooks.services import ProcessHostHook, ReplayerHook
from logpipe.airflow.hooks.source_login import source_login
from logpipe.airflow.services import kinds
from logpipe.airflow.triggers.ownership import Ownership, outliving
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger, off_loop
from logpipe.airflow.triggers.service import ServiceTrigger
from logpipe.clients.errors import ClientError, UnreachableError
from logpipe.clients.replayer import Record, Replayer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayEvent(Event):
    """The record of a replay that runs no longer."""

    record: Record


@dataclass(kw_only=True, eq=False)
class ReplayTrigger(SerializableTrigger):
    """Fires when a replay is done, failed or stopped; logs its progress until then.

    The replayer is supervised meanwhile, as `ServiceTrigger` does it: one that hangs is killed and so brought
    back, which stands in the log and in XCom ``heals``. One that says what it waits for does not hang. While
    it is away this waits; when it is back, the same replay is submitted again, which it takes as going on.

    Attributes:
        owner: token of the task try that follows the replay; see `Ownership`.
        service: the replayer's name at its process host.
        hung_after_s: a replayer whose process runs and that does not answer for so long is healed.
        start_s: but not one that was started less than so long ago.
        stall_after_s: and so is one that acknowledges nothing for so long at pace ``max``, without a reason.
    """

    replay_id: str
    spec: dict[str, Any]
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

    async def event(self) -> ReplayEvent:
        """Wait for the end of the replay, and heal its replayer."""
        supervision = asyncio.create_task(self._supervise())
        try:
            return ReplayEvent(await self._ended())
        finally:
            supervision.cancel()
            await asyncio.wait({supervision})

    async def _ended(self) -> Record:
        away = False
        logged = 0.0
        while True:
            try:
                record = await off_loop(self._submit if away else self._record)
            except UnreachableError as error:
                if not away:
                    log.warning("Waiting for the replayer: %s", error)
                away = True
            else:
                away = False
                if record["state"] != "running":
                    return record
                if time.monotonic() - logged >= self.log_interval_s:
                    logged = time.monotonic()
                    log.info("%s", progress(record))
            await asyncio.sleep(self.poll_interval_s)

    async def _supervise(self) -> None:
        """Keep the replayer up for as long as the replay is waited for, whatever becomes of it."""
        kept = kinds.Replayer(
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            replayer_conn_id=self.replayer_conn_id,
            replay_id=self.replay_id,
            stall_after_s=self.stall_after_s,
        )
        while True:
            trigger = ServiceTrigger(
                service=kept.serialize(),
                supervise=True,
                start_timeout_s=self.start_s,
                check_interval_s=self.poll_interval_s,
                hung_after_s=self.hung_after_s,
            )
            trigger.task_instance = self.task_instance
            try:
                outcome = await trigger.event()
                log.log(logging.DEBUG if outcome.stopped else logging.WARNING, "%s", outcome.reason)
            except ClientError as error:
                log.warning("%s is not watched: %s", self.service, error)
            await asyncio.sleep(self.poll_interval_s)

    def _submit(self) -> Record:
        return submit(self._replayer, self.replay_id, self.spec)

    def _record(self) -> Record:
        return self._replayer.record(self.replay_id)

    async def on_kill(self) -> None:
        """Stop the replay when a person ended its task; let it run when a new try follows it."""
        await outliving(self._stop_unless_taken_over())

    async def _stop_unless_taken_over(self) -> None:
        if await Ownership(self.task_instance, self.owner).ended():
            log.info("Its task was ended: stopping replay %s", self.replay_id)
            record = await off_loop(lambda: self._replayer.stop(self.replay_id))
            log.info("%s", progress(record))


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
    return f"{record['lines']:,} lines acknowledged ({record['bytes']:,} bytes){share}"
