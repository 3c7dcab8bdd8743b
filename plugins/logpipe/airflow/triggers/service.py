"""Waiting until a launched service is healthy, and supervising it from then on."""

import asyncio
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from logpipe.airflow.services.host import Standing
from logpipe.airflow.services.kinds import Service, deserialize
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger, off_loop
from logpipe.airflow.triggers.supervision import HealLog
from logpipe.clients.errors import ClientError, HungError, RefusedError, UnreachableError

_MAX_STARTS = 3  # a service that ends so often while it should become healthy will not
_LAST_LINES = 20
_REFUSED_PATIENCE_S = 60.0  # a host that refuses may do so once: it is starting, or the process just ended

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ServiceEvent(Event):
    """How a launch or a supervision ended: healthy, stopped on request, or neither and why.

    Attributes:
        process: a pid, or the id of a YARN application; empty when there is none.
    """

    service: str
    process: str
    healthy: bool
    reason: str
    waited_s: float
    stopped: bool = False
    last_log_lines: tuple[str, ...] = ()


def _stopped(standing: Standing, waited_s: float) -> ServiceEvent:
    return ServiceEvent(standing.label, "", False, "it was stopped on request", waited_s, stopped=True)


async def answered(
    question: Callable[[], T],
    poll_interval_s: float,
    patience_s: float,
    refused_patience_s: float,
    *,
    tell: Callable[[ClientError], object],
) -> T:
    """Ask a host, off the loop, again and again while it is away or refuses; the first error is told."""
    begun = time.monotonic()
    told = False
    while True:
        try:
            return await off_loop(question)
        except ClientError as error:
            limit_s = patience_s if isinstance(error, UnreachableError) else refused_patience_s
            if time.monotonic() - begun >= min(patience_s, limit_s):
                raise
            if not told:
                tell(error)
            told = True
        await asyncio.sleep(poll_interval_s)


