"""Brings the cluster up and down, and tells how its services are."""

import json
import shutil
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from logpipe.alerts import rules as alert_rules
from logpipe.hosts.cluster.check import check_script
from logpipe.hosts.cluster.compose import Compose, ComposeError
from logpipe.hosts.cluster.credentials import container_uid, in_containers, protocol, write_secrets
from logpipe.hosts.configuration import write_cluster
from logpipe.hosts.kerberos_roles import client_environment
from logpipe.hosts.layout import BUILD_DIR, CLUSTER_FOLDER, Layout
from logpipe.hosts.machine.stack import ServiceStatus, StartProgress
from logpipe.hosts.services import EDGE_HOSTS
from logpipe.settings import Settings

CERTIFICATES = Path("/usr/local/share/ca-certificates")
NEEDED_MEMORY_MB = 8000
NEEDED_DISK_MB = 8000
READY_TIMEOUT_S = 420.0
POLL_S = 1.0
MAX_RESTARTS = 5
ONCE = ("airflow-init",)  # it ends, and then has done its work


class ClusterError(Exception):
    """A service of the cluster cannot run; the message names it, what was seen and what to do."""


@dataclass(frozen=True)
class Container:
    """One service's container."""

    service: str
    state: str  # running, exited, created, restarting, dead
    health: str  # healthy, unhealthy, starting; empty where there is no check
    pid: int
    exit_code: int
    restarts: int
    started_at: datetime | None

    @classmethod
    def of(cls, row: dict[str, Any]) -> "Container":
        """From what `docker inspect` tells."""
        state = row["State"]
        started = datetime.fromisoformat(state["StartedAt"][:19]).replace(tzinfo=UTC)
        return cls(
            service=row["Config"]["Labels"]["com.docker.compose.service"],
            state=state["Status"],
            health=state.get("Health", {}).get("Status", ""),
            pid=state["Pid"],
            exit_code=state["ExitCode"],
            restarts=row["RestartCount"],
            started_at=started if started.year > 1 else None,
        )

    @property
    def has_ended_well(self) -> bool:
        """Whether it is one that runs once, and has."""
        return self.service in ONCE and self.state == "exited" and self.exit_code == 0

    @property
    def has_failed(self) -> bool:
        """Whether starting it anew is no use: it ends each time, or has ended and is not restarted."""
        if self.service in ONCE:
            return self.state == "exited" and self.exit_code != 0
        return self.restarts >= MAX_RESTARTS

    def status(self) -> ServiceStatus:
        """As `make status` tells it."""
        up = datetime.now(UTC) - self.started_at if self.started_at and self.pid else None
        return ServiceStatus(
            state=self.state,
            pid=self.pid or None,
            healthy=self.health == "healthy",
            uptime_s=int(up.total_seconds()) if up else 0,
        )


