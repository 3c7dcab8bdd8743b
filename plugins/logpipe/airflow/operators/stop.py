"""Stopping services on request."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.service import FlumeAgentTask, ReplayerTask, ServiceTask, WindowsJobTask
from logpipe.hosts.services import streams

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.services.kinds import Service

ALL_SERVICES = "all"
_POLL_S = 0.2


class ServiceStopOperator(ServiceTask):
    """Drains a service and stops it, whatever variant runs. A task that supervises it then succeeds.

    Args:
        only: skip unless this is the service's name, or ``all``.
        drain_timeout_s: stop it all the same when it has not drained by then; the log tells what it held.
        kwargs: as in `ServiceTask`.
    """

    template_fields: Sequence[str] = (*ServiceTask.template_fields, "only")

    def __init__(
        self,
        *,
        only: str = ALL_SERVICES,
        drain_timeout_s: float = 20,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.only = only
        self.drain_timeout_s = drain_timeout_s

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


class FlumeAgentStopOperator(FlumeAgentTask, ServiceStopOperator):
    """Stops a Flume agent once its channel is empty, and the topic it empties is at its end.

    Args:
        kwargs: as in `FlumeAgentTask` and `ServiceStopOperator`.
    """

    template_fields: Sequence[str] = (*FlumeAgentTask.template_fields, "only")


class ReplayerStopOperator(ReplayerTask, ServiceStopOperator):
    """Stops the running replays, each once what is in flight is acknowledged, then the replayer.

    A task that follows one of them fails with the reason; clearing it goes on after the last line.

    Args:
        kwargs: as in `ReplayerTask` and `ServiceStopOperator`.
    """

    template_fields: Sequence[str] = (*ReplayerTask.template_fields, "only")


class SparkStreamingStopOperator(WindowsJobTask, ServiceStopOperator):
    """Stops the windows job, wherever it runs; on YARN with its batch finished.

    Args:
        kwargs: as in `WindowsJobTask` and `ServiceStopOperator`.
    """

    template_fields: Sequence[str] = (*WindowsJobTask.template_fields, "only")


def stops(only: str) -> list[ServiceStopOperator]:
    """A task for each service of the table that DAGs start, in the order in which they stop.

    Args:
        only: name of the one that is to be stopped, or ``all``, or its template.
    """
    kinds = {
        kind.kind: kind for kind in (FlumeAgentStopOperator, ReplayerStopOperator, SparkStreamingStopOperator)
    }
    return [
        kinds[task.kind](task_id=task.task_id, service=service.name, only=only)
        for service, task in reversed(streams())
    ]
