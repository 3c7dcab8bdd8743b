"""Waiting for the end of a process that a process host runs once."""

import asyncio
from dataclasses import dataclass

from logpipe.airflow.hooks.services import ProcessHostHook
from logpipe.airflow.triggers.ownership import Ownership, outliving
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger, off_loop
from logpipe.clients.errors import ClientError

_TAIL_BYTES = 65536


@dataclass(frozen=True, slots=True)
class ProcessEndEvent(Event):
    """How a process ended, with the last lines that it wrote."""

    pid: int
    exit_status: int
    output: tuple[str, ...]
    log: tuple[str, ...]


@dataclass(kw_only=True, eq=False)
class ProcessEndTrigger(SerializableTrigger):
    """Fires when a process is over.

    Attributes:
        pid: the process that is waited for; a later one of the same name is not.
        owner: token of the task try that started it; None leaves the process alone when the task is ended.
    """

    service: str
    pid: int
    process_host_conn_id: str = ProcessHostHook.default_conn_name
    poll_interval_s: float = 1
    owner: str | None = None

    async def event(self) -> ProcessEndEvent:
        """Wait; while the process host is away, wait for it too."""
        while True:
            try:
                if event := await off_loop(self._look):
                    return event
            except ClientError as error:
                self.log.warning("Waiting for the process host: %s", error)
            await asyncio.sleep(self.poll_interval_s)

    def _look(self) -> ProcessEndEvent | None:
        host = ProcessHostHook(self.process_host_conn_id).get_conn()
        process = host.state(self.service)
        if process.up and process.pid == self.pid:
            return None
        output = host.log_tail(self.service, max_bytes=_TAIL_BYTES, streams=("Stdout",))
        return ProcessEndEvent(
            self.pid, process.exit_status, tuple(output), tuple(host.log_tail(self.service))
        )

    async def on_kill(self) -> None:
        """Stop the process when a person ended its task; let it run when a new try waits for it."""
        if self.owner:
            await outliving(self._stop_unless_taken_over())

    async def _stop_unless_taken_over(self) -> None:
        if await Ownership(self.task_instance, self.owner).ended():
            await off_loop(self._stop)

    def _stop(self) -> None:
        host = ProcessHostHook(self.process_host_conn_id).get_conn()
        if host.state(self.service).pid == self.pid:
            self.log.info("Its task was ended: stopping %s", self.service)
            host.stop(self.service)
