"""Waiting until a launched service is healthy, and supervising it from then on."""

import asyncio
import math
import time
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import TypeVar

from logpipe.airflow.hooks.http_service import ServiceUnreachableError
from logpipe.airflow.hooks.process_host import Process, ProcessHostHook
from logpipe.airflow.triggers.ownership import Ownership, outliving
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger
from logpipe.airflow.triggers.supervision import HealLog

_ENDED = frozenset({"FATAL", "EXITED", "STOPPED"})
_MAX_STARTS = 3  # a service that ends so often while it should become healthy will not
_LAST_LINES = 20
_STOP_PATIENCE_S = 60.0  # for a process host that is away when its service shall stop

T = TypeVar("T")


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
    or at more than ``max_heals`` heals within ``heal_window_s``, those that failed among them.

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
        A process host that is away is waited for: by a launch until its time is over, by a supervision for
        as long as it takes, and that time is not the service's. One that comes back has started nothing.
        """
        started = time.monotonic()
        pids: set[int] = set()
        while True:
            asked = time.monotonic()
            left_s = math.inf if self.supervise else self.start_timeout_s - (asked - started)
            try:
                process = await self._ask(lambda host: host.state(self.service, self.variant), left_s)
            except ServiceUnreachableError as error:
                waited_s = round(time.monotonic() - started, 1)
                return ServiceEvent(self.service, 0, False, str(error), waited_s)
            if self.supervise:
                started += time.monotonic() - asked
            pids |= {process.pid} - {0, killed_pid}
            waited_s = round(time.monotonic() - started, 1)
            if self.supervise and process.stopped_on_request:
                return _stopped(process, waited_s)
            if process.state == "STOPPED" and not process.was_started and waited_s <= self.start_timeout_s:
                await self._ask(lambda host: host.start(self.service, self.variant), left_s)
                await asyncio.sleep(self.poll_interval_s)
                continue
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

    async def _ask(
        self, question: Callable[[ProcessHostHook], Awaitable[T]], patience_s: float = math.inf
    ) -> T:
        """Ask the process host, again and again while it is away; after ``patience_s`` its error goes on."""
        deadline = time.monotonic() + patience_s
        told = False
        while True:
            try:
                return await question(self._host)
            except ServiceUnreachableError as error:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    self.log.warning("%s goes on unwatched: %s", self.service, error)
                told = True
            await asyncio.sleep(self.poll_interval_s)

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
        try:
            tail = await self._host.log_tail(self.service, self.variant)
        except ServiceUnreachableError as error:
            tail = [str(error)]
        return ServiceEvent(
            process.label, process.pid, False, reason, waited_s, last_log_lines=tuple(tail[-_LAST_LINES:])
        )

    async def _supervised(self) -> ServiceEvent:
        """Watch and heal until there is a reason to end."""
        heals = await HealLog.load(self.task_instance)
        process = await self._state()
        # What ended while no triggerer looked is a heal too.
        known_pid = heals.last_pid or self.launched_pid or process.pid
        watch = _Watch(known_pid, self.start_timeout_s - process.uptime_s)
        while True:
            await asyncio.sleep(self.check_interval_s)
            process = await self._state()
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
                if outcome.stopped:
                    return outcome
                if not outcome.healthy:  # a machine that is busy may need more than one try
                    reason = f"{reason}; after {outcome.waited_s:.0f} s {outcome.reason}"
                    self.log.warning("%s is not healed yet: %s", outcome.service, reason)
                watch.pid = outcome.pid
                watch.seen_healthy()
                await heals.add(reason, outcome.waited_s, outcome.pid)
                if (count := heals.within(self.heal_window_s)) > self.max_heals:
                    reason = f"{count} heals in {self.heal_window_s:.0f} s, the last one since {reason}"
                    return await self._unhealthy(process, reason, outcome.waited_s)

    async def _other_variant(self) -> Process | None:
        """Return the variant that was started in place of the one that is stopped, None without one."""
        await asyncio.sleep(self.check_interval_s)  # a launch starts the one after the other has ended
        variants = await self._ask(lambda host: host.variants(self.service))
        return next((process for process in variants if process.pid), None)

    async def _state(self) -> Process:
        return await self._ask(lambda host: host.state(self.service, self.variant))

    async def _heal(self, process: Process, reason: str, ended: bool) -> ServiceEvent:
        """Bring the service back; the process host restarts what has ended, and what is killed."""
        self.log.warning("Healing %s: %s", process.label, reason)
        if not ended:
            await self._ask(lambda host: host.kill(self.service, self.variant))
        elif process.state in _ENDED:
            await self._ask(lambda host: host.start(self.service, self.variant))
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
        for task_id, service in self.stop_after.items():
            if await ownership.ended(task_id):
                await _while(partial(self._up, service), self.drain_timeout_s * 2)
        left = await _while(self._undrained, self.drain_timeout_s)
        if left:
            self.log.warning("%s is stopped although %s after %s s", self.service, left, self.drain_timeout_s)
        await self._ask(lambda host: host.stop(self.service, self.variant), _STOP_PATIENCE_S)
        self.log.info("Stopped %s", self.service)

    async def _up(self, service: str) -> str:
        variants = await self._ask(lambda host: host.variants(service), _STOP_PATIENCE_S)
        return ", ".join(process.label for process in variants if process.up)

    async def _undrained(self) -> str:
        try:
            return await self.undrained()
        except ServiceUnreachableError:
            return ""  # what it holds cannot be saved by waiting


async def _while(condition: Callable[[], Awaitable[str]], timeout_s: float) -> str:
    """Wait until the condition is empty; return what it last was."""
    deadline = time.monotonic() + timeout_s
    while (last := await condition()) and time.monotonic() < deadline:  # noqa: ASYNC110  # others' state
        await asyncio.sleep(0.2)
    return last
