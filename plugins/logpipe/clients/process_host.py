"""The process host: supervisord, over XML-RPC."""

import http.client
import re
import socket
import time
import xmlrpc.client
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self
from urllib.parse import quote

from logpipe.clients.errors import NobodyListensError, RefusedError, UnreachableError

TIMEOUT_S = 10.0
# Fault codes of supervisord's XML-RPC interface.
_SHUTTING_DOWN, _NO_FILE, _ALREADY_STARTED, _NOT_RUNNING = 6, 20, 60, 70
_UP = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})
# Where several hosts may keep a service:
_LOSS_LOOKS, _LOSS_INTERVAL_S = 3, 2.0  # so often none of the hosts that answer runs it, then it is lost
_STOP_MEMORY_S = 60  # an older stop on one host does not tell why the service no longer runs on another
_NOT_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class ProcessHostError(RefusedError):
    """The process host does not know the service, or refused or failed to do what was asked."""


@dataclass(frozen=True, slots=True)
class Process:
    """One process that the host keeps, as it stands now."""

    service: str
    variant: str | None
    state: str  # STOPPED, STARTING, RUNNING, BACKOFF, STOPPING, EXITED, FATAL or UNKNOWN
    pid: int  # 0 when there is none
    uptime_s: int
    exit_status: int
    spawn_error: str
    was_started: bool  # since the process host itself is up
    stopped_s: int = 0  # for how long it has been stopped; 0 while it runs

    @classmethod
    def from_reply(cls, reply: dict[str, Any]) -> Self:
        """Build from one answer of ``getProcessInfo``."""
        group, name = reply["group"], reply["name"]
        return cls(
            service=group,
            variant=None if name == group else name,
            state=reply["statename"],
            pid=reply["pid"],
            uptime_s=max(0, reply["now"] - reply["start"]) if reply["pid"] else 0,
            exit_status=reply["exitstatus"],
            spawn_error=reply["spawnerr"],
            was_started=reply["start"] > 0,
            stopped_s=0 if reply["pid"] else max(0, reply["now"] - reply["stop"]),
        )

    @property
    def label(self) -> str:
        """``service`` or ``service:variant``."""
        return f"{self.service}:{self.variant}" if self.variant else self.service

    @property
    def stopped_on_request(self) -> bool:
        """Whether somebody stopped it; a process host that has just come up has stopped nothing."""
        return self.state == "STOPPED" and self.was_started

    @property
    def up(self) -> bool:
        """Whether the process runs, or the host is about to start or stop it."""
        return self.state in _UP


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launch found and did."""

    process: Process
    reattached: bool
    stopped: tuple[str, ...]  # other variants that had to go first


class _OverSocket(http.client.HTTPConnection):
    """HTTP to a server that listens at a path."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost")
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class _Transport(xmlrpc.client.Transport):
    accept_gzip_encoding = False

    def __init__(self, timeout_s: float, path: str = "") -> None:
        super().__init__()
        self._timeout_s = timeout_s
        self._path = path

    def make_connection(self, host: Any) -> http.client.HTTPConnection:
        connection = super().make_connection(host)
        if self._path and not isinstance(connection, _OverSocket):
            connection = _OverSocket(self._path)
            self._connection = host, connection
        connection.timeout = self._timeout_s
        return connection

    def parse_response(self, response: Any) -> Any:
        # A log's tail may hold characters that XML forbids and supervisord does not escape.
        parser, unmarshaller = self.getparser()
        parser.feed(_NOT_XML.sub(b"?", response.read()))
        parser.close()
        return unmarshaller.close()


