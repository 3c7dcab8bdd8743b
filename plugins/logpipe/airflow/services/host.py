"""Who keeps a service's process: a process host, or YARN."""

import time
from dataclasses import dataclass, field
from typing import Protocol

from airflow.sdk.exceptions import AirflowException

from logpipe.airflow.hooks.services import ProcessHostHook, YarnHook
from logpipe.airflow.hooks.stores import HdfsHook
from logpipe.airflow.services.submission import submit
from logpipe.clients.errors import ClientError, RefusedError
from logpipe.clients.process_host import Process, ProcessHost
from logpipe.clients.yarn import Yarn, YarnApplication

_POLL_S = 1.0
_MARK_INTERVAL_S = 5.0
_STOP_FILE = "stop"  # what the driver looks for in its checkpoint folder, see spark_jobs/windows/life.py


@dataclass(frozen=True, slots=True)
class Standing:
    """How a service stands at its host.

    Attributes:
        label: what to call it.
        process: a pid, or the id of a YARN application; empty when there is none.
        state: the host's own word for it.
        detail: why it is not running, as far as the host knows.
        running: it can be asked whether it is healthy.
        up: it runs, or is about to.
        hopeless: its host will not bring it back by itself.
        stopped: somebody asked for its end.
        forgotten: a host that has come up anew has not started it yet.
        uptime_s: since its process started.
    """

    label: str
    process: str
    state: str
    detail: str = ""
    running: bool = False
    up: bool = False
    hopeless: bool = False
    stopped: bool = False
    forgotten: bool = False
    uptime_s: float = 0


@dataclass(frozen=True, slots=True)
class Launched:
    """What a launch found and did."""

    standing: Standing
    reattached: bool
    stopped: tuple[str, ...] = ()  # what had to go first


class Host(Protocol):
    """Keeps the process of one service. Calls block, and raise a ClientError when it does not do them."""

    def look(self) -> Standing:
        """How the service stands now."""

    def launch(self, stop_timeout_s: float) -> Launched:
        """Have it up: whoever started it, one that runs is left alone."""

    def start(self) -> None:
        """Start it unless it runs."""

    def kill(self) -> None:
        """End it at once; `start` brings it back, or the host by itself."""

    def up(self) -> list[str]:
        """The names of what runs; none when it does not."""

    def stop(self, timeout_s: float) -> list[str]:
        """Ask it to end and wait until it has; the names of what was stopped, none when it did not run."""

    def follow(self) -> Standing | None:
        """Go over to what was started in its place, if anything was."""

    def log_tail(self) -> list[str]:
        """The last lines of its log."""


@dataclass
class OnProcessHost:
    """A process of supervisord's, of which one variant runs."""

    conn_id: str
    service: str
    variant: str | None = None

    @property
    def _client(self) -> ProcessHost:
        return ProcessHostHook(self.conn_id).get_conn()

    def look(self) -> Standing:
        """How the process stands."""
        return _of_process(self._client.state(self.service, self.variant))

    def launch(self, stop_timeout_s: float) -> Launched:
        """Have exactly this variant up; another one is stopped first."""
        launch = self._client.launch(self.service, self.variant, stop_timeout_s=stop_timeout_s)
        return Launched(_of_process(launch.process), launch.reattached, launch.stopped)

    def start(self) -> None:
        """Start the process."""
        self._client.start(self.service, self.variant)

    def kill(self) -> None:
        """Send SIGKILL; supervisord brings it back."""
        self._client.kill(self.service, self.variant)

    def up(self) -> list[str]:
        """The variants that run."""
        return [process.label for process in self._client.variants(self.service) if process.up]

    def stop(self, timeout_s: float) -> list[str]:
        """Stop whatever variant runs, on each host that runs one."""
        stopped: list[str] = []
        for _ in self._client.hosts:
            client = self._client  # it chooses a host that runs the service
            running = [process for process in client.variants(self.service) if process.up]
            for process in running:
                client.stop(process.service, process.variant, timeout_s=timeout_s)
            stopped += [process.label for process in running]
        return stopped

    def follow(self) -> Standing | None:
        """Go over to the variant that runs."""
        other = next((process for process in self._client.variants(self.service) if process.pid), None)
        if other is None:
            return None
        self.variant = other.variant
        return _of_process(other)

    def log_tail(self) -> list[str]:
        """The last lines of standard error, or else of output."""
        return self._client.log_tail(self.service, self.variant)


