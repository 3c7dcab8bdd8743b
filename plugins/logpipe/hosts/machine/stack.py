"""Brings the services of one machine up and down, in order, and tells how they are."""

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import asdict, dataclass

import psutil

from logpipe.clients.hdfs import Hdfs
from logpipe.clients.process_host import Process
from logpipe.hosts import configuration
from logpipe.hosts.environment import service_environment
from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.process_host import Supervisord
from logpipe.hosts.services import PROCESS_HOST, SERVICES, Kind, Preparation, Service
from logpipe.settings import PROJECT_DIR, Settings

READY_TIMEOUT_S = 180.0
POLL_S = 0.4
DRAIN_TIMEOUT_S = 60.0
DRAIN_POLL_S = 0.25
MAX_ENDS = 3  # of a process, while its service is being started
TAIL_BYTES = 262144
ERRORS = 4
_FRAME = re.compile(r"\s+(at |\.\.\. \d+ more)|(NOTE: )?Picked up ")
_ERROR = re.compile(r"\b(ERROR|FATAL|CRITICAL)\b|(Error|Exception): ")
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
    """All services of one copy of the pipeline, those of the table unless told otherwise."""

    def __init__(self, settings: Settings, services: tuple[Service, ...] = SERVICES) -> None:
        self.settings = settings
        self.services = services
        self.layout = Layout.of(settings)
        self.host = Supervisord(settings, self.layout, services)
        self._given_up = threading.Event()

    # ------------------------------------------------------------------ up

    def check(self) -> None:
        """Look for taken ports, disk and memory before anything starts.

        Raises:
            LayoutError: the state folder is not this version's, or not this project's.
            StackError: names every other problem found.
        """
        self.layout.claim(self.settings.topic, self.settings.timezone)
        self.layout.make_dirs()
        running = self.running_services()
        problems = [
            f"Port {port} of {service.name} can't be opened at {self.settings.host} ({why}): stop the "
            f"program that has it, or set LOGPIPE_{_setting(name).upper()} "
            "(or LOGPIPE_PORT_OFFSET for all ports)."
            for service in self.services
            if service.name not in running and not _has_socket(service, self.settings)
            for name in service.ports
            if (why := _port_trouble(self.settings.bind_address, port := self.settings.port(name)))
        ]
        problems += [
            f"LOGPIPE_{name.upper()} is {asked}, and what is started here is "
            f"{f'at {own}' if own else 'configured by itself'}: unset it. For a Kafka or an HDFS that is "
            "there already: docs/your-cluster.md"
            for name, own in self.settings.own_addresses.items()
            if (asked := getattr(self.settings, name)) != own
        ]
        if principal := self.settings.kerberos_principal:
            problems.append(
                f"LOGPIPE_KERBEROS_PRINCIPAL is {principal}, and the HDFS that is started here asks nobody "
                "for a proof: unset it and LOGPIPE_KERBEROS_KEYTAB. For an HDFS that is there already: "
                "docs/your-cluster-hdfs.md"
            )
        free_mb = shutil.disk_usage(self.layout.state_dir).free // 2**20
        if not running and free_mb < NEEDED_DISK_MB:
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

    def running_services(self) -> set[str]:
        """Names of the services that have a process, the process host among them."""
        if not self.host.is_running():
            return set()
        return {"process-host"} | {process.service for process in self.host.client.processes() if process.pid}

    def up(self, progress: "StartProgress", *, airflow: bool = True) -> None:
        """Start the stores, and Airflow unless told otherwise; what runs and is ready is left alone."""
        self.host.end_leftovers()  # they have the ports
        self.check()
        configuration.write_all(self.settings, self.layout)
        self.host.start(progress.note)
        kinds: tuple[Kind, ...] = ("store", "airflow") if airflow else ("store",)
        started = [service for service in self.services if service.kind in kinds]
        with ThreadPoolExecutor(max_workers=2 * len(started)) as pool:
            # One for all that ask for the same.
            prepared = {
                preparation: pool.submit(self.prepare, preparation)
                for preparation in {service.preparation for service in started}
            }
            steps = [
                pool.submit(self._start, service, progress, prepared[service.preparation])
                for service in started
            ]
            try:
                for step in as_completed(steps):
                    step.result()
            except BaseException:
                self._given_up.set()
                raise
        self._make_hdfs_home()

    def launch(self, name: str, variant: str = "") -> None:
        """Start a streaming service, in one of its variants, and wait until it does its work."""
        service = next(service for service in self.services if service.name == name)
        self.host.client.start(service.name, variant or None)
        self._await_ready(service)

    def _start(self, service: Service, progress: "StartProgress", prepared: "Future[None]") -> None:
        progress.begin(service.name)
        started = time.monotonic()
        try:
            prepared.result()
            self.host.client.start(service.name)
            self._await_ready(service)
            service.settle(self.settings)
        except Exception as error:
            progress.fail(service.name, str(error))
            raise
        progress.done(service.name, time.monotonic() - started)

    def _await_ready(self, service: Service) -> None:
        began = time.monotonic()
        pids: set[int] = set()
        while not service.is_ready(self.settings):
            states = [each for each in self.host.client.processes() if each.service == service.name]
            pids |= {state.pid for state in states if state.pid}
            took_s = time.monotonic() - began
            if (
                took_s > READY_TIMEOUT_S
                or len(pids) > MAX_ENDS
                or any(each.state == "FATAL" for each in states)
            ):
                seen = ", ".join(state.state.lower() for state in states)
                raise StackError(
                    f"{service.name} is not ready after {took_s:.0f} s (process: {seen}; started {len(pids)} "
                    f"times). Its last lines:\n{self.log_tail(service.name)}"
                )
            if self._given_up.wait(POLL_S):
                raise StackError(f"{service.name}: its start was given up, since another service's failed")

    def log_tail(self, service: str, lines: int = 12) -> str:
        """The last lines of a service's log, without stack frames, and the last errors before them.

        A process that ends again and again has the reason behind what its successor says first.
        """
        path = self.layout.logs_dir / f"{service}.log"
        if not path.exists():
            return "(no log yet)"
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
        said = [line for line in text.splitlines() if not _FRAME.match(line)]
        errors = [line for line in said[:-lines] if _ERROR.search(line)]
        return "\n".join([*errors[-ERRORS:], *said[-lines:]])

    def prepare(self, preparation: Callable[[Settings, Layout], Preparation | None]) -> None:
        """Run what comes before the start of a service, unless it was done before."""
        due = preparation(self.settings, self.layout)
        if due is None:
            return
        answer = subprocess.run(
            due.command,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=os.environ | service_environment(self.settings) | due.environment,
            cwd=PROJECT_DIR,
            umask=0o077,
        )
        if answer.returncode:
            tail = "\n".join((answer.stdout + answer.stderr).splitlines()[-12:])
            raise StackError(f"{due.what} failed with exit code {answer.returncode}:\n{tail}")
        if due.stamp:
            path, text = due.stamp
            path.write_text(text)

    def _make_hdfs_home(self) -> None:
        """Give the pipeline's user its home; who runs the NameNode is HDFS's superuser."""
        superuser = psutil.Process().username()
        user, home = self.settings.hdfs_user, f"/user/{self.settings.hdfs_user}"
        with closing(Hdfs(self.settings.webhdfs_url, superuser)) as hdfs:
            hdfs.make_folder(home)
            hdfs.set_owner(home, user, user)
            hdfs.set_mode(home, 0o700)

    # ------------------------------------------------------------------ status

    def status(self) -> dict[str, ServiceStatus]:
        """Every service: its process's state and whether it does its work."""
        processes: dict[str, Process] = {}
        if self.host.is_running():
            for state in self.host.client.processes():
                known = processes.get(state.service)
                if known is None or (state.pid and not known.pid):
                    processes[state.service] = state
        rows = [service for service in self.services if service.command and service.kind != "batch"]
        with ThreadPoolExecutor(max_workers=len(rows)) as pool:
            healthy = {
                service.name: pool.submit(service.is_ready, self.settings)
                for service in rows
                if service.name in processes and processes[service.name].pid
            }
        stopped = ServiceStatus(state="stopped", pid=None, healthy=False)
        return {
            service.name: ServiceStatus(
                state=process.state.lower(),
                pid=process.pid or None,
                healthy=service.name in healthy and healthy[service.name].result(),
                variant=(process.variant or "") if process.pid else "",
                uptime_s=process.uptime_s,
            )
            if (process := processes.get(service.name))
            else stopped
            for service in rows
        }

    # ------------------------------------------------------------------ down

    def stop(self, tell: Callable[[str], None], but: Collection[str] = ()) -> None:
        """Stop everything in the reverse order of its start, each service drained, then the process host.

        Args:
            tell: is told of each service.
            but: names of services that run on.
        """
        for service in reversed(self.services):
            if service.name in but:
                continue
            running = [
                process
                for process in self.host.client.processes()
                if process.service == service.name and process.pid
            ]
            if not running:
                continue
            self._drain(service, tell)
            began = time.monotonic()
            for process in running:
                self.host.client.stop(process.service, process.variant)
            tell(f"{service.name}: stopped after {time.monotonic() - began:.1f} s")
        if not but:
            self.host.shut_down()

    def _drain(self, service: Service, tell: Callable[[str], None]) -> None:
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while left := service.undrained(self.settings):
            if time.monotonic() > deadline:
                tell(
                    f"{service.name} is stopped after {DRAIN_TIMEOUT_S:.0f} s although {left}; "
                    "`make verify` tells what is missing."
                )
                return
            time.sleep(DRAIN_POLL_S)


class StartProgress:
    """Told about each service as it starts; the default says nothing."""

    def note(self, text: str) -> None:
        """Something worth knowing happens."""

    def begin(self, service: str) -> None:
        """A service is being started."""

    def done(self, service: str, seconds: float) -> None:
        """It is ready."""

    def fail(self, service: str, reason: str) -> None:
        """It is not, and will not be."""


def _has_socket(service: Service, settings: Settings) -> bool:
    return service is PROCESS_HOST and settings.process_host.startswith("/")


def _setting(port: str) -> str:
    """The setting that a port follows: its own, or agent 2's for the agents behind it."""
    return port if port in Settings.model_fields else "agent2_metrics_port"


def _port_trouble(host: str, port: int) -> str:
    """Why a port cannot be listened on; empty: it can."""
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        return error.strerror or str(error)
    return ""
