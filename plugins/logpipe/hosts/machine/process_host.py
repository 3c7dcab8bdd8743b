"""The process host of this machine (supervisord): starting and ending it; `client` asks it."""

import os
import re
import subprocess
import time
from collections.abc import Callable

import psutil

from logpipe.clients.errors import ClientError, NobodyListensError
from logpipe.clients.process_host import ProcessHost, ProcessHostError
from logpipe.hosts.connections import client
from logpipe.hosts.layout import PYTHON, Layout, write_private
from logpipe.hosts.machine.starter import end_leftovers
from logpipe.hosts.machine.supervisor import supervisor_conf
from logpipe.hosts.services import PROCESS_HOST, SERVICES, Service
from logpipe.settings import Settings

START_TIMEOUT_S = 20.0
SHUTDOWN_TIMEOUT_S = 90.0
ENDS_S = 5.0
LONGEST_SOCKET = 99  # of the 107 that Linux has: supervisord makes it under a name with its pid behind


def _ends(process: psutil.Process) -> bool:
    """Whether it is gone in a moment: its socket goes before it does."""
    try:
        process.wait(ENDS_S)
    except psutil.TimeoutExpired:
        return False
    return True


class Supervisord:
    """One supervisord on this machine, which keeps the services that have a command."""

    def __init__(self, settings: Settings, layout: Layout, services: tuple[Service, ...] = SERVICES) -> None:
        self._services = services
        self._settings = settings
        self._layout = layout

    @property
    def client(self) -> ProcessHost:
        """Asks it about its processes, and starts and stops them."""
        return client(ProcessHost, PROCESS_HOST, self._settings, self._layout)

    def is_running(self) -> bool:
        """Whether this copy's process host answers.

        Raises:
            ProcessHostError: something else answers there, or this copy runs with other ports.
        """
        own = self._process()
        if own is not None:
            self._refuse_other_ways(own)
        try:
            return bool(self.client.call("getState")["statename"] == "RUNNING")
        except NobodyListensError:
            if own is None or _ends(own):
                return False
            raise ProcessHostError(
                f"This copy's process host, process {own.pid}, runs, and nothing listens at "
                f"{self._settings.process_host}: somebody deleted it. `kill {own.pid}` ends it in order, "
                "with all that it keeps; then start again"
            ) from None
        except ClientError as error:
            if own is not None:
                raise ProcessHostError(
                    f"This copy's process host, process {own.pid}, does not answer ({error}): it ends, or is "
                    f"held up. Wait for it; if it stays so, `kill {own.pid}`, and start again"
                ) from None
            raise ProcessHostError(
                f"{self._settings.process_host} belongs to something else than this copy's process host "
                f"({error}): stop that, or set LOGPIPE_STATE_DIR to a folder of this copy's own"
            ) from None

    def _process(self) -> psutil.Process | None:
        """This copy's process host, whether it answers or not."""
        try:
            process = psutil.Process(int((self._layout.state_dir / "supervisord.pid").read_text()))
            return process if str(self._layout.supervisor_conf) in process.cmdline() else None
        except (OSError, ValueError, psutil.Error):
            return None

    def _refuse_other_ways(self, own: psutil.Process) -> None:
        """A command with other ports, or of another version, would take a running copy for a dead one."""
        place, own_port = self._layout.state_dir, self._settings.supervisor_port
        try:
            conf = self._layout.supervisor_conf.read_text()
        except OSError:
            return
        port = re.search(r'\bLOGPIPE_SUPERVISOR_PORT="(\d+)"', conf)
        if port and int(port[1]) != own_port:
            raise ProcessHostError(
                f"The copy in {place} runs with other ports: LOGPIPE_SUPERVISOR_PORT is {port[1]} there (its "
                f"process host is process {own.pid}), not {own_port}. Set LOGPIPE_PORT_OFFSET, or "
                "LOGPIPE_SUPERVISOR_PORT, to what it was started with."
            )
        if self._settings.process_host not in conf:
            raise ProcessHostError(
                f"The copy in {place} runs, and its process host (process {own.pid}) listens elsewhere than "
                f"at {self._settings.process_host}: another version, or another LOGPIPE_HOST, started it. "
                "Stop it with that"
            )

    def end_leftovers(self) -> int:
        """End what outlived a process host that was killed; returns how many processes it were."""
        return 0 if self.is_running() else end_leftovers(self._layout.state_dir, leaders=True)

    def start(self, tell: Callable[[str], object] = lambda _: None) -> None:
        """Start supervisord, or let a running one take over a changed configuration; `tell` of restarts."""
        conf = supervisor_conf(self._settings, self._layout, self._services)
        if self.is_running():
            if write_private(self._layout.supervisor_conf, conf):
                self._update(tell)
            return
        place = self._settings.process_host
        length_bytes = len(os.fsencode(place))
        if place.startswith("/") and length_bytes > LONGEST_SOCKET:
            raise ProcessHostError(
                f"{place} is too long for the process host's socket, {length_bytes} bytes, expected at most "
                f"{LONGEST_SOCKET}: set LOGPIPE_STATE_DIR to a folder with a shorter path"
            )
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
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.is_running():
            if time.monotonic() > deadline:
                raise ProcessHostError(
                    f"supervisord does not answer: see {self._layout.logs_dir}/supervisord.log"
                )
            time.sleep(0.1)

    def _update(self, tell: Callable[[str], object]) -> None:
        """Restart what has another configuration now, leave the rest alone."""
        host = self.client
        added, changed, removed = host.call("reloadConfig")[0]
        running = [process for process in host.processes() if process.pid]
        stopped = [process for process in running if process.service in {*changed, *removed}]
        if stopped:
            names = ", ".join(process.service for process in stopped)
            tell(f"Settings are other ones than at the start: {names} start again")
        for process in stopped:
            host.stop(process.service, process.variant)
        for group in [*changed, *removed]:
            host.call("removeProcessGroup", group)
        for group in [*changed, *added]:
            host.call("addProcessGroup", group)
        kept = {process.label for process in host.processes()}
        for process in running:
            if process.service in changed and process.label in kept:
                host.start(process.service, process.variant)

    def shut_down(self) -> None:
        """Stop everything that still runs, and supervisord itself."""
        host = self.client
        process = psutil.Process(host.call("getPID"))
        host.call("shutdown")
        try:
            process.wait(SHUTDOWN_TIMEOUT_S)
        except psutil.TimeoutExpired:
            raise ProcessHostError(
                f"supervisord (process {process.pid}) did not end within {SHUTDOWN_TIMEOUT_S:.0f} s: "
                f"see {self._layout.logs_dir}/supervisord.log"
            ) from None
        end_leftovers(self._layout.state_dir, leaders=True)
