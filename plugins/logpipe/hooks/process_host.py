"""The process host: supervisord, over XML-RPC."""

import asyncio
import re
import xmlrpc.client
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from logpipe.hooks.http_service import HttpServiceHook, ServiceUnreachableError

# Fault codes of supervisord's XML-RPC interface.
_NO_FILE, _ALREADY_STARTED, _NOT_RUNNING = 20, 60, 70
_UP = frozenset({"STARTING", "RUNNING", "BACKOFF", "STOPPING"})
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

    The connection holds host, port, login and password of supervisord's HTTP server. A service with
    variants (a Flume agent with one process per delivery profile) is a supervisord group with a process
    per variant, of which at most one runs.
    """

    conn_name_attr = "process_host_conn_id"
    default_conn_name: ClassVar[str] = "process_host_default"
    hook_name: ClassVar[str] = "Process host (supervisord)"

    def __init__(self, process_host_conn_id: str = default_conn_name) -> None:
        super().__init__(process_host_conn_id)

    async def _rpc(self, method: str, *arguments: Any) -> Any:
        request = xmlrpc.client.dumps(arguments, methodname=f"supervisor.{method}").encode()
        reply = await self.call("POST", "/RPC2", body=request)
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
        (result,), _ = xmlrpc.client.loads(_NOT_XML.sub(b"?", reply.body))
        return result

    async def variants(self, service: str) -> list[Process]:
        """List the processes of a service: one, or one per variant.

        Raises:
            ProcessHostError: the host keeps no such service.
        """
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
        try:
            return Process.from_reply(await self._rpc("getProcessInfo", _full_name(service, variant)))
        except xmlrpc.client.Fault:
            known = ", ".join(process.label for process in await self.variants(service))
            raise ProcessHostError(f"Service {service} has no variant {variant!r}, only: {known}") from None

    async def start(self, service: str, variant: str | None = None) -> None:
        """Start a process and return at once; one that runs already is left alone."""
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
