"""Launching a service, and supervising it."""

import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from logpipe import settings
from logpipe.airflow.operators.first_look import FirstLookMixin

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.services.host import Launched
    from logpipe.airflow.services.kinds import Service

_ASK_AGAIN_S = 2.0


class ServiceNotHealthyError(RuntimeError):
    """A launched service did not become healthy; the message ends with its last log lines."""


class ServiceLaunchOperator(FirstLookMixin):
    """Has one variant of a service up and healthy; a child says what service it is.

    A launch is idempotent: a service that runs in the wanted variant is left alone, whoever started it,
    and another variant is stopped first. Nothing that happens to this task or to Airflow stops the
    service again.

    With ``supervise`` the task stays, deferred, for as long as the service is healthy, and heals it; each
    heal stands in the log and in XCom ``heals``. Then the task is the service: mark it failed or succeeded,
    and the service is drained and stopped; clear it, and the next try takes over what runs. It succeeds
    when the service is stopped at its host, and fails, with the last log lines, when the service does not get
    healthy again or needs more than five heals in ten minutes, on YARN in an hour (``on_failure_callback``
    notifies).

    Args:
        service: its name at the process host.
        variant: the process of the service to run, where it has several.
        process_host_conn_id: connection to the process host.
        supervise: stay for as long as the service is healthy.
        stop_after: task ids of supervising tasks in the same DAG, each with its service: when the run is
            ended, those services are down before this one is stopped.
        start_timeout_s: the task fails when the service is not healthy by then; by default a minute, on YARN
            three.
        first_look_s: the task keeps its worker this long before it defers.
    """

    template_fields: Sequence[str] = ("service", "variant", "process_host_conn_id")

    def __init__(
        self,
        *,
        service: str,
        variant: str | None = None,
        process_host_conn_id: str = "process_host_default",
        supervise: bool = False,
        stop_after: Mapping[str, str] | None = None,
        start_timeout_s: float | None = None,
        first_look_s: float = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.variant = variant
        self.process_host_conn_id = process_host_conn_id
        self.supervise = supervise
        self.stop_after = stop_after
        self.start_timeout_s = start_timeout_s
        self.first_look_s = first_look_s

    @abstractmethod
    def kept(self) -> "Service":
        """Return the service that this task has up."""

    def execute(self, context: "Context") -> dict[str, Any]:
        """Launch or reattach, then wait until healthy; return the event's payload for XCom."""
        from logpipe.airflow.triggers.ownership import OWNER_KEY
        from logpipe.airflow.triggers.service import ServiceTrigger

        service = self.kept()
        start_s = self.start_timeout_s or service.patience.start_s
        launched = self._launch(service, start_s)
        trigger = ServiceTrigger(
            service=service.serialize(),
            start_timeout_s=start_s,
            hung_after_s=service.patience.hung_after_s,
            heal_window_s=service.patience.heal_window_s,
        )
        if self.supervise:
            trigger.supervise = True
            trigger.launched = launched.standing.process
            trigger.stop_after = dict(self.stop_after or {})
            trigger.owner = uuid4().hex  # the trigger belongs to this try
            context["ti"].xcom_push(OWNER_KEY, trigger.owner)
            self.log.info("Supervising %s until it is stopped", self.service)
            self.defer(trigger=trigger, method_name="execute_complete")
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def _launch(self, service: "Service", start_s: float) -> "Launched":
        """Launch; a host that is away is waited for, until the start's time is over."""
        from logpipe.clients.errors import UnreachableError

        deadline = time.monotonic() + start_s
        while True:
            try:
                launched = service.host.launch(service.patience.stop_s)
                break
            except UnreachableError as error:
                if time.monotonic() > deadline:
                    raise
                self.log.warning("Waiting for the host of %s: %s", self.service, error)
            time.sleep(_ASK_AGAIN_S)
        if launched.stopped:
            self.log.info("Stopped %s: only one variant may run", ", ".join(launched.stopped))
        now = launched.standing
        if launched.reattached:
            self.log.info("Reattached to %s: process %s, up for %d s", now.label, now.process, now.uptime_s)
        else:
            self.log.info("Started %s", now.label)
        return launched

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Log and return a healthy event's payload.

        Raises:
            ServiceNotHealthyError: the event says that the service is not healthy.
        """
        from logpipe.airflow.triggers.service import ServiceEvent

        outcome = ServiceEvent.from_payload(event)
        if outcome.stopped:
            told = f"{outcome.reason}, after {outcome.waited_s:.0f} s of supervision"
        elif outcome.healthy:
            told = f"healthy after {outcome.waited_s:.1f} s: process {outcome.process}, {outcome.reason}"
        else:
            tail = "\n".join(outcome.last_log_lines) or "(its log is empty)"
            raise ServiceNotHealthyError(
                f"{outcome.service} is not healthy after {outcome.waited_s} s: {outcome.reason}. "
                f"Its last log lines:\n{tail}"
            )
        self.log.info("%s: %s", outcome.service, told)
        return outcome.to_payload()


class FlumeAgentOperator(ServiceLaunchOperator):
    """Has a Flume agent up in one delivery profile, its metrics endpoint answering.

    Args:
        service: the agent's name at the process host; its variants are the delivery profiles.
        flume_agent_conn_id: connection to the agent's metrics endpoint.
        empties_topic: it brings the pipeline's topic to HDFS, and is drained of it at its end.
        kwargs: as in `ServiceLaunchOperator`.
    """

    template_fields: Sequence[str] = (*ServiceLaunchOperator.template_fields, "flume_agent_conn_id")

    def __init__(self, *, flume_agent_conn_id: str, empties_topic: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.flume_agent_conn_id = flume_agent_conn_id
        self.empties_topic = empties_topic

    def kept(self) -> "Service":
        """Return the agent."""
        from logpipe.airflow.services.kinds import FlumeAgent

        return FlumeAgent(
            service=self.service,
            variant=self.variant,
            process_host_conn_id=self.process_host_conn_id,
            flume_agent_conn_id=self.flume_agent_conn_id,
            empties_topic=self.empties_topic,
        )


class SparkStreamingOperator(ServiceLaunchOperator):
    """Has the driver of the windows job up: under the process host, or on YARN when the settings say so.

    The first batch comes some ten seconds later; a replay need not wait for it, since the job reads the topic
    from where its checkpoint ends. On YARN a live application of the same name is left alone, else one is
    submitted through the Spark provider's hook. A supervised query must keep its heartbeat, and move while
    the topic is ahead of it.

    Args:
        service: the driver's name at the process host.
        spark_driver_conn_id: connection to the driver's page (``spark.ui.port``).
        yarn_conn_id: connection to the ResourceManager's web server.
        spark_conn_id: the provider's connection, ``yarn`` with ``deploy-mode`` ``cluster``.
        kwargs: as in `ServiceLaunchOperator`.
    """

    template_fields: Sequence[str] = (
        *ServiceLaunchOperator.template_fields,
        "spark_driver_conn_id",
        "yarn_conn_id",
        "spark_conn_id",
    )

    def __init__(
        self,
        *,
        service: str = "analytics",
        spark_driver_conn_id: str = "spark_driver_default",
        yarn_conn_id: str = "yarn_default",
        spark_conn_id: str = "spark_default",
        **kwargs: Any,
    ) -> None:
        conf = settings.load()
        kwargs.setdefault(
            "doc_md",
            f"Windows of {conf.window_s} s, one each {conf.slide_s} s, by the lines' {conf.windows_time} "
            f"time, closed {conf.watermark_s} s after their end.",
        )
        super().__init__(service=service, **kwargs)
        self.spark_driver_conn_id = spark_driver_conn_id
        self.yarn_conn_id = yarn_conn_id
        self.spark_conn_id = spark_conn_id

    def kept(self) -> "Service":
        """Return the windows job."""
        from logpipe.airflow.services.kinds import WindowsJob

        return WindowsJob(
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            spark_driver_conn_id=self.spark_driver_conn_id,
            yarn_conn_id=self.yarn_conn_id,
            spark_conn_id=self.spark_conn_id,
        )
