"""Brings the services of one machine up and down, in order, and tells how they are."""

import base64
import os
import shutil
import socket
import subprocess
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass

import httpx
import psutil

from logpipe.hosts.machine import configuration
from logpipe.hosts.machine.layout import AIRFLOW, Layout, LayoutError
from logpipe.hosts.machine.process_host import ProcessHost, ProcessState
from logpipe.hosts.machine.programs import AIRFLOW_SERVICES, JAVA, SERVICES
from logpipe.hosts.machine.readiness import CHECKS
from logpipe.settings import PROJECT_DIR, Settings

READY_TIMEOUT_S = 180.0
POLL_S = 0.4
NEEDED_DISK_MB = 1000
NEEDED_MEMORY_MB = 4000


class StackError(Exception):
    """A service cannot run; the message names it, what was seen and what to do."""


@dataclass(frozen=True)
class ServiceStatus:
    """One service as `make status` tells it; ``pid`` is None when no process runs."""

    state: str
    pid: int | None
    healthy: bool
    variant: str = ""
    uptime_s: int = 0

    def to_json(self) -> dict[str, object]:
        """As a JSON object; a variant only where there is one."""
        row = asdict(self)
        if not self.variant:
            del row["variant"]
        return row


class Stack:
    """All services of one copy of the pipeline."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.layout = Layout.of(settings)
        self.layout.make_dirs()
        self.host = ProcessHost(settings, self.layout)

    # ------------------------------------------------------------------ up

    def check(self) -> None:
        """Look for taken ports, disk and memory before anything starts.

        Raises:
            StackError: names every problem found.
        """
        try:
            self.layout.claim(self.settings.topic)
        except LayoutError as error:
            raise StackError(str(error)) from None
        running = self._running_services()
        problems = [
            f"Port {port} of {service} is taken by another program: stop it, or set LOGPIPE_{name.upper()} "
            "(or LOGPIPE_PORT_OFFSET for all ports)."
            for service, names in PORTS.items()
            if service not in running
            for name in names
            if not _port_is_free(port := getattr(self.settings, name))
        ]
        free_mb = shutil.disk_usage(self.layout.state_dir).free // 2**20
        if free_mb < NEEDED_DISK_MB:
            problems.append(
                f"{self.layout.state_dir} has {free_mb} MB of free disk, "
                f"expected {NEEDED_DISK_MB}: make room."
            )
        available_mb = psutil.virtual_memory().available // 2**20
        if not running and available_mb < NEEDED_MEMORY_MB:
            problems.append(
                f"{available_mb} MB of memory are available, expected {NEEDED_MEMORY_MB}: "
                "stop other programs."
            )
        if problems:
            raise StackError("\n".join(problems))

    def _running_services(self) -> set[str]:
        if not self.host.is_running():
            return set()
        return {"process host"} | {state.service for state in self.host.states() if state.pid}

    def up(self, progress: "StartProgress", *, airflow: bool = True) -> None:
        """Start the stores, and Airflow unless told otherwise; what runs and is ready is left alone."""
        self.host.end_leftovers()  # they have the ports
        self.check()
        configuration.write_all(self.settings, self.layout)
        self.host.start()
        with ThreadPoolExecutor(max_workers=len(SERVICES) + 2) as pool:
            migrated = pool.submit(self._migrate_airflow) if airflow else None
            steps: dict[str, Future[None]] = {
                "kafka": pool.submit(self._start, "kafka", progress, before=self._format_kafka),
                "namenode": pool.submit(self._start, "namenode", progress, before=self._format_namenode),
                "datanode": pool.submit(self._start, "datanode", progress),
                "ftp": pool.submit(self._start, "ftp", progress),
            }
            if migrated:
                for service in AIRFLOW_SERVICES:
                    steps[service] = pool.submit(self._start, service, progress, before=migrated.result)
            for future in steps.values():
                future.result()
        self._make_hdfs_home()

    def launch(self, service: str, variant: str = "") -> None:
        """Start a streaming service, in one of its variants, and wait until it does its work."""
        self.host.start_process(f"{service}:{variant}" if variant else service, wait=False)
        self._await_ready(service)

    def _start(
        self, service: str, progress: "StartProgress", before: Callable[[], object] | None = None
    ) -> None:
        progress.begin(service)
        started = time.monotonic()
        try:
            if before:
                before()
            self.host.start_process(service, wait=False)
            self._await_ready(service)
        except Exception as error:
            progress.fail(service, str(error))
            raise
        progress.done(service, time.monotonic() - started)

    def _await_ready(self, service: str) -> None:
        deadline = time.monotonic() + READY_TIMEOUT_S
        while not CHECKS[service](self.settings):
            states = [state for state in self.host.states() if state.service == service]
            if time.monotonic() > deadline or any(state.state == "fatal" for state in states):
                seen = ", ".join(state.state for state in states)
                raise StackError(
                    f"{service} is not ready after {READY_TIMEOUT_S:.0f} s (process: {seen}). "
                    f"Its last lines:\n{self.log_tail(service)}"
                )
            time.sleep(POLL_S)

    def log_tail(self, service: str, lines: int = 12) -> str:
        """The last lines of a service's log."""
        path = self.layout.logs_dir / f"{service}.log"
        if not path.exists():
            return "(no log yet)"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - 16384))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])

    # ------------------------------------------------------------------ first start

    def _run_once(self, command: Iterable[str], what: str, environment: dict[str, str] | None = None) -> None:
        answer = subprocess.run(
            list(command),
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | configuration.service_environment(self.settings) | (environment or {}),
            cwd=PROJECT_DIR,
        )
        if answer.returncode:
            tail = "\n".join((answer.stdout + answer.stderr).splitlines()[-12:])
            raise StackError(f"{what} failed with exit code {answer.returncode}:\n{tail}")

    def _format_kafka(self) -> None:
        if (self.layout.kafka_dir / "meta.properties").exists():
            return
        self._run_once(
            (
                *JAVA,
                f"-Dlog4j2.configurationFile={self.layout.conf_dir}/log4j2.properties",
                "-cp",
                configuration.class_path("kafka"),
                "kafka.tools.StorageTool",
                "format",
                "-t",
                kafka_cluster_id(),
                "-c",
                str(self.layout.conf_dir / "kafka" / "server.properties"),
            ),
            "Formatting Kafka's storage",
        )

    def _format_namenode(self) -> None:
        if (self.layout.hadoop_dir / "name" / "current" / "VERSION").exists():
            return
        self._run_once(
            (
                *JAVA,
                "-cp",
                configuration.hadoop_class_path(self.layout),
                "org.apache.hadoop.hdfs.server.namenode.NameNode",
                "-format",
                "-nonInteractive",
            ),
            "Formatting the NameNode",
        )

    def _migrate_airflow(self) -> None:
        stamp = self.layout.airflow_dir / ".migrated"
        version = (PROJECT_DIR / "requirements.txt").read_text()
        if stamp.exists() and stamp.read_text() == version:
            return
        self._run_once(
            (str(AIRFLOW), "db", "migrate"),
            "Preparing Airflow's database",
            configuration.airflow_environment(self.layout),
        )
        stamp.write_text(version)

    def _make_hdfs_home(self) -> None:
        """Give the pipeline's user its home; who runs the NameNode is HDFS's superuser."""
        superuser = psutil.Process().username()
        home = f"{self.settings.webhdfs_url}/webhdfs/v1/user/{self.settings.hdfs_user}"
        user = {"user.name": superuser}
        httpx.put(home, params=user | {"op": "MKDIRS"}, timeout=20).raise_for_status()
        owner = {"op": "SETOWNER", "owner": self.settings.hdfs_user, "group": self.settings.hdfs_user}
        httpx.put(home, params=user | owner, timeout=20).raise_for_status()

    # ------------------------------------------------------------------ status

    def status(self) -> dict[str, ServiceStatus]:
        """Every service: its process's state and whether it does its work."""
        processes: dict[str, ProcessState] = {}
        if self.host.is_running():
            for state in self.host.states():
                known = processes.get(state.service)
                if known is None or (state.pid and not known.pid):
                    processes[state.service] = state
        with ThreadPoolExecutor(max_workers=len(SERVICES)) as pool:
            healthy = {
                service: pool.submit(CHECKS[service], self.settings)
                for service in SERVICES
                if service in processes and processes[service].pid
            }
            return {
                service: ServiceStatus(
                    state=processes[service].state if service in processes else "stopped",
                    pid=(processes[service].pid or None) if service in processes else None,
                    healthy=healthy[service].result() if service in healthy else False,
                    variant=processes[service].variant if service in healthy else "",
                    uptime_s=processes[service].uptime_s if service in processes else 0,
                )
                for service in SERVICES
            }

    # ------------------------------------------------------------------ down

    def stop_service(self, service: str) -> bool:
        """Stop every variant of a service; tells whether one ran."""
        running = [state.full_name for state in self.host.states() if state.service == service and state.pid]
        for full_name in running:
            self.host.stop_process(full_name)
        return bool(running)


class StartProgress:
    """Told about each service as it starts; the default says nothing."""

    def begin(self, service: str) -> None:
        """A service is being started."""

    def done(self, service: str, seconds: float) -> None:
        """It is ready."""

    def fail(self, service: str, reason: str) -> None:
        """It is not, and will not be."""


PORTS: dict[str, tuple[str, ...]] = {
    "process host": ("supervisor_port",),
    "kafka": ("kafka_port", "kafka_controller_port"),
    "namenode": ("namenode_port", "namenode_http_port"),
    "datanode": ("datanode_port", "datanode_http_port", "datanode_ipc_port"),
    "ftp": ("ftp_port",),
    "flume-agent1": ("netcat_port", "thrift_port", "agent1_metrics_port"),
    "flume-agent2": ("agent2_metrics_port",),
    "analytics": ("spark_ui_port",),
    "replayer": ("replayer_port",),
    "airflow-api-server": ("airflow_port",),
}


def _port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def kafka_cluster_id() -> str:
    """A new cluster id; none begins with a dash, which Kafka's tool takes for an option."""
    return base64.urlsafe_b64encode(b"\0" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