def _of_process(process: Process) -> Standing:
    return Standing(
        label=process.label,
        process=str(process.pid or ""),
        state=process.state,
        detail=process.spawn_error or f"last exit status {process.exit_status}",
        running=process.state == "RUNNING",
        up=process.up,
        hopeless=process.state in {"FATAL", "EXITED", "STOPPED"},
        stopped=process.stopped_on_request,
        forgotten=process.state == "STOPPED" and not process.was_started,
        uptime_s=process.uptime_s,
    )


@dataclass
class OnYarn:
    """A streaming job of ours on YARN: one live application of a name, stopped by a marker on HDFS.

    Attributes:
        application: its name, one for each checkpoint.
        checkpoint_dir: the query's checkpoint on HDFS.
    """

    application: str
    checkpoint_dir: str
    yarn_conn_id: str
    webhdfs_conn_id: str
    spark_conn_id: str
    _killed: set[str] = field(default_factory=set, init=False)

    @property
    def _client(self) -> Yarn:
        return YarnHook(self.yarn_conn_id).get_conn()

    def look(self) -> Standing:
        """How the live application stands, or else the newest of its name."""
        now = self._client.newest(self.application)
        if now is None:
            return Standing(self.application, "", "absent", hopeless=True)
        return _of_application(now, is_wanted=now.application_id not in self._killed)

    def launch(self, stop_timeout_s: float) -> Launched:
        """Submit it unless there is a live one; of two that were submitted at once the first one stays."""
        standing = self.look()
        if standing.up:
            return Launched(standing, reattached=True)
        self.start()
        return Launched(self.look(), reattached=False)

    def start(self) -> None:
        """Submit it; returns once YARN has accepted.

        Raises:
            RefusedError: spark-submit fails, or the ResourceManager shows no application afterwards.
        """
        client = self._client
        if client.applications(self.application, live=True):
            return
        try:
            submit(self.application, self.spark_conn_id)
        except (AirflowException, OSError) as error:
            raise RefusedError(f"{self.application} cannot be submitted: {error}") from error
        live = client.applications(self.application, live=True)
        if not live:
            raise RefusedError(f"{client} shows no live {self.application} after its submission")
        for later in live[1:]:
            client.kill(later.application_id)

    def kill(self) -> None:
        """Have YARN kill the live application, and wait until it is gone."""
        client = self._client
        for application in client.applications(self.application, live=True):
            self._killed.add(application.application_id)
            client.kill(application.application_id)
        while client.applications(self.application, live=True):
            time.sleep(_POLL_S)

    def up(self) -> list[str]:
        """The live applications."""
        live = self._client.applications(self.application, live=True)
        return [application.application_id for application in live]

    def stop(self, timeout_s: float) -> list[str]:
        """Ask the driver to stop with its batch finished; kill it when it has not ended in time.

        SIGTERM would be no clean stop: on YARN it reaches Spark's JVM and the driver's Python at once. The
        marker is set again and again, since a driver that only begins removes one that it finds.
        """
        client = self._client
        live = client.applications(self.application, live=True)
        if not live:
            return []
        hdfs = HdfsHook(self.webhdfs_conn_id).hdfs()
        end, marked = time.monotonic() + timeout_s, -_MARK_INTERVAL_S
        while (now := client.application(live[0].application_id)).live:
            if time.monotonic() > end or now.state != "RUNNING":
                client.kill(now.application_id)
                break
            if time.monotonic() - marked >= _MARK_INTERVAL_S:
                marked = time.monotonic()
                hdfs.write(f"{self.checkpoint_dir}/{_STOP_FILE}", b"", overwrite=True)
            time.sleep(_POLL_S)
        return [live[0].application_id]

    def follow(self) -> Standing | None:
        """Nothing stands in its place: `look` goes over to a live application by itself."""
        return None

    def log_tail(self) -> list[str]:
        """What YARN says of its end."""
        try:
            return [*self.look().detail.splitlines(), "More: `yarn logs`, or the ResourceManager's page"]
        except ClientError as error:
            return [str(error)]


def _of_application(application: YarnApplication, *, is_wanted: bool) -> Standing:
    """The driver ends with success only when it was asked to; who kills an application wants it gone too."""
    wanted = is_wanted and application.final_status in {"SUCCEEDED", "KILLED"}
    return Standing(
        label=application.application_id,
        process=application.application_id if application.live else "",
        state=application.state,
        detail=f"{application.final_status}: {application.diagnostics[-2000:]}",
        running=application.state == "RUNNING",
        up=application.live,
        hopeless=not application.live,
        stopped=not application.live and wanted,
        uptime_s=application.elapsed_ms / 1000,
    )
