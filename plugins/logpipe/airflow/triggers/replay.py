"""Following one replay until it ends."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from logpipe.airflow.hooks.http_service import ServiceUnreachableError
from logpipe.airflow.hooks.process_host import ProcessHostHook
from logpipe.airflow.hooks.replayer import ReplayerHook, ReplayRecord
from logpipe.airflow.triggers.ownership import Ownership, outliving
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger
from logpipe.airflow.triggers.supervision import HealLog

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayEvent(Event):
    """The record of a replay that runs no longer."""

    record: ReplayRecord


@dataclass(kw_only=True, eq=False)
class ReplayTrigger(SerializableTrigger):
    """Fires when a replay is done, failed or stopped; logs its progress until then.

    While the replayer is away it waits; when it is back, the same replay is submitted again, which the
    replayer takes as going on. A replayer that hangs is killed, and so brought back by its process host;
    each such heal stands in the log and in XCom ``heals``. One that says what it waits for does not hang.

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

    async def event(self) -> ReplayEvent:
        """Wait for the end of the replay, healing a replayer that hangs."""
        replayer = ReplayerHook(self.replayer_conn_id)
        away = False
        logged = 0.0
        progressed_at, lines = time.monotonic(), -1
        while True:
            try:
                record = (
                    await replayer.submit(self.replay_id, self.spec)
                    if away
                    else await replayer.get(self.replay_id)
                )
            except ServiceUnreachableError as error:
                if not away:
                    log.warning("Waiting for the replayer: %s", error)
                away = True
                await self._start_if_never_started()
                patience_s, why = self.hung_after_s, str(error)
                if await self._answers(replayer):  # only not this: the disk is full, or HDFS is away
                    progressed_at = time.monotonic()
            else:
                away = False
                if record["state"] != "running":
                    return ReplayEvent(record)
                # A reason tells what is waited for, and every pace but max may wait by itself.
                if record["lines"] != lines or record["reason"] or self.spec["pace"] != "max":
                    progressed_at, lines = time.monotonic(), record["lines"]
                patience_s, why = self.stall_after_s, f"it acknowledges nothing behind line {lines}"
                if time.monotonic() - logged >= self.log_interval_s:
                    logged = time.monotonic()
                    log.info("%s", progress(record))
            if time.monotonic() - progressed_at >= patience_s:
                await self._heal(why)
                progressed_at = time.monotonic()
            await asyncio.sleep(self.poll_interval_s)

    async def _answers(self, replayer: ReplayerHook) -> bool:
        try:
            await replayer.health()
        except ServiceUnreachableError:
            return False
        return True

    async def _start_if_never_started(self) -> None:
        """Bring the replayer back when its process host, maybe its machine, was restarted."""
        host = ProcessHostHook(self.process_host_conn_id)
        try:
            process = await host.state(self.service)
            if process.state == "STOPPED" and not process.was_started:
                log.warning("Starting %s: its process host has been restarted", self.service)
                await host.start(self.service)
        except ServiceUnreachableError as error:
            log.warning("%s", error)

    async def _heal(self, why: str) -> None:
        """Have a hung replayer killed; its process host brings it back, and it goes on by itself."""
        host = ProcessHostHook(self.process_host_conn_id)
        started = time.monotonic()
        try:
            process = await host.state(self.service)
            if process.state != "RUNNING" or process.uptime_s < self.start_s:
                return
            log.warning("Healing %s (process %d): %s", self.service, process.pid, why)
            await host.kill(self.service)
            async with asyncio.timeout(self.hung_after_s):
                while (fresh := await host.state(self.service)).pid in {0, process.pid}:  # noqa: ASYNC110
                    await asyncio.sleep(self.poll_interval_s / 4)
        except (ServiceUnreachableError, TimeoutError) as error:
            log.warning("%s is not healed yet: %s", self.service, error)
            return
        heals = await HealLog.load(self.task_instance)
        await heals.add(why, time.monotonic() - started, fresh.pid)

    async def on_kill(self) -> None:
        """Stop the replay when a person ended its task; let it run when a new try follows it."""
        await outliving(self._stop_unless_taken_over())

    async def _stop_unless_taken_over(self) -> None:
        if await Ownership(self.task_instance, self.owner).ended():
            log.info("Its task was ended: stopping replay %s", self.replay_id)
            record = await ReplayerHook(self.replayer_conn_id).stop(self.replay_id)
            log.info("%s", progress(record))


def progress(record: ReplayRecord) -> str:
    """Say in one line how far a replay is."""
    read, size = record["source_bytes_read"], record["source_size_bytes"]
    share = f", {read / size:.0%} of the source" if size else ""
    return f"{record['lines']:,} lines acknowledged ({record['bytes']:,} bytes){share}"
