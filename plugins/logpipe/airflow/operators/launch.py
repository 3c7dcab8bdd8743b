"""Launching a service, and supervising it."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logpipe import settings
from logpipe.airflow.operators.first_look import FirstLookMixin
from logpipe.airflow.operators.service import FlumeAgentTask, ServiceTask, WindowsJobTask
from logpipe.airflow.operators.supervising import SupervisingTask
from logpipe.hosts.services import streams

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.services.host import Launched
    from logpipe.airflow.services.kinds import Service


class ServiceNotHealthyError(RuntimeError):
    """A launched service did not become healthy; the message ends with its last log lines."""


class ServiceLaunchOperator(ServiceTask, SupervisingTask, FirstLookMixin):
    """Has one variant of a service up and healthy.

    A launch is idempotent: a service that runs in the wanted variant is left alone, whoever started it,
    and another variant is stopped first. One of the table that has no such variant (an agent without a file
    in this profile) is stopped. Nothing that happens to this task or to Airflow stops the service again.

    With ``supervise`` the task stays, deferred, for as long as the service is healthy, and heals it; each
    heal stands in the log and in XCom ``heals``. Clear it, and the next try takes over what runs; mark it
    failed or succeeded, and its teardown (`teardowns`) drains and stops the service. It succeeds when the
    service is stopped at its host, and fails, with the last log lines, when the service does not get healthy
    again or needs more than five heals in ten minutes, on YARN in an hour (``on_failure_callback`` notifies).

    Args:
        variant: the process of the service to run, where it has several.
        supervise: stay for as long as the service is healthy.
        start_timeout_s: the task fails when the service is not healthy by then; by default a minute, on YARN
            three.
        first_look_s: the task keeps its worker this long before it defers.
        kwargs: as in `ServiceTask`.
    """

    template_fields: Sequence[str] = (*ServiceTask.template_fields, "variant")

    def __init__(
        self,
        *,
        variant: str | None = None,
        supervise: bool = False,
        start_timeout_s: float | None = None,
        first_look_s: float = 8,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.variant = variant
        self.supervise = supervise
        self.start_timeout_s = start_timeout_s
        self.first_look_s = first_look_s

    def execute(self, context: "Context") -> dict[str, Any]:
        """Launch or reattach, then wait until healthy; return the event's payload for XCom."""
        if not self.supervise:
            return self._have_up(context)
        with self.caring(context):
            return self._have_up(context)

    def _have_up(self, context: "Context") -> dict[str, Any]:
        from logpipe.airflow.triggers.service import ServiceTrigger

        service = self.kept()
        variants = {entry.name: entry.variants for entry, _ in streams()}.get(self.service)
        if self.variant and variants and self.variant not in variants:
            stopped = service.host.stop(service.patience.stop_s)
            self.log.info("%s has nothing to run as %s; stopped: %s", self.service, self.variant, stopped)
            return {}
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
            self.log.info("Supervising %s until it is stopped", self.service)
            self.defer(trigger=trigger, method_name="execute_complete")
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def _launch(self, service: "Service", start_s: float) -> "Launched":
        """Launch; a host that is away is waited for, until the start's time is over."""
        from logpipe.clients.away import once_it_answers

        launched = once_it_answers(lambda: service.host.launch(service.patience.stop_s), start_s, self.log)
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


class FlumeAgentOperator(FlumeAgentTask, ServiceLaunchOperator):
    """Has a Flume agent up in one delivery profile, its metrics endpoint answering.

    Args:
        kwargs: as in `FlumeAgentTask` and `ServiceLaunchOperator`; an agent's variants are the profiles.
    """

    template_fields: Sequence[str] = (*FlumeAgentTask.template_fields, "variant")


class SparkStreamingOperator(WindowsJobTask, ServiceLaunchOperator):
    """Has the driver of the windows job up: under the process host, or on YARN when the settings say so.

    The first batch comes some ten seconds later; a replay need not wait for it, since the job reads the topic
    from where its checkpoint ends. On YARN a live application of the same name is left alone, else one is
    submitted through the Spark provider's hook. A supervised query must keep its heartbeat, and move while
    the topic is ahead of it.

    Args:
        kwargs: as in `WindowsJobTask` and `ServiceLaunchOperator`.
    """

    def __init__(self, **kwargs: Any) -> None:
        conf = settings.load()
        kwargs.setdefault(
            "doc_md",
            f"Windows of {conf.window_s} s, one each {conf.slide_s} s, by the lines' {conf.windows_time} "
            f"time, closed {conf.watermark_s} s after their end.",
        )
        super().__init__(**kwargs)


def launches(profile: str, *, supervise: bool = False) -> list[ServiceLaunchOperator]:
    """A task for each service of the table that stays up, in the order of their start.

    Args:
        profile: the delivery profile of the agents, or its template.
        supervise: each task stays.
    """
    tasks: list[ServiceLaunchOperator] = []
    for service, task in streams():
        if not task.stays:
            continue
        common: dict[str, Any] = {"task_id": task.task_id, "service": service.name, "supervise": supervise}
        if task.kind == FlumeAgentTask.kind:
            tasks.append(FlumeAgentOperator(variant=profile, **common))
        else:
            tasks.append(SparkStreamingOperator(**common))
    return tasks
