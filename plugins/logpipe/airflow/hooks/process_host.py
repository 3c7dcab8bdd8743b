"""The process host: supervisord, over XML-RPC."""

import asyncio
import re
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

from logpipe.airflow.hooks.http_service import HttpServiceHook, ServiceUnreachableError

# Fault codes of supervisord's XML-RPC interface.
_SHUTTING_DOWN, _NO_FILE, _ALREADY_STARTED, _NOT_RUNNING = 6, 20, 60, 70
_UP = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})
# Where several hosts may keep a service:
_LOSS_LOOKS, _LOSS_INTERVAL_S = 3, 2.0  # so often none of the hosts that answer runs it, then it is lost
_STOP_MEMORY_S = 60  # an older stop on one host does not tell why the service no longer runs on another
_NOT_XML = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f]")


class ProcessHostError(RuntimeError):
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


class ProcessHostHook(HttpServiceHook):
    """Starts, stops and watches services on one host.

    The connection holds host, port, login and password of supervisord's HTTP server. Where it names several
    hosts, a service is looked for on all of them, and started on the one that runs most: when a host is
    lost, its services come up on another one. One object of this class stays with the host that it chose.

    A service with
    variants (a Flume agent with one process per delivery profile) is a supervisord group with a process
    per variant, of which at most one runs.
    """

    conn_name_attr = "process_host_conn_id"
    default_conn_name: ClassVar[str] = "process_host_default"
    hook_name: ClassVar[str] = "Process host (supervisord)"

    def __init__(self, process_host_conn_id: str = default_conn_name) -> None:
        super().__init__(process_host_conn_id)
        self._chosen: str | None = None

    async def _choose(self, service: str) -> None:
        """Choose among several hosts: the one that runs the service, or else the one that runs most.

        Raises:
            ServiceUnreachableError: no host answers.
        """
        hosts = await self.hosts()
        if self._chosen is not None or len(hosts) == 1:
            return
        for look in range(_LOSS_LOOKS):
            known = await self._processes_of(hosts)
            running = {host: [process for process in known[host] if process.up] for host in known}
            found = any(process.service == service for up in running.values() for process in up)
            if found or len(known) == len(hosts):
                break
            if look + 1 < _LOSS_LOOKS:
                await asyncio.sleep(_LOSS_INTERVAL_S)
        self._chosen = max(
            known,
            key=lambda host: (
                any(process.service == service for process in running[host]),
                len(running[host]),
            ),
        )

    async def _processes_of(self, hosts: list[str]) -> dict[str, list[Process]]:
        """Ask hosts for all their processes; one that does not answer is left out."""
        calls = (self._rpc("getAllProcessInfo", host=host) for host in hosts)
        known: dict[str, list[Process]] = {}
        away = []
        for host, reply in zip(hosts, await asyncio.gather(*calls, return_exceptions=True), strict=True):
            if isinstance(reply, ServiceUnreachableError):
                away.append(str(reply))
            elif isinstance(reply, BaseException):
                raise reply
            else:
                known[host] = [Process.from_reply(item) for item in reply]
        if not known:
            raise ServiceUnreachableError("; ".join(away))
        return known

    async def _rpc(self, method: str, *arguments: Any, host: str | None = None) -> Any:
        request = xmlrpc.client.dumps(arguments, methodname=f"supervisor.{method}").encode()
        reply = await self.call("POST", "/RPC2", body=request, host=host or self._chosen)
        if reply.status == 401:
            raise ProcessHostError(
                f"The process host of connection {self.conn_id} refused login and password: "
                "they must equal those of supervisord's [inet_http_server]"
            )
        if reply.status != 200:
            raise ServiceUnreachableError(
                f"The process host of connection {self.conn_id} answered {method} with HTTP {reply.status}"
            )
        # A log's tail may hold characters that XML forbids and supervisord does not escape.
        try:
            (result,), _ = xmlrpc.client.loads(_NOT_XML.sub(b"?", reply.body))
        except xmlrpc.client.Fault as fault:
            if fault.faultCode == _SHUTTING_DOWN:
                raise ServiceUnreachableError(
                    f"The process host of connection {self.conn_id} is shutting down"
                ) from None
            raise
        return result

    async def variants(self, service: str) -> list[Process]:
        """List the processes of a service: one, or one per variant.

        Raises:
            ProcessHostError: the host keeps no such service.
        """
        await self._choose(service)
        everything = [Process.from_reply(item) for item in await self._rpc("getAllProcessInfo")]
        processes = [process for process in everything if process.service == service]
        if not processes:
            known = ", ".join(sorted({process.service for process in everything}))
            raise ProcessHostError(
                f"The process host of connection {self.conn_id} keeps no service {service!r}, only: {known}"
            )
        return processes

    async def state(self, service: str, variant: str | None = None) -> Process:
        """Return the state of one process.

        Raises:
            ProcessHostError: no such service, or not in this variant.
        """
        await self._choose(service)
        try:
            process = Process.from_reply(await self._rpc("getProcessInfo", _full_name(service, variant)))
            if self._chosen is not None and process.stopped_s > _STOP_MEMORY_S:
                return replace(process, was_started=False)
            return process
        except xmlrpc.client.Fault:
            known = ", ".join(process.label for process in await self.variants(service))
            raise ProcessHostError(f"Service {service} has no variant {variant!r}, only: {known}") from None

    async def start(self, service: str, variant: str | None = None) -> None:
        """Start a process and return at once; one that runs already is left alone."""
        await self._choose(service)
        try:
            await self._rpc("startProcess", _full_name(service, variant), False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _ALREADY_STARTED:
                raise ProcessHostError(
                    f"{service} cannot be started on {self.conn_id}: {fault.faultString}"
                ) from fault

    async def stop(self, service: str, variant: str | None = None, *, timeout_s: float = 60) -> None:
        """Ask a process to end, and wait until it has; the host kills one that outstays its stop time.

        Raises:
            ProcessHostError: still there after ``timeout_s`` seconds.
        """
        await self._choose(service)
        try:
            await self._rpc("stopProcess", _full_name(service, variant), False)
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _NOT_RUNNING:
                raise ProcessHostError(
                    f"{service} cannot be stopped on {self.conn_id}: {fault.faultString}"
                ) from fault
        try:
            async with asyncio.timeout(timeout_s):
                while (await self.state(service, variant)).up:  # noqa: ASYNC110  # another process's state
                    await asyncio.sleep(0.1)
        except TimeoutError:
            process = await self.state(service, variant)
            raise ProcessHostError(
                f"{process.label} is still {process.state} (pid {process.pid}) {timeout_s} s after its stop"
            ) from None

    async def kill(self, service: str, variant: str | None = None) -> None:
        """Send SIGKILL; the host brings the process back when it is set to restart."""
        await self._choose(service)
        try:
            await self._rpc("signalProcess", _full_name(service, variant), "KILL")
        except xmlrpc.client.Fault as fault:
            if fault.faultCode != _NOT_RUNNING:
                raise ProcessHostError(
                    f"{service} cannot be killed on {self.conn_id}: {fault.faultString}"
                ) from fault

    async def launch(self, service: str, variant: str | None = None, *, stop_timeout_s: float = 60) -> Launch:
        """Have exactly this variant of a service up: reattach when it is, stop another one first."""
        wanted = await self.state(service, variant)
        others = [process for process in await self.variants(service) if process.variant != variant]
        stopped = tuple(process.label for process in others if process.up)
        for process in others:
            if process.up:
                await self.stop(service, process.variant, timeout_s=stop_timeout_s)
        if wanted.state == "STOPPING":
            await self.stop(service, variant, timeout_s=stop_timeout_s)
        elif wanted.up:
            return Launch(wanted, reattached=True, stopped=stopped)
        await self.start(service, variant)
        return Launch(await self.state(service, variant), reattached=False, stopped=stopped)

    async def send_line(self, service: str, line: str) -> None:
        """Write a line to the standard input of a process that runs."""
        await self._choose(service)
        try:
            await self._rpc("sendProcessStdin", _full_name(service, None), line + "\n")
        except xmlrpc.client.Fault as fault:
            raise ProcessHostError(
                f"{service} took no input on {self.conn_id}: {fault.faultString}"
            ) from fault

    async def log_tail(
        self,
        service: str,
        variant: str | None = None,
        *,
        max_bytes: int = 4096,
        streams: Sequence[str] = ("Stderr", "Stdout"),
    ) -> list[str]:
        """Return the last lines of the first stream that has some: by default standard error, then output."""
        await self._choose(service)
        for stream in streams:
            try:
                text, _, _ = await self._rpc(
                    f"tailProcess{stream}Log", _full_name(service, variant), 0, max_bytes
                )
            except xmlrpc.client.Fault as fault:
                if fault.faultCode != _NO_FILE:
                    raise ProcessHostError(f"No log of {service}: {fault.faultString}") from fault
            else:
                if text:
                    return str(text).splitlines()
        return []


def _full_name(service: str, variant: str | None) -> str:
    return f"{service}:{variant or service}"