class ProcessHost:
    """Starts, stops and watches services on one host, or on several.

    With several hosts a service is looked for on all of them, and started on the one that runs most: when a
    host is lost, its services come up on another one. One object of this class stays with the host that it
    chose. A service with variants (a Flume agent with one process per delivery profile) is a supervisord
    group with a process per variant, of which at most one runs.

    Args:
        hosts: where a supervisord has its HTTP server, or the path of its socket on this machine.
        port: of the first kind.
        user: with ``password``, as in supervisord's configuration of the server.
        timeout_s: for each answer.
        scheme: only http is supervisord's own.
        known_as: where the address stands, for messages.
    """

    def __init__(
        self,
        hosts: Sequence[str],
        port: int | None,
        user: str = "",
        password: str = "",
        *,
        timeout_s: float = TIMEOUT_S,
        scheme: str = "http",
        known_as: str = "",
    ) -> None:
        self.hosts = tuple(hosts)
        self._port = port
        self._login = f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else ""
        self._timeout_s = timeout_s
        self._scheme = scheme
        self._known_as = f" ({known_as})" if known_as else ""
        self._chosen = self.hosts[0] if len(self.hosts) == 1 else None

    def call(self, method: str, *arguments: Any, host: str | None = None) -> Any:
        """Call one of supervisord's own methods.

        Raises:
            UnreachableError: no answer in time, or it is shutting down.
            ProcessHostError: it refuses login and password.
            xmlrpc.client.Fault: it refuses the call.
        """
        place = host or self._chosen or self.hosts[0]
        path = place if place.startswith("/") else ""
        address = f"{'localhost' if path else self._at(place)}/RPC2"
        shown = f"{path or f'{self._scheme}://{address}'}{self._known_as}"
        # A proxy is one connection, and no two threads may share it: one proxy a call.
        url = f"{self._scheme}://{self._login}{address}"
        try:
            with xmlrpc.client.ServerProxy(url, transport=_Transport(self._timeout_s, path)) as server:
                return getattr(server.supervisor, method)(*arguments)
        except xmlrpc.client.ProtocolError as error:
            if error.errcode == http.HTTPStatus.UNAUTHORIZED:
                raise ProcessHostError(
                    f"The process host at {shown} refused login and password: they must equal those of "
                    "supervisord's configuration"
                ) from None
            raise UnreachableError(f"{shown} answered {method} with HTTP {error.errcode}") from None
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTTING_DOWN:
                raise UnreachableError(f"The process host at {shown} is shutting down") from None
            raise
        except (ConnectionRefusedError, FileNotFoundError):  # a socket that is gone, or was left behind
            raise NobodyListensError(f"No process host listens at {shown}") from None
        except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
            raise UnreachableError(f"No answer from the process host at {shown}: {error!r}") from None

    def _at(self, place: str | None) -> str:
        return f"{place}" if place and place.startswith("/") else f"{place}:{self._port}"

    # ------------------------------------------------------------------ looking

    def processes(self, host: str | None = None) -> list[Process]:
        """List all that one host keeps."""
        return [Process.from_reply(item) for item in self.call("getAllProcessInfo", host=host)]

    def _choose(self, service: str) -> None:
        """Choose among several hosts: the one that runs the service, or else the one that runs most.

        Raises:
            UnreachableError: no host answers.
        """
        if self._chosen is not None:
            return
        for look in range(_LOSS_LOOKS):
            known = self._processes_of_all()
            running = {host: [process for process in known[host] if process.up] for host in known}
            found = any(process.service == service for up in running.values() for process in up)
            if found or len(known) == len(self.hosts):
                break
            if look + 1 < _LOSS_LOOKS:
                time.sleep(_LOSS_INTERVAL_S)
        self._chosen = max(
            known,
            key=lambda host: (
                any(process.service == service for process in running[host]),
                len(running[host]),
            ),
        )

    def _processes_of_all(self) -> dict[str, list[Process]]:
        """Ask every host for all its processes; one that does not answer is left out."""
        known, away = {}, []
        with ThreadPoolExecutor(len(self.hosts), "process-hosts") as pool:
            asked = {host: pool.submit(self.processes, host) for host in self.hosts}
        for host, answer in asked.items():
            try:
                known[host] = answer.result()
            except UnreachableError as error:
                away.append(str(error))
        if not known:
            raise UnreachableError("; ".join(away))
        return known

    def variants(self, service: str) -> list[Process]:
        """List the processes of a service: one, or one per variant.

        Raises:
            ProcessHostError: the host keeps no such service.
        """
        self._choose(service)
        everything = self.processes()
        processes = [process for process in everything if process.service == service]
        if not processes:
            known = ", ".join(sorted({process.service for process in everything}))
            raise ProcessHostError(
                f"The process host at {self._at(self._chosen)}{self._known_as} keeps no service "
                f"{service!r}, only: {known}"
            )
        return processes

    def state(self, service: str, variant: str | None = None) -> Process:
        """Return the state of one process.

        Raises:
            ProcessHostError: no such service, or not in this variant.
        """
        self._choose(service)
        try:
            process = Process.from_reply(self.call("getProcessInfo", _full_name(service, variant)))
        except xmlrpc.client.Fault:
            known = ", ".join(process.label for process in self.variants(service))
            raise ProcessHostError(f"Service {service} has no variant {variant!r}, only: {known}") from None
        if len(self.hosts) > 1 and process.stopped_s > _STOP_MEMORY_S:
            return replace(process, was_started=False)
        return process

    # ------------------------------------------------------------------ acting

    def _act(self, method: str, service: str, variant: str | None, *more: Any, tolerated: int = 0) -> None:
        """Have something done to a process; a fault that says that it is done already is none."""
        self._choose(service)
        try:
            self.call(method, _full_name(service, variant), *more)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != tolerated:
                raise ProcessHostError(
                    f"The process host at {self._at(self._chosen)}{self._known_as} refused {method} of "
                    f"{_full_name(service, variant)}: {fault.faultString}"
                ) from None

    def start(self, service: str, variant: str | None = None) -> None:
        """Start a process and return at once; one that runs already is left alone."""
        self._act("startProcess", service, variant, False, tolerated=_ALREADY_STARTED)

    def kill(self, service: str, variant: str | None = None) -> None:
        """Send SIGKILL; the host brings the process back when it is set to restart."""
        self._act("signalProcess", service, variant, "KILL", tolerated=_NOT_RUNNING)

    def send_line(self, service: str, line: str) -> None:
        """Write a line to the standard input of a process that runs."""
        self._act("sendProcessStdin", service, None, f"{line}\n")

    def stop(self, service: str, variant: str | None = None, *, timeout_s: float = 60) -> None:
        """Ask a process to end, and wait until it has; the host kills one that outstays its stop time.

        Raises:
            ProcessHostError: still there after ``timeout_s`` seconds.
        """
        self._act("stopProcess", service, variant, False, tolerated=_NOT_RUNNING)
        deadline = time.monotonic() + timeout_s
        while (process := self.state(service, variant)).up:
            if time.monotonic() > deadline:
                raise ProcessHostError(
                    f"{process.label} is still {process.state} (pid {process.pid}) {timeout_s} s after "
                    "its stop"
                )
            time.sleep(0.1)

    def launch(self, service: str, variant: str | None = None, *, stop_timeout_s: float = 60) -> Launch:
        """Have exactly this variant of a service up: reattach when it is, stop another one first."""
        wanted = self.state(service, variant)
        others = [process for process in self.variants(service) if process.variant != variant and process.up]
        for process in others:
            self.stop(service, process.variant, timeout_s=stop_timeout_s)
        stopped = tuple(process.label for process in others)
        if wanted.state == "STOPPING":
            self.stop(service, variant, timeout_s=stop_timeout_s)
        elif wanted.up:
            return Launch(wanted, reattached=True, stopped=stopped)
        self.start(service, variant)
        return Launch(self.state(service, variant), reattached=False, stopped=stopped)

    def log_tail(
        self,
        service: str,
        variant: str | None = None,
        *,
        max_bytes: int = 4096,
        streams: Sequence[str] = ("Stderr", "Stdout"),
    ) -> list[str]:
        """Return the last lines of the first stream that has some: by default standard error, then output."""
        self._choose(service)
        for stream in streams:
            try:
                text, _, _ = self.call(f"tailProcess{stream}Log", _full_name(service, variant), 0, max_bytes)
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _NO_FILE:
                    raise ProcessHostError(f"No log of {service}: {fault.faultString}") from None
            else:
                if text:
                    return str(text).splitlines()
        return []


def _full_name(service: str, variant: str | None) -> str:
    return f"{service}:{variant or service}"
