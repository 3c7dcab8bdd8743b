"""Following one replay until it ends."""

import asyncio
import logging
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from logpipe.airflow.hooks.services import ProcessHostHook, ReplayerHook
from logpipe.airflow.hooks.source_login import source_login
from logpipe.airflow.triggers.ownership import Ownership, outliving
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger, off_loop
from logpipe.airflow.triggers.supervision import HealLog
from logpipe.clients.errors import ClientError, UnreachableError
from logpipe.clients.process_host import ProcessHost
from logpipe.clients.replayer import Record, Replayer

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayEvent(Event):
    """The record of a replay that runs no longer."""

    record: Record


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

    @property
    def _replayer(self) -> Replayer:
        return ReplayerHook(self.replayer_conn_id).get_conn()

    @property
    def _host(self) -> ProcessHost:
        return ProcessHostHook(self.process_host_conn_id).get_conn()

    async def event(self) -> ReplayEvent:
        """Wait for the end of the replay, healing a replayer that hangs."""
        away = False
        logged = 0.0
        progressed_at, lines = time.monotonic(), -1
        while True:
            try:
                record = await off_loop(self._submit if away else self._record)
            except UnreachableError as error:
                if not away:
                    log.warning("Waiting for the replayer: %s", error)
                away = True
                await off_loop(self._start_if_never_started)
                patience_s, why = self.hung_after_s, str(error)
                if await off_loop(self._answers):  # only not this: the disk is full, or HDFS is away
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

    def _submit(self) -> Record:
        return submit(self._replayer, self.replay_id, self.spec)

    def _record(self) -> Record:
        return self._replayer.record(self.replay_id)

    def _answers(self) -> bool:
        try:
            self._replayer.health()
        except ClientError:
            return False
        return True

    def _start_if_never_started(self) -> None:
        """Bring the replayer back when its process host, maybe its machine, was restarted."""
        try:
            process = self._host.state(self.service)
            if process.state == "STOPPED" and not process.was_started:
                log.warning("Starting %s: its process host has been restarted", self.service)
                self._host.start(self.service)
        except ClientError as error:
            log.warning("%s", error)

    async def _heal(self, why: str) -> None:
        """Have a hung replayer killed; its process host brings it back, and it goes on by itself."""
        started = time.monotonic()
        try:
            fresh = await off_loop(partial(self._killed, why))
        except ClientError as error:
            log.warning("%s is not healed yet: %s", self.service, error)
            return
        if fresh:
            heals = await HealLog.load(self.task_instance)
            await heals.add(why, time.monotonic() - started, str(fresh))

    def _killed(self, why: str) -> int:
        """Kill the replayer, and return its new pid; 0 when it is only just starting.

        Raises:
            ClientError: the process host is away, or has not brought it back in time.
        """
        host = self._host
        process = host.state(self.service)
        if process.state != "RUNNING" or process.uptime_s < self.start_s:
            return 0
        log.warning("Healing %s (process %d): %s", self.service, process.pid, why)
        host.kill(self.service)
        deadline = time.monotonic() + self.hung_after_s
        while (fresh := host.state(self.service)).pid in {0, process.pid}:
            if time.monotonic() > deadline:
                raise ClientError(f"its process host has not brought it back within {self.hung_after_s} s")
            time.sleep(self.poll_interval_s / 4)
        return fresh.pid

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