class Cluster:
    """All containers of one copy of the cluster."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = Layout(Layout.of(settings).state_dir / CLUSTER_FOLDER)
        self.secrets_dir = self.layout.state_dir / "secrets"
        self.compose = Compose(
            settings.cluster_name,
            {
                "LOGPIPE_CLUSTER_SECRETS": str(self.secrets_dir),
                "LOGPIPE_UID": str(container_uid()),
                "LOGPIPE_KAFKA_SECURITY_PROTOCOL": protocol(secure=settings.secure),
                "LOGPIPE_AIRFLOW_PORT": str(settings.airflow_port),
                "LOGPIPE_TOPIC_PARTITIONS": str(settings.topic_partitions),
                "LOGPIPE_ROLL_INTERVAL_S": str(settings.roll_interval_s),
                **client_environment(secure=settings.has_kerberos),
            },
        )

    # ------------------------------------------------------------------ up

    def check(self) -> None:
        """Look for engine, compose, memory and disk before anything is done.

        Raises:
            ComposeError, ClusterError: something is missing.
        """
        self.compose.check()
        problems = []
        free_mb = shutil.disk_usage(BUILD_DIR.parent).free // 2**20
        if free_mb < NEEDED_DISK_MB:
            problems.append(f"{free_mb} MB of disk are free, expected {NEEDED_DISK_MB}: make room")
        available_mb = psutil.virtual_memory().available // 2**20
        if not self.containers() and available_mb < NEEDED_MEMORY_MB:
            problems.append(
                f"{available_mb} MB of memory are available, expected {NEEDED_MEMORY_MB}: stop other programs"
            )
        if problems:
            raise ClusterError("\n".join(problems))

    def build(self, progress: StartProgress) -> None:
        """Build the images; what is built already is found in the engine's cache.

        Raises:
            ComposeError: an image could not be built.
        """
        began = time.monotonic()
        progress.begin("images")
        try:
            self._prepare_build()
            self.compose.do("build", log=self._log("build"))
        except ComposeError as error:
            progress.fail("images", str(error))
            raise
        progress.done("images", time.monotonic() - began)

    def _prepare_build(self) -> None:
        """Lay out the authorities that this machine trusts; write the configurations and the check."""
        folder = BUILD_DIR / "docker" / "ca"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        (folder / ".keep").touch()
        for path in CERTIFICATES.glob("*.crt"):
            shutil.copyfile(path, folder / path.name)
        write_cluster(
            folder.parent / "conf", secure=self.settings.secure, has_kerberos=self.settings.has_kerberos
        )
        check = folder.parent / "check"
        check.write_text(check_script(in_containers(has_kerberos=self.settings.has_kerberos)))
        check.chmod(0o755)

    def _log(self, name: str) -> Path:
        self.layout.logs_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return self.layout.logs_dir / f"{name}.log"

    def is_up(self) -> bool:
        """Whether every service does its work."""
        containers = self.containers()
        missing = set(self.compose.services()) - {container.service for container in containers}
        return not missing and all(
            container.health == "healthy" or container.has_ended_well for container in containers
        )

    def up(self, progress: StartProgress) -> None:
        """Build what is missing, start everything and wait until all of it does its work.

        Raises:
            LayoutError: the cluster's folder is not this version's, or not this project's.
            ComposeError, ClusterError: a service does not start, or the rules of alerts cannot work.
        """
        self.check()
        self.layout.claim(self.settings.topic, self.settings.timezone)
        write_secrets(
            self.layout,
            self.secrets_dir,
            secure=self.settings.secure,
            has_kerberos=self.settings.has_kerberos,
            alerts=self._alerts(),
        )
        self.build(progress)
        began = time.monotonic()
        services = self.compose.services()
        for service in services:
            progress.begin(service)
        with ThreadPoolExecutor(max_workers=1) as pool:  # compose waits for what others depend on
            starting = pool.submit(self.compose.do, "up", "--detach", "--no-build", log=self._log("up"))
            self._await_ready(services, starting, progress, began)
            starting.result()

    def _alerts(self) -> str:
        """The user's own rules of alerts, which work; empty: there are none."""
        if not self.settings.alerts_file:
            return ""
        own = Path(self.settings.alerts_file)
        try:
            alert_rules.load(own)
        except alert_rules.RulesError as error:
            raise ClusterError(str(error)) from None
        return own.read_text()

    def _await_ready(
        self, services: list[str], starting: "Future[str]", progress: StartProgress, began: float
    ) -> None:
        waiting = set(services)
        while waiting:
            containers = {container.service: container for container in self.containers()}
            for service in sorted(waiting):
                container = containers.get(service)
                if container and (container.health == "healthy" or container.has_ended_well):
                    waiting.discard(service)
                    progress.done(service, time.monotonic() - began)
                elif container and container.has_failed and starting.done():
                    progress.fail(service, f"exit code {container.exit_code}")
                    raise ClusterError(self._why(container))
            if starting.done():
                starting.result()
            if waiting and time.monotonic() - began > READY_TIMEOUT_S:
                first = min(waiting)
                progress.fail(first, "not ready")
                raise ClusterError(
                    f"After {READY_TIMEOUT_S:.0f} s these are not ready: {', '.join(sorted(waiting))}.\n"
                    f"{self._why(containers[first]) if first in containers else ''}"
                )
            if waiting:
                time.sleep(POLL_S)

    def _why(self, container: Container) -> str:
        tail = self.compose.do("logs", "--no-color", "--tail", "15", container.service)
        return f"{container.service} is {container.state} {container.health}; its last lines:\n{tail}"

    # ------------------------------------------------------------------ status and down

    def containers(self) -> list[Container]:
        """The containers that there are."""
        label = f"label=com.docker.compose.project={self.compose.project}"
        ids = self.compose.docker("ps", "--all", "--quiet", "--filter", label).stdout.split()
        if not ids:
            return []
        answer = self.compose.docker("inspect", *ids)
        rows = json.loads(answer.stdout or "[]")
        names = [Container.of(row) for row in rows]
        return sorted(names, key=lambda container: container.service)

    def status(self) -> dict[str, ServiceStatus]:
        """Every service of the compose file: its container's state and whether it does its work."""
        known = {container.service: container.status() for container in self.containers()}
        return {
            service: known.get(service, ServiceStatus(state="stopped", pid=None, healthy=False))
            for service in self.compose.services()
            if service not in ONCE
        }

    def airflow_container(self) -> str:
        """A running container that knows all settings and connections.

        Raises:
            ClusterError: none runs.
        """
        return self._first_running("airflow-dag-processor", "airflow-triggerer", "airflow-scheduler")

    def edge_container(self) -> str:
        """A running edge host.

        Raises:
            ClusterError: none runs.
        """
        return self._first_running(*EDGE_HOSTS)

    def _first_running(self, *services: str) -> str:
        running = {container.service for container in self.containers() if container.state == "running"}
        for service in services:
            if service in running:
                return service
        raise ClusterError(f"None of {', '.join(services)} runs: `make cluster-up` starts the cluster")

    def down(self, *, with_volumes: bool) -> None:
        """Stop and remove the containers and their network, and on request their data."""
        log = self._log("down") if self.layout.state_dir.exists() else None
        self.compose.do("down", *(["--volumes"] if with_volumes else []), "--timeout", "40", log=log)
