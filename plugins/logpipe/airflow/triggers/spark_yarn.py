"""Waiting for a Spark streaming job on YARN, and supervising it."""

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

from logpipe.airflow.hooks.hdfs_directory import HdfsDirectoryHook, HdfsError
from logpipe.airflow.hooks.http_service import ServiceUnreachableError
from logpipe.airflow.hooks.process_host import ProcessHostHook
from logpipe.airflow.hooks.spark_application import SparkApplicationHook
from logpipe.airflow.hooks.yarn import YarnApplication, YarnHook
from logpipe.airflow.triggers.ownership import Ownership, outliving
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger
from logpipe.airflow.triggers.spark_streaming import Movement

_RUNNING, _STOPPED, _ENDED, _HUNG = "running", "stopped", "ended", "hung"


@dataclass(frozen=True, slots=True)
class SparkYarnEvent(Event):
    """How the waiting ended.

    Attributes:
        state: ``running``, ``stopped`` on request, ``ended`` by itself, or ``hung``: live and without life.
    """

    application_id: str
    state: str
    reason: str
    waited_s: float

    @property
    def healthy(self) -> bool:
        """Whether the job runs."""
        return self.state == _RUNNING

    @property
    def stopped(self) -> bool:
        """Whether somebody asked for its end."""
        return self.state == _STOPPED


@dataclass(kw_only=True, eq=False)
class SparkYarnTrigger(SerializableTrigger):
    """Fires once the application runs, or as soon as it is clear that it will not.

    With ``supervise`` it goes on from there, and fires when the application has ended or hangs. A driver
    that dies is no end: YARN starts the next attempt, and the query goes on from its checkpoint. While the
    ResourceManager is away the application runs on, unwatched.

    Attributes:
        application: name of the application.
        heartbeat_path: file on HDFS that the driver keeps touching; one that stands for longer than
            ``hung_after_s`` means that it hangs. YARN may take over a minute to notice a lost node and
            have the next driver up, so that it is not too short.
        owner: token of the task try that supervises; see `Ownership`.
        stop_after: supervising tasks of the same run, with their services, that stop before this one.
    """

    application: str
    application_id: str
    checkpoint_dir: str
    heartbeat_path: str | None = None
    yarn_conn_id: str = YarnHook.default_conn_name
    webhdfs_conn_id: str = HdfsDirectoryHook.default_conn_name
    process_host_conn_id: str = ProcessHostHook.default_conn_name
    start_timeout_s: float = 180
    poll_interval_s: float = 1
    supervise: bool = False
    check_interval_s: float = 5
    hung_after_s: float = 180
    stop_timeout_s: float = 90
    drain_timeout_s: float = 20
    owner: str | None = None
    stop_after: Mapping[str, str] = field(default_factory=dict)

    @property
    def _job(self) -> SparkApplicationHook:
        return SparkApplicationHook(
            self.application, self.checkpoint_dir, self.yarn_conn_id, self.webhdfs_conn_id
        )

    async def event(self) -> SparkYarnEvent:
        """Wait until it runs, or supervise until there is a reason to end."""
        return await (self._supervised() if self.supervise else self.outcome())

    async def outcome(self) -> SparkYarnEvent:
        """Watch until the application runs or has ended, or time is over."""
        started = time.monotonic()
        while True:
            waited_s = round(time.monotonic() - started, 1)
            try:
                application = await self._job.yarn.application(self.application_id)
            except ServiceUnreachableError as error:
                reason = str(error)
            else:
                reason = f"it is {application.state}: {application.diagnostics.strip()}"
                if application.state == "RUNNING":
                    return SparkYarnEvent(self.application_id, _RUNNING, "its driver is up", waited_s)
                if not application.live:
                    return _end_of(application, waited_s)
            if waited_s > self.start_timeout_s:
                return SparkYarnEvent(self.application_id, _HUNG, reason, waited_s)
            await asyncio.sleep(self.poll_interval_s)

    async def _supervised(self) -> SparkYarnEvent:
        started = time.monotonic()
        heartbeat = Movement(started + self.start_timeout_s)
        away = False
        while True:
            try:
                application = await self._job.yarn.application(self.application_id)
            except ServiceUnreachableError as error:
                if not away:
                    self.log.warning("%s goes on unwatched: %s", self.application_id, error)
                away = True
            else:
                away = False
                waited_s = round(time.monotonic() - started, 1)
                if not application.live:
                    return _end_of(application, waited_s)
                if (still_s := await self._still_s(heartbeat)) >= self.hung_after_s:
                    reason = f"its heartbeat {self.heartbeat_path} stands for {still_s:.0f} s"
                    return SparkYarnEvent(self.application_id, _HUNG, reason, waited_s)
            await asyncio.sleep(self.check_interval_s)

    async def _still_s(self, heartbeat: Movement) -> float:
        """For how long the heartbeat stands; an HDFS that is away says nothing of the driver."""
        if self.heartbeat_path is None:
            return 0
        try:
            beat = await self._job.hdfs.modified_ms(self.heartbeat_path)
        except (ServiceUnreachableError, HdfsError) as error:
            self.log.info("The driver's heartbeat is not known: %s", error)
            return heartbeat.still_s(time.monotonic())
        return heartbeat.still_s(beat)

    async def on_kill(self) -> None:
        """Stop the job when a person ended its supervision; leave it alone when a new try goes on."""
        if self.supervise:
            await outliving(self._stop_unless_taken_over())

    async def _stop_unless_taken_over(self) -> None:
        ownership = Ownership(self.task_instance, self.owner)
        if not await ownership.ended():
            self.log.info("%s runs on: another try of this task has taken it over", self.application_id)
            return
        for task_id, service in self.stop_after.items():
            if await ownership.ended(task_id):
                await self._await_down(service)
        clean = await self._job.stop(self.application_id, self.stop_timeout_s)
        how = "stopped" if clean else "was killed"
        self.log.info("Its supervision was ended: %s %s", self.application_id, how)

    async def _await_down(self, service: str) -> None:
        deadline = time.monotonic() + self.drain_timeout_s
        host = ProcessHostHook(self.process_host_conn_id)
        while time.monotonic() < deadline:
            if not any(process.up for process in await host.variants(service)):
                return
            await asyncio.sleep(0.5)


def _end_of(application: YarnApplication, waited_s: float) -> SparkYarnEvent:
    """The driver ends with success only when it was asked to; who kills an application wants it gone too."""
    reason = f"{application.state}, {application.final_status}: {application.diagnostics.strip()[-2000:]}"
    wanted = application.final_status in {"SUCCEEDED", "KILLED"}
    return SparkYarnEvent(application.application_id, _STOPPED if wanted else _ENDED, reason, waited_s)