class _Watch:
    """What a supervision remembers between two looks at its service."""

    def __init__(self, process: str, grace_s: float) -> None:
        self.process = process
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

    With ``supervise`` it goes on from there. A service that died is brought back by its host, or else by
    this trigger; one that is there but not healthy for ``hung_after_s`` is killed and so brought back, and so
    is one that a restarted host, maybe of a restarted machine, has not started yet. Each is a heal, told in
    the log and in XCom. It fires when the service was stopped on request, or at more than ``max_heals`` heals
    within ``heal_window_s``, those that failed among them. A host that is away is waited for without end.
    When Airflow cancels it, it stops nothing: that is the work of a teardown, which Airflow does not forget.

    Attributes:
        service: the service, as `Service.serialize` gives it.
        launched: process that the task found or started; empty for whichever runs.
    """

    service: dict[str, Any]
    start_timeout_s: float = 60
    poll_interval_s: float = 0.25
    supervise: bool = False
    check_interval_s: float = 3
    hung_after_s: float = 20
    max_heals: int = 5
    heal_window_s: float = 600
    launched: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._service: Service = deserialize(self.service)
        self._host = self._service.host
        self._name = self._service.service

    async def event(self) -> ServiceEvent:
        """Wait until healthy, or supervise until there is a reason to end."""
        return await (self._supervised() if self.supervise else self.outcome())

    async def outcome(self, killed: str = "") -> ServiceEvent:
        """Watch until the service is healthy, stopped, given up by its host, or time is over.

        A process that has just been killed may still answer: ``killed`` is not taken for the service. A host
        that is away is waited for: by a launch until its time is over, by a supervision for as long as it
        takes, and that time is not the service's. One that comes back has started nothing.
        """
        self._service.expect_start(self.start_timeout_s)
        started = time.monotonic()
        seen: set[str] = set()
        while True:
            asked = time.monotonic()
            left_s = math.inf if self.supervise else self.start_timeout_s - (asked - started)
            try:
                standing = await self._ask(self._host.look, left_s)
            except ClientError as error:
                waited_s = round(time.monotonic() - started, 1)
                return ServiceEvent(self._name, "", False, str(error), waited_s)
            if self.supervise:
                started += time.monotonic() - asked
            seen |= {standing.process} - {"", killed}
            waited_s = round(time.monotonic() - started, 1)
            if self.supervise and standing.stopped:
                return _stopped(standing, waited_s)
            if standing.forgotten and waited_s <= self.start_timeout_s:
                await self._ask(self._host.start, left_s)
            elif not (standing.process and standing.process == killed) and standing.state != "STOPPING":
                healthy, reason = await self._judge(standing)
                if healthy:
                    return ServiceEvent(standing.label, standing.process, True, reason, waited_s)
                if len(seen) > _MAX_STARTS:
                    reason = f"it ended {_MAX_STARTS} times in {waited_s} s"
                # What has EXITED passes when the process host restarts it.
                is_over = standing.hopeless and standing.state != "EXITED"
                if is_over or len(seen) > _MAX_STARTS or waited_s > self.start_timeout_s:
                    return await self._unhealthy(standing, reason, waited_s)
            await asyncio.sleep(self.poll_interval_s)

    async def _ask(
        self,
        question: Callable[[], T],
        patience_s: float = math.inf,
        refused_patience_s: float = _REFUSED_PATIENCE_S,
    ) -> T:
        """Ask the host, again and again while it is away; after ``patience_s`` its error goes on.

        What it refuses is asked again for a minute: one reply that fails ends no supervision.
        """
        return await answered(
            question,
            self.poll_interval_s,
            patience_s,
            refused_patience_s,
            tell=lambda error: self.log.warning("%s goes on unwatched: %s", self._name, error),
        )

    async def _judge(self, standing: Standing, *, closely: bool = False) -> tuple[bool, str]:
        self._patience_s = self.hung_after_s
        if not standing.running:
            return False, f"its process is {standing.state} ({standing.detail})"
        try:
            healthy = await off_loop(self._service.probe)
            if closely:
                await off_loop(self._service.look_closer)
        except HungError as error:
            self._patience_s = 0
            return False, str(error)
        except ClientError as error:
            return False, str(error)
        return True, healthy

    async def _unhealthy(self, standing: Standing, reason: str, waited_s: float) -> ServiceEvent:
        try:
            tail = await off_loop(self._host.log_tail)
        except ClientError as error:
            tail = [str(error)]
        return ServiceEvent(
            standing.label,
            standing.process,
            False,
            reason,
            waited_s,
            last_log_lines=tuple(tail[-_LAST_LINES:]),
        )

    async def _supervised(self) -> ServiceEvent:
        """Watch and heal until there is a reason to end."""
        heals = await HealLog.load(self.task_instance)
        standing = await self._ask(self._host.look)
        # What ended while no triggerer looked is a heal too.
        known = heals.last_process or self.launched or standing.process
        watch = _Watch(known, self.start_timeout_s - standing.uptime_s)
        while True:
            await asyncio.sleep(self.check_interval_s)
            standing = await self._ask(self._host.look)
            if standing.stopped:
                await asyncio.sleep(
                    self.check_interval_s
                )  # a launch starts the one after the other has ended
                if not (other := await self._ask(self._host.follow)):
                    return _stopped(standing, round(time.monotonic() - watch.started, 1))
                self.log.info("%s was stopped for %s, which is supervised now", standing.label, other.label)
                watch.process, standing = other.process, other
                watch.expect_start(self.start_timeout_s)
            ended = standing.process != watch.process
            healthy, reason = (
                (False, "its process ended") if ended else await self._judge(standing, closely=True)
            )
            if healthy:
                watch.seen_healthy()
            elif ended or watch.unhealthy_s() >= self._patience_s:
                outcome = await self._heal(standing, reason, ended=ended)
                if outcome.stopped:
                    return outcome
                if not outcome.healthy:  # a machine that is busy may need more than one try
                    reason = f"{reason}; after {outcome.waited_s:.0f} s {outcome.reason}"
                    self.log.warning("%s is not healed yet: %s", outcome.service, reason)
                watch.process = outcome.process
                watch.seen_healthy()
                await heals.add(reason, outcome.waited_s, outcome.process)
                if (count := heals.within(self.heal_window_s)) > self.max_heals:
                    reason = f"{count} heals in {self.heal_window_s:.0f} s, the last one since {reason}"
                    return await self._unhealthy(standing, reason, outcome.waited_s)

    async def _heal(self, standing: Standing, reason: str, *, ended: bool) -> ServiceEvent:
        """Bring the service back: its host restarts what has ended, and what is killed, or this does."""
        self.log.warning("Healing %s: %s", standing.label, reason)
        started = time.monotonic()
        try:
            if not ended:
                await self._ask(self._host.kill, refused_patience_s=0)
            if standing.hopeless or not ended:
                await self._ask(self._host.start, refused_patience_s=0)
        except RefusedError as error:
            return await self._unhealthy(standing, str(error), round(time.monotonic() - started, 1))
        outcome = await self.outcome(killed="" if ended else standing.process)
        if outcome.healthy:
            self.log.warning(
                "Healed %s after %.1f s: process %s", outcome.service, outcome.waited_s, outcome.process
            )
        return outcome
