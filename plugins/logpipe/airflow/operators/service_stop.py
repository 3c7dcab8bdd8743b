"""Stopping services on request."""

import asyncio
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

ALL_SERVICES = "all"


class ServiceStopOperator(BaseOperator):
    """Drains a service and stops it, whatever variant runs. A task that supervises it then succeeds.

    Args:
        service: its name at the process host.
        only: skip unless this is the service's name, or ``all``.
        process_host_conn_id: connection to the process host.
        drain_timeout_s: stop it all the same when it has not drained by then; the log tells what it held.
        stop_timeout_s: the task fails when the process has not ended by then.
    """

    template_fields: Sequence[str] = ("service", "only", "process_host_conn_id")

    def __init__(
        self,
        *,
        service: str,
        only: str = ALL_SERVICES,
        process_host_conn_id: str = "process_host_default",
        drain_timeout_s: float = 20,
        stop_timeout_s: float = 60,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.only = only
        self.process_host_conn_id = process_host_conn_id
        self.drain_timeout_s = drain_timeout_s
        self.stop_timeout_s = stop_timeout_s

    async def undrained(self) -> str:
        """Say what the service still holds and would lose with a stop; empty when nothing."""
        return ""

    def execute(self, context: "Context") -> list[str]:
        """Return the names of the processes that were stopped, none when the service did not run.

        Raises:
            AirflowSkipException: another service is to be stopped.
        """
        if self.only not in {ALL_SERVICES, self.service}:
            raise AirflowSkipException(f"Only {self.only} is to be stopped")
        return asyncio.run(self._stop())

    async def _stop(self) -> list[str]:
        from logpipe.airflow.hooks.process_host import ProcessHostHook

        host = ProcessHostHook(self.process_host_conn_id)
        running = [process for process in await host.variants(self.service) if process.up]
        if not running:
            self.log.info("%s does not run", self.service)
            return []
        started = time.monotonic()
        if left := await self._drain(started + self.drain_timeout_s):
            self.log.warning("%s is stopped although %s after %s s", self.service, left, self.drain_timeout_s)
        for process in running:
            await host.stop(process.service, process.variant, timeout_s=self.stop_timeout_s)
            self.log.info("Stopped %s after %.1f s", process.label, time.monotonic() - started)
        return [process.label for process in running]

    async def _drain(self, deadline: float) -> str:
        from logpipe.airflow.hooks.http_service import ServiceUnreachableError

        try:
            while (left := await self.undrained()) and time.monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        except ServiceUnreachableError as error:
            self.log.warning("What %s holds is not known: %s", self.service, error)
            return ""
        return left


class FlumeAgentStopOperator(ServiceStopOperator):
    """Stops a Flume agent once its channel is empty, and the topic it empties is at its end.

    Args:
        flume_agent_conn_id: connection to the agent's metrics endpoint.
        topic: the topic that the agent empties, if any.
        consumer_group: the group as which it does.
        logs_dir: where profile durable keeps its chain of links, which tells what is flushed.
        kwargs: as in `ServiceStopOperator`.
    """

    def __init__(
        self,
        *,
        flume_agent_conn_id: str,
        topic: str | None = None,
        consumer_group: str | None = None,
        logs_dir: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.flume_agent_conn_id = flume_agent_conn_id
        self.topic = topic
        self.consumer_group = consumer_group
        self.logs_dir = logs_dir

    async def undrained(self) -> str:
        """Say how many events the agent still holds, or has not yet taken from its topic."""
        from logpipe.airflow.triggers.flume_agent import FlumeAgentTrigger

        agent = FlumeAgentTrigger(
            service=self.service,
            flume_agent_conn_id=self.flume_agent_conn_id,
            topic=self.topic,
            consumer_group=self.consumer_group,
            logs_dir=self.logs_dir,
        )
        return await agent.undrained()


class ReplayerStopOperator(ServiceStopOperator):
    """Stops the running replays, each once what is in flight is acknowledged, then the replayer.

    A task that follows one of them fails with the reason; clearing it goes on after the last line.

    Args:
        replayer_conn_id: connection to the replayer.
        kwargs: as in `ServiceStopOperator`.
    """

    def __init__(
        self, *, service: str = "replayer", replayer_conn_id: str = "replayer_default", **kwargs: Any
    ):
        super().__init__(service=service, **kwargs)
        self.replayer_conn_id = replayer_conn_id

    async def undrained(self) -> str:
        """Ask each running replay to stop; say how many still run."""
        from logpipe.airflow.hooks.replayer import ReplayerHook

        replayer = ReplayerHook(self.replayer_conn_id)
        running = [record for record in await replayer.replays() if record["state"] == "running"]
        for record in running:
            await replayer.stop(record["replay_id"])
        return f"{len(running)} replays run" if running else ""
