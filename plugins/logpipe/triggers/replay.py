"""Following one replay until it ends."""

import asyncio
import logging
import time
from dataclasses import dataclass
from typing import Any

from logpipe.hooks.http_service import ServiceUnreachableError
from logpipe.hooks.replayer import ReplayerHook, ReplayRecord
from logpipe.triggers.ownership import Ownership, outliving
from logpipe.triggers.serializable import Event, SerializableTrigger

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReplayEvent(Event):
    """The record of a replay that runs no longer."""

    record: ReplayRecord


@dataclass(kw_only=True, eq=False)
class ReplayTrigger(SerializableTrigger):
    """Fires when a replay is done, failed or stopped; logs its progress until then.

    While the replayer is away it waits; when it is back, the same replay is submitted again, which the
    replayer takes as going on.

    Attributes:
        owner: token of the task try that follows the replay; see `Ownership`.
    """

    replay_id: str
    spec: dict[str, Any]
    replayer_conn_id: str = ReplayerHook.default_conn_name
    poll_interval_s: float = 1
    log_interval_s: float = 10
    owner: str | None = None

    async def event(self) -> ReplayEvent:
        """Wait for the end of the replay."""
        replayer = ReplayerHook(self.replayer_conn_id)
        away = False
        logged = 0.0
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
            else:
                away = False
                if record["state"] != "running":
                    return ReplayEvent(record)
                if time.monotonic() - logged >= self.log_interval_s:
                    logged = time.monotonic()
                    log.info("%s", progress(record))
            await asyncio.sleep(self.poll_interval_s)

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
