"""Launching a service through its process host."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from logpipe.airflow.operators.first_look import FirstLookMixin

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.hooks.process_host import Launch
    from logpipe.airflow.triggers.service import ServiceTrigger


class ServiceNotHealthyError(RuntimeError):
    """A launched service did not become healthy; the message ends with its last log lines."""


class ServiceLaunchOperator(FirstLookMixin):
    """Has one variant of a service up and healthy; a child says what healthy means.

    A launch is idempotent: a service that runs in the wanted variant is left alone, whoever started it,
    and another variant is stopped first. Nothing that happens to this task or to Airflow stops the
    service again.

    With ``supervise`` the task stays, deferred, for as long as the service is healthy, and heals it; each
    heal stands in the log and in XCom ``heals``. Then the task is the service: mark it failed or succeeded,
    and the service is drained and stopped; clear it, and the next try takes over what runs. It succeeds
    when the service is stopped at its process host, and fails, with the last log lines,
    when the service does not get healthy again or needs too many heals (``on_failure_callback`` notifies).

    Args:
        service: its name at the process host.
        variant: the process of the service to run, where it has several.
        process_host_conn_id: connection to the process host.
        start_timeout_s: the task fails when the service is not healthy by then.
        stop_timeout_s: the task fails when another variant has not ended by then.
        first_look_s: the task keeps its worker this long before it defers.
        supervise: stay for as long as the service is healthy.
        hung_after_s: a service that is there but not healthy for so long is killed, and so restarted.
        max_heals: the task fails at more heals than this within ``heal_window_s`` seconds.
        stop_after: task ids of supervising tasks in the same DAG, each with its service: when the run is
            ended, those services are down before this one is stopped.
    """

    template_fields: Sequence[str] = ("service", "variant", "process_host_conn_id")

    def __init__(
        self,
        *,
        service: str,
        variant: str | None = None,
        process_host_conn_id: str = "process_host_default",
        start_timeout_s: float = 60,
        stop_timeout_s: float = 60,
        first_look_s: float = 8,
        supervise: bool = False,
        hung_after_s: float = 20,
        max_heals: int = 5,
        heal_window_s: float = 600,
        stop_after: Mapping[str, str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.variant = variant
        self.process_host_conn_id = process_host_conn_id
        self.start_timeout_s = start_timeout_s
        self.stop_timeout_s = stop_timeout_s
        self.first_look_s = first_look_s
        self.supervise = supervise
        self.hung_after_s = hung_after_s
        self.max_heals = max_heals
        self.heal_window_s = heal_window_s
        self.stop_after = stop_after

    @abstractmethod
    def health_trigger(self) -> "ServiceTrigger":
        """Return the trigger that fires once the service is healthy, built with `trigger_arguments`."""

    def trigger_arguments(self) -> dict[str, Any]:
        """Return what the triggers of all services take."""
        return {
            "service": self.service,
            "variant": self.variant,
            "process_host_conn_id": self.process_host_conn_id,
            "start_timeout_s": self.start_timeout_s,
            "hung_after_s": self.hung_after_s,
            "max_heals": self.max_heals,
            "heal_window_s": self.heal_window_s,
            "stop_after": dict(self.stop_after or {}),
        }

    def execute(self, context: "Context") -> dict[str, Any]:
        """Launch or reattach, then wait until healthy; return the event's payload for XCom."""
        launch = asyncio.run(self._launch())
        if launch.stopped:
            self.log.info("Stopped %s: only one variant may run", ", ".join(launch.stopped))
        if launch.reattached:
            self.log.info(
                "Reattached to %s: process %d, up for %d s",
                launch.process.label,
                launch.process.pid,
                launch.process.uptime_s,
            )
        else:
            self.log.info("Started %s", launch.process.label)
        if self.supervise:
            self._supervise(context, launch.process.pid)
        payload = self.defer_unless_soon(self.health_trigger(), self.first_look_s)
        return self.execute_complete(context, payload)

    async def _launch(self) -> "Launch":
        """Launch; a process host that is away is waited for, until the start's time is over."""
        from logpipe.airflow.hooks.http_service import ServiceUnreachableError
        from logpipe.airflow.hooks.process_host import ProcessHostHook

        deadline = time.monotonic() + self.start_timeout_s
        while True:
            host = ProcessHostHook(self.process_host_conn_id)
            try:
                return await host.launch(self.service, self.variant, stop_timeout_s=self.stop_timeout_s)
            except ServiceUnreachableError as error:
                if time.monotonic() > deadline:
                    raise
                self.log.warning("Waiting for the process host: %s", error)
            await asyncio.sleep(2)

    def _supervise(self, context: "Context", pid: int) -> None:
        """Defer to a trigger that belongs to this try."""
        from logpipe.airflow.triggers.ownership import OWNER_KEY

        trigger = self.health_trigger()
        trigger.supervise = True
        trigger.launched_pid = pid
        trigger.owner = uuid4().hex
        context["ti"].xcom_push(OWNER_KEY, trigger.owner)
        self.log.info("Supervising %s until it is stopped", self.service)
        self.defer(trigger=trigger, method_name="execute_complete")

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Log and return a healthy event's payload.

        Raises:
            ServiceNotHealthyError: the event says that the service is not healthy.
        """
        from logpipe.airflow.triggers.service import ServiceEvent

        outcome = ServiceEvent.from_payload(event)
        if outcome.stopped:
            self.log.info(
                "%s: %s, after %.0f s of supervision", outcome.service, outcome.reason, outcome.waited_s
            )
            return outcome.to_payload()
        if not outcome.healthy:
            tail = "\n".join(outcome.last_log_lines) or "(its log is empty)"
            raise ServiceNotHealthyError(
                f"{outcome.service} is not healthy after {outcome.waited_s} s: {outcome.reason}. "
                f"Its last log lines:\n{tail}"
            )
        self.log.info(
            "%s is healthy after %.1f s: process %d, %s",
            outcome.service,
            outcome.waited_s,
            outcome.pid,
            outcome.reason,
        )
        return outcome.to_payload()
