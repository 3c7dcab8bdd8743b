"""Stopping services on request."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.services.kinds import Service

ALL_SERVICES = "all"
_POLL_S = 0.2


class ServiceStopOperator(BaseOperator):
    """Drains a service and stops it, whatever variant runs. A task that supervises it then succeeds.

    Args:
        service: its name at the process host.
        only: skip unless this is the service's name, or ``all``.
        process_host_conn_id: connection to the process host.
        drain_timeout_s: stop it all the same when it has not drained by then; the log tells what it held.
    """

    template_fields: Sequence[str] = ("service", "only", "process_host_conn_id")

    def __init__(
        self,
        *,
        service: str,
        only: str = ALL_SERVICES,
        process_host_conn_id: str = "process_host_default",
        drain_timeout_s: float = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.only = only
        self.process_host_conn_id = process_host_conn_id
        self.drain_timeout_s = drain_timeout_s

    def kept(self) -> "Service":
        """Return the service that is stopped."""
        from logpipe.airflow.services.kinds import Plain

        return Plain(service=self.service, process_host_conn_id=self.process_host_conn_id)

    def execute(self, context: "Context") -> list[str]:
        """Return the names of what was stopped, none when the service did not run.

        Raises:
            AirflowSkipException: another service is to be stopped.
            ClientError: its host is away, or the process has not ended in time.
        """
        if self.only not in {ALL_SERVICES, self.service}:
            raise AirflowSkipException(f"Only {self.only} is to be stopped")
        service = self.kept()
        if not service.host.up():
            self.log.info("%s does not run", self.service)
            return []
        started = time.monotonic()
        if left := self._drain(service, started + self.drain_timeout_s):
            self.log.warning("%s is stopped although %s after %s s", self.service, left, self.drain_timeout_s)
        stopped = service.host.stop(service.patience.stop_s)
        self.log.info("Stopped %s after %.1f s", ", ".join(stopped), time.monotonic() - started)
        return stopped

    def _drain(self, service: "Service", deadline: float) -> str:
        from logpipe.clients.errors import ClientError

        try:
            while (left := service.undrained()) and time.monotonic() < deadline:
                time.sleep(_POLL_S)
        except ClientError as error:
            self.log.warning("What %s holds is not known: %s", self.service, error)
            return ""
        return left


class FlumeAgentStopOperator(ServiceStopOperator):
    """Stops a Flume agent once its channel is empty, and the topic it empties is at its end.

    Args:
        flume_agent_conn_id: connection to the agent's metrics endpoint.
        empties_topic: it brings the pipeline's topic to HDFS.
        kwargs: as in `ServiceStopOperator`.
    """

    def __init__(self, *, flume_agent_conn_id: str, empties_topic: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flume_agent_conn_id = flume_agent_conn_id
        self.empties_topic = empties_topic

    def kept(self) -> "Service":
        """Return the agent."""
        from logpipe.airflow.services.kinds import FlumeAgent

        return FlumeAgent(
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            flume_agent_conn_id=self.flume_agent_conn_id,
            empties_topic=self.empties_topic,
        )


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

    def kept(self) -> "Service":
        """Return the replayer."""
        from logpipe.airflow.services.kinds import Replayer

        return Replayer(
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            replayer_conn_id=self.replayer_conn_id,
        )


class SparkStreamingStopOperator(ServiceStopOperator):
    """Stops the windows job, wherever it runs; on YARN with its batch finished.

    Args:
        yarn_conn_id: connection to the ResourceManager's web server.
        kwargs: as in `ServiceStopOperator`.
    """

    def __init__(self, *, service: str = "analytics", yarn_conn_id: str = "yarn_default", **kwargs: Any):
        super().__init__(service=service, **kwargs)
        self.yarn_conn_id = yarn_conn_id

    def kept(self) -> "Service":
        """Return the windows job."""
        from logpipe.airflow.services.kinds import WindowsJob

        return WindowsJob(
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            yarn_conn_id=self.yarn_conn_id,
        )
