"""The process host (supervisord): starting it, and asking it about its processes over XML-RPC."""

import http.client
import re
import subprocess
import time
import xmlrpc.client
from dataclasses import dataclass
from typing import Any, cast

import psutil

from logpipe.hosts.layout import PYTHON, USER, Layout, write_private
from logpipe.hosts.machine.starter import end_leftovers
from logpipe.hosts.machine.supervisor import supervisor_conf
from logpipe.hosts.services import SERVICES, Service
from logpipe.settings import Settings

CALL_TIMEOUT_S = 60.0
SHUTDOWN_TIMEOUT_S = 90.0


class ProcessHostError(Exception):
    """The process host cannot do what was asked; the message says why and what to do."""


@dataclass(frozen=True)
class ProcessState:
    """What the process host knows of one process; ``pid`` is 0 when it does not run."""

    service: str
    variant: str
    state: str  # running, stopped, starting, backoff, stopping, exited, fatal
    pid: int
    uptime_s: int

    @property
    def full_name(self) -> str:
        """The process host's name of it."""
        return f"{self.service}:{self.variant}" if self.variant else self.service


class _Transport(xmlrpc.client.Transport):
    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        connection.timeout = CALL_TIMEOUT_S
        return connection


class ProcessHost:
    """One supervisord on this machine, which keeps the services that have a command."""

    def __init__(self, settings: Settings, layout: Layout, services: tuple[Service, ...] = SERVICES) -> None:
        self._services = services
        self._settings = settings
        self._layout = layout

    def _url(self) -> str:
        # To ask makes no secrets: where there are none, no host of this copy runs.
        secrets = self._layout.secrets() if self._layout.secrets_file.exists() else {}
        password = secrets.get("process_host_password", "none")
        return f"http://{USER}:{password}@{self._settings.bind_address}:{self._settings.supervisor_port}/RPC2"

    def _call(self, method: str, *arguments: Any) -> Any:
        # A proxy is one connection, and services are started by several threads: one proxy a call.
        with xmlrpc.client.ServerProxy(self._url(), transport=_Transport()) as server:
            return getattr(server.supervisor, method)(*arguments)

    def is_running(self) -> bool:
        """Whether this copy's process host answers.

        Raises:
            ProcessHostError: another program, or another copy's process host, has the port; or this copy's
                runs at another one.
        """
        try:
            state = cast(dict[str, Any], self._call("getState"))
        except ConnectionRefusedError:
            self._refuse_another_port()
            return False
        except xmlrpc.client.ProtocolError as error:
            raise ProcessHostError(
                f"Port {self._settings.supervisor_port} answers with {error.errcode} "
                f"{error.errmsg}: it belongs to another copy's process host. Set LOGPIPE_SUPERVISOR_PORT or "
                "LOGPIPE_PORT_OFFSET, or stop the other copy."
            ) from None
        except (OSError, http.client.HTTPException) as error:
            raise ProcessHostError(
                f"Port {self._settings.supervisor_port} is not a process host ({error}): "
                "set LOGPIPE_SUPERVISOR_PORT."
            ) from None
        return bool(state["statename"] == "RUNNING")

    def _refuse_another_port(self) -> None:
        """A command with other ports would take a running copy for a stopped one, and delete its data."""
        place, own_port = self._layout.state_dir, self._settings.supervisor_port
        try:
            pid = int((place / "supervisord.pid").read_text())
            conf = self._layout.supervisor_conf.read_text()
            command = psutil.Process(pid).cmdline()
        except (OSError, ValueError, psutil.Error):
            return
        port = re.search(r"^port=\S+:(\d+)$", conf, re.MULTILINE)
        if str(self._layout.supervisor_conf) in command and port and int(port[1]) != own_port:
            raise ProcessHostError(
                f"The copy in {place} runs with other ports: its process host (process {pid}) listens at "
                f"{port[1]}, not at {own_port}. Set LOGPIPE_PORT_OFFSET, or LOGPIPE_SUPERVISOR_PORT, to what "
                "it was started with."
            )

    def end_leftovers(self) -> int:
        """End what outlived a process host that was killed; returns how many processes it were."""
        return 0 if self.is_running() else end_leftovers(self._layout.state_dir, leaders=True)

    def start(self) -> None:
        """Start supervisord, or let a running one take over a changed configuration."""
        conf = supervisor_conf(self._settings, self._layout, self._services)
        if self.is_running():
            if write_private(self._layout.supervisor_conf, conf):
                self._update()
            return
        self._layout.make_dirs()
        write_private(self._layout.supervisor_conf, conf)
        command = [str(PYTHON), "-m", "supervisor.supervisord", "-c", str(self._layout.supervisor_conf)]
        answer = subprocess.run(
            command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
        )
        if answer.returncode:
            raise ProcessHostError(
                f"supervisord did not start: {(answer.stderr or answer.stdout).strip()[-500:]}"
            )
        deadline = time.monotonic() + 20
        while not self.is_running():
            if time.monotonic() > deadline:
                raise ProcessHostError(
                    f"supervisord does not answer: see {self._layout.logs_dir}/supervisord.log"
                )
            time.sleep(0.1)

    def _update(self) -> None:
        """Restart what has another configuration now, leave the rest alone."""
        added, changed, removed = self._call("reloadConfig")[0]
        was_running = {state.full_name for state in self.states() if state.pid}
        for group in [*changed, *removed]:
            self._call("stopProcessGroup", group)
            self._call("removeProcessGroup", group)
        for group in [*changed, *added]:
            self._call("addProcessGroup", group)
        for state in self.states():
            if state.service in changed and state.full_name in was_running:
                self.start_process(state.full_name, wait=False)

    def states(self) -> list[ProcessState]:
        """Every process's state."""
        return [
            ProcessState(
                service=row["group"],
                variant="" if row["name"] == row["group"] else row["name"],
                state=row["statename"].lower(),
                pid=row["pid"],
                uptime_s=row["now"] - row["start"] if row["pid"] else 0,
            )
            for row in cast(list[dict[str, Any]], self._call("getAllProcessInfo"))
        ]

    def start_process(self, full_name: str, *, wait: bool = True) -> None:
        """Start a process unless it runs."""
        try:
            self._call("startProcess", full_name, wait)
        except xmlrpc.client.Fault as fault:
            if "ALREADY_STARTED" not in fault.faultString:
                raise ProcessHostError(f"{full_name} did not start: {fault.faultString}") from None

    def stop_process(self, full_name: str, *, wait: bool = True) -> None:
        """Stop a process if it runs: SIGTERM, then SIGKILL after its own time to stop."""
        try:
            self._call("stopProcess", full_name, wait)
        except xmlrpc.client.Fault as fault:
            if "NOT_RUNNING" not in fault.faultString:
                raise ProcessHostError(f"{full_name} did not stop: {fault.faultString}") from None

    def shut_down(self) -> None:
        """Stop everything that still runs, and supervisord itself."""
        process = psutil.Process(self._call("getPID"))
        self._call("shutdown")
        try:
            process.wait(SHUTDOWN_TIMEOUT_S)
        except psutil.TimeoutExpired:
            raise ProcessHostError(
                f"supervisord (process {process.pid}) did not end within {SHUTDOWN_TIMEOUT_S:.0f} s: "
                f"see {self._layout.logs_dir}/supervisord.log"
            ) from None
        end_leftovers(self._layout.state_dir, leaders=True)
