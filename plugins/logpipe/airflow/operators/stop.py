"""Stopping services on request."""

import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.launch import ServiceLaunchOperator
from logpipe.airflow.operators.service import FlumeAgentTask, ReplayerTask, ServiceTask, WindowsJobTask
from logpipe.airflow.operators.supervising import TEARDOWN_DELAY_S, TEARDOWN_TRIES, in_care_of
from logpipe.airflow.triggers.ownership import GOING_ON
from logpipe.hosts.services import streams

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.services.kinds import Service

ALL_SERVICES = "all"
_POLL_S = 0.2
_ENDS_IN_S = 10.0  # what a service has for its draining when a person ends its supervision


class ServiceStopOperator(ServiceTask):
    """Drains a service and stops it, whatever variant runs. A task that supervises it then succeeds.

    Args:
        only: skip unless this is the service's name, or ``all``.
        drain_timeout_s: stop it all the same when it has not drained by then; the log tells what it held.
        supervised_by: task of the same run whose teardown this is; when that has ended by itself the service
            is left as it is: stopped on request and maybe started anew, or up for a person to look at.
        stop_after: tasks of the same run, each with its service at the same host: those that have ended too
            are waited for, until their services are down.
        kwargs: as in `ServiceTask`.
    """

    template_fields: Sequence[str] = (*ServiceTask.template_fields, "only")

    def __init__(
        self,
        *,
        only: str = ALL_SERVICES,
        drain_timeout_s: float = 20,
        supervised_by: str = "",
        stop_after: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.only = only
        self.drain_timeout_s = drain_timeout_s
        self.supervised_by = supervised_by
        self.stop_after = stop_after

    def execute(self, context: "Context") -> list[str]:
        """Return the names of what was stopped, none when the service did not run.

        Raises:
            AirflowSkipException: another service is to be stopped.
            ClientError: its host is away, or the process has not ended in time.
        """
        if self.only not in {ALL_SERVICES, self.service}:
            raise AirflowSkipException(f"Only {self.only} is to be stopped")
        if self.supervised_by and not in_care_of(context, self.supervised_by):
            self.log.info("%s has ended by itself: %s is left as it is", self.supervised_by, self.service)
            return []
        service = self.kept()
        if not service.host.up():
            self.log.info("%s does not run", self.service)
            return []
        self._wait_for_those_before(context)
        started = time.monotonic()
        if left := self._drain(service, started + self.drain_timeout_s):
            self.log.warning("%s is stopped although %s after %s s", self.service, left, self.drain_timeout_s)
        stopped = service.host.stop(service.patience.stop_s)
        self.log.info("Stopped %s after %.1f s", ", ".join(stopped), time.monotonic() - started)
        return stopped

    def _wait_for_those_before(self, context: "Context") -> None:
        from logpipe.airflow.services.host import OnProcessHost

        if not self.stop_after:
            return
        task = context["ti"]
        states = task.get_task_states(
            dag_id=task.dag_id, run_ids=[task.run_id], task_ids=[*self.stop_after]
        ).get(task.run_id, {})
        deadline = time.monotonic() + self.drain_timeout_s * 2
        for task_id, service in self.stop_after.items():
            if states.get(task_id) in GOING_ON or not in_care_of(context, task_id):
                continue
            host = OnProcessHost(self.process_host_conn_id, service)
            while host.up() and time.monotonic() < deadline:
                time.sleep(_POLL_S)

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


_KINDS = {
    kind.kind: kind for kind in (FlumeAgentStopOperator, ReplayerStopOperator, SparkStreamingStopOperator)
}


def stops(only: str) -> list[ServiceStopOperator]:
    """A task for each service of the table that DAGs start, in the order in which they stop.

    Args:
        only: name of the one that is to be stopped, or ``all``, or its template.
    """
    return [
        _KINDS[task.kind](task_id=task.task_id, service=service.name, only=only)
        for service, task in reversed(streams())
    ]


def _teardown_id(task_id: str) -> str:
    return f"stop_{task_id}"


def teardown_ids() -> list[str]:
    """Ids of the `teardowns` of all that `launches` gives."""
    return [_teardown_id(task.task_id) for _, task in streams() if task.stays]


def teardowns(supervised: Sequence[ServiceLaunchOperator]) -> list[ServiceStopOperator]:
    """A teardown behind each supervising task: once a person ends that, or the run, the service is stopped.

    Airflow has a run end only when its teardowns have, whatever was away when the run was marked. (It cancels
    a trigger that runs, too, but forgets one that no triggerer had begun yet.)

    Args:
        supervised: tasks of `launches`, in its order: a service stops after those that start behind it.
    """
    found: list[ServiceStopOperator] = []
    for number, task in enumerate(supervised):
        stop = _KINDS[task.kind](
            task_id=_teardown_id(task.task_id),
            service=task.service,
            drain_timeout_s=_ENDS_IN_S,
            supervised_by=task.task_id,
            stop_after={later.task_id: later.service for later in supervised[number + 1 :]},
            retries=TEARDOWN_TRIES,
            retry_delay=TEARDOWN_DELAY_S,
        )
        task >> stop.as_teardown()
        found.append(stop)
    return found
