"""Waiting until a launched service is healthy, and supervising it from then on."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

from logpipe.hooks.http_service import ServiceUnreachableError
from logpipe.hooks.process_host import Process, ProcessHostHook
from logpipe.triggers.ownership import Ownership, outliving
from logpipe.triggers.serializable import Event, SerializableTrigger
from logpipe.triggers.supervision import HealLog

_ENDED = frozenset({"FATAL", "EXITED", "STOPPED"})
_MAX_STARTS = 3  # a service that ends so often while it should become healthy will not
_LAST_LINES = 20


@dataclass(frozen=True, slots=True)
class ServiceEvent(Event):
    """How a launch or a supervision ended: healthy, stopped on request, or neither and why."""

    service: str
    pid: int
    healthy: bool
    reason: str
    waited_s: float
    stopped: bool = False
    last_log_lines: tuple[str, ...] = ()


class ServiceHungError(ServiceUnreachableError):
    """The service has shown no life for so long that waiting on is no use."""


def _stopped(process: Process, waited_s: float) -> ServiceEvent:
    return ServiceEvent(process.label, 0, False, "it was stopped on request", waited_s, stopped=True)


class _Watch:
    """What a supervision remembers between two looks at its service."""

    def __init__(self, pid: int, grace_s: float) -> None:
        self.pid = pid
        self.started = time.monotonic()
        self.expect_start(grace_s)

    def expect_start(self, grace_s: float) -> None:
        """Give a service that has just been launched its time."""
        self._healthy_at = time.monotonic() + max(0, grace_s)

    def seen_healthy(self) -> None:
        self._healthy_at = time.monotonic()

    def unhealthy_s(self) -> float:
        return time.monotonic() - self._healthy_at


@dataclass(kw_only=True, eq=False)
class ServiceTrigger(SerializableTrigger):
    """Fires once a service is healthy, or as soon as it is clear that it will not be.

    With ``supervise`` it goes on from there. A service that died is brought back by its process host, or
    else by this trigger; one that is there but not healthy for ``hung_after_s`` is killed and so brought
    back, and so is one that a restarted process host, maybe of a restarted machine, has not started yet.
    Each is a heal, told in the log and in XCom. It fires when the service was stopped on request,
    when it does not get healthy again, or at more than ``max_heals`` heals within ``heal_window_s``.

    A child says with `probe` what healthy means for its kind of service, and with `undrained` what a stop
    would lose.

    Attributes:
        launched_pid: process that the task found or started; 0 for whichever runs.
        owner: token of the task try that supervises; see `Ownership`.
        stop_after: supervising tasks of the same run, with their services, that stop before this one.
    """

    service: str
    variant: str | None = None
    process_host_conn_id: str = ProcessHostHook.default_conn_name
    start_timeout_s: float = 60
    poll_interval_s: float = 0.25
    supervise: bool = False
    check_interval_s: float = 3
    hung_after_s: float = 20
    max_heals: int = 5
    heal_window_s: float = 600
    drain_timeout_s: float = 10
    launched_pid: int = 0
    owner: str | None = None
    stop_after: Mapping[str, str] = field(default_factory=dict)

    @abstractmethod
    async def probe(self) -> str:
        """Return one line about the healthy service.

        Raises:
            ServiceUnreachableError: it is not healthy, or not yet; the message says why.
        """

    async def undrained(self) -> str:
        """Say what the service still holds and would lose with a stop; empty when nothing."""
        return ""

    async def event(self) -> ServiceEvent:
        """Wait until healthy, or supervise until there is a reason to end."""
        return await (self._supervised() if self.supervise else self.outcome())

    async def outcome(self, killed_pid: int = 0) -> ServiceEvent:
        """Watch until the service is healthy, stopped, given up by its process host, or time is over.

        A process that has just been killed may still answer: ``killed_pid`` is not taken for the service.
        """
        started = time.monotonic()
        pids: set[int] = set()
        while True:
            process = await self._host.state(self.service, self.variant)
            pids |= {process.pid} - {0, killed_pid}
            waited_s = round(time.monotonic() - started, 1)
            if self.supervise and process.stopped_on_request:
                return _stopped(process, waited_s)
            if (process.pid and process.pid == killed_pid) or process.state == "STOPPING":
                await asyncio.sleep(self.poll_interval_s)
                continue
            healthy, reason = await self._judge(process)
            if healthy:
                return ServiceEvent(process.label, process.pid, healthy, reason, waited_s)
            if len(pids) > _MAX_STARTS:
                reason = f"it ended {_MAX_STARTS} times in {waited_s} s"
            # EXITED passes when the process host restarts what ended.
            if (
                process.state in {"FATAL", "STOPPED"}
                or len(pids) > _MAX_STARTS
                or waited_s > self.start_timeout_s
            ):
                return await self._unhealthy(process, reason, waited_s)
            await asyncio.sleep(self.poll_interval_s)

    @property
    def _host(self) -> ProcessHostHook:
        return ProcessHostHook(self.process_host_conn_id)

    async def _judge(self, process: Process) -> tuple[bool, str]:
        self._patience_s = self.hung_after_s
        if process.state != "RUNNING":
            detail = process.spawn_error or f"last exit status {process.exit_status}"
            return False, f"its process is {process.state} ({detail})"
        try:
            return True, await self.probe()
        except ServiceHungError as error:
            self._patience_s = 0
            return False, str(error)
        except ServiceUnreachableError as error:
            return False, str(error)

    async def _unhealthy(self, process: Process, reason: str, waited_s: float) -> ServiceEvent:
        tail = await self._host.log_tail(self.service, self.variant)
        return ServiceEvent(
            process.label, process.pid, False, reason, waited_s, last_log_lines=tuple(tail[-_LAST_LINES:])
        )

    async def _supervised(self) -> ServiceEvent:
        """Watch and heal until there is a reason to end."""
        heals = await HealLog.load(self.task_instance)
        process = await self._host.state(self.service, self.variant)
        # What ended while no triggerer looked is a heal too.
        known_pid = heals.last_pid or self.launched_pid or process.pid
        watch = _Watch(known_pid, self.start_timeout_s - process.uptime_s)
        while True:
            process = await self._next_state()
            if process.stopped_on_request:
                if not (other := await self._other_variant()):
                    return _stopped(process, round(time.monotonic() - watch.started, 1))
                self.log.info("%s was stopped for %s, which is supervised now", process.label, other.label)
                self.variant, watch.pid, process = other.variant, other.pid, other
                watch.expect_start(self.start_timeout_s)
            ended = process.pid != watch.pid
            healthy, reason = (False, "its process ended") if ended else await self._judge(process)
            if healthy:
                watch.seen_healthy()
            elif ended or watch.unhealthy_s() >= self._patience_s:
                outcome = await self._heal(process, reason, ended)
                if not outcome.healthy:
                    return outcome
                watch.pid = outcome.pid
                watch.seen_healthy()
                await heals.add(reason, outcome.waited_s, outcome.pid)
                if (count := heals.within(self.heal_window_s)) > self.max_heals:
                    reason = f"{count} heals in {self.heal_window_s:.0f} s, the last one since {reason}"
                    return await self._unhealthy(process, reason, outcome.waited_s)

    async def _other_variant(self) -> Process | None:
        """Return the variant that was started in place of the one that is stopped, None without one."""
        await asyncio.sleep(self.check_interval_s)  # a launch starts the one after the other has ended
        return next((process for process in await self._host.variants(self.service) if process.pid), None)

    async def _next_state(self) -> Process:
        """Look at the process after the next interval; while the process host is away, wait for it."""
        away = False
        while True:
            await asyncio.sleep(self.check_interval_s)
            try:
                return await self._host.state(self.service, self.variant)
            except ServiceUnreachableError as error:
                if not away:
                    self.log.warning("%s goes on unwatched: %s", self.service, error)
                away = True

    async def _heal(self, process: Process, reason: str, ended: bool) -> ServiceEvent:
        """Bring the service back; the process host restarts what has ended, and what is killed."""
        self.log.warning("Healing %s: %s", process.label, reason)
        if not ended:
            await self._host.kill(self.service, self.variant)
        elif process.state in _ENDED:
            await self._host.start(self.service, self.variant)
        outcome = await self.outcome(killed_pid=0 if ended else process.pid)
        if outcome.healthy:
            self.log.warning(
                "Healed %s after %.1f s: process %d", outcome.service, outcome.waited_s, outcome.pid
            )
        return outcome

    async def on_kill(self) -> None:
        """Stop the service when a person ended its supervision; leave it alone when a new try goes on."""
        if self.supervise:
            await outliving(self._stop_unless_taken_over())

    async def _stop_unless_taken_over(self) -> None:
        ownership = Ownership(self.task_instance, self.owner)
        if not await ownership.ended():
            self.log.info("%s runs on: another try of this task has taken it over", self.service)
            return
        self.log.info("Its supervision was ended: draining and stopping %s", self.service)
        host = self._host
        for task_id, service in self.stop_after.items():
            if await ownership.ended(task_id):
                await _while(partial(_up, host, service), self.drain_timeout_s * 2)
        left = await _while(self._undrained, self.drain_timeout_s)
        if left:
            self.log.warning("%s is stopped although %s after %s s", self.service, left, self.drain_timeout_s)
        await host.stop(self.service, self.variant)
        self.log.info("Stopped %s", self.service)

    async def _undrained(self) -> str:
        try:
            return await self.undrained()
        except ServiceUnreachableError:
            return ""  # what it holds cannot be saved by waiting


async def _up(host: ProcessHostHook, service: str) -> str:
    return ", ".join(process.label for process in await host.variants(service) if process.up)


async def _while(condition: Callable[[], Awaitable[str]], timeout_s: float) -> str:
    """Wait until the condition is empty; return what it last was."""
    deadline = time.monotonic() + timeout_s
    while (last := await condition()) and time.monotonic() < deadline:  # noqa: ASYNC110  # others' state
        await asyncio.sleep(0.2)
    return last
