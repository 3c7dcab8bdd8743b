"""Running a batch program of the process host to its end."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.process_end import ProcessEndEvent

_LAST_LINES = 20


class HostProgramError(RuntimeError):
    """A batch program failed; the message is what it reported."""


class HostProgramOperator(BaseOperator):
    """Starts a batch program, or finds it running, and waits for its end, deferred.

    The program outlives this task and a restart of Airflow. The last line that it prints is a JSON object
    with its own ``pid`` and, under ``failed``, what went wrong, empty when nothing did; it becomes the XCom.

    Args:
        service: the program's name at the process host.
        process_host_conn_id: connection to the process host.
    """

    template_fields: Sequence[str] = ("service", "process_host_conn_id")

    def __init__(
        self, *, service: str, process_host_conn_id: str = "process_host_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.process_host_conn_id = process_host_conn_id

    def line(self, context: "Context") -> str:
        """What the program reads from its standard input; empty when it reads nothing."""
        return ""

    def execute(self, context: "Context") -> None:
        """Start the program and defer until it has ended.

        One that runs already does the same work, unless it reads what to do: then its end comes first.
        """
        from logpipe.airflow.hooks.services import ProcessHostHook
        from logpipe.airflow.triggers.ownership import OWNER_KEY
        from logpipe.airflow.triggers.process_end import ProcessEndTrigger

        host = ProcessHostHook(self.process_host_conn_id).get_conn()
        line = self.line(context)
        process = host.state(self.service)
        is_own = not (process.up and line)
        if not process.up:
            host.start(self.service)
            process = host.state(self.service)
            if line:
                host.send_line(self.service, line)
        owner = uuid4().hex if is_own else None
        if owner:
            context["ti"].xcom_push(key=OWNER_KEY, value=owner)
            self.log.info("%s %s runs: process %d", self.service, line, process.pid)
        else:
            # Maybe a worker started it and died before it said what to do: then it ends by itself.
            self.log.info("Process %d does something else: waiting for its end", process.pid)
        self.defer(
            trigger=ProcessEndTrigger(
                service=self.service,
                pid=process.pid,
                process_host_conn_id=self.process_host_conn_id,
                owner=owner,
            ),
            method_name="finish" if is_own else "start_after",
        )

    def start_after(self, context: "Context", event: dict[str, Any]) -> None:
        """Start the program once the other one has ended."""
        self.execute(context)

    def finish(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Return the program's report.

        Raises:
            HostProgramError: it was killed, or a part of its work failed.
        """
        from logpipe.airflow.triggers.process_end import ProcessEndEvent

        outcome = ProcessEndEvent.from_payload(event)
        try:
            report: dict[str, Any] = json.loads(outcome.output[-1])
        except (IndexError, ValueError):
            report = {}
        if reason := self.failure(context, outcome, report):
            self.log.error("The log of %s ends so:\n%s", self.service, "\n".join(outcome.log[-_LAST_LINES:]))
            raise HostProgramError(f"{reason}. Clear the task to repeat it")
        self.log.info("%s: %s", self.service, report)
        return report

    def failure(self, context: "Context", outcome: "ProcessEndEvent", report: dict[str, Any]) -> str:
        """Say what went wrong, empty when nothing did; the report may be another process's, or none."""
        if report.get("pid") != outcome.pid:
            return f"{self.service} (process {outcome.pid}): it ended without a report"
        return f"{self.service} (process {outcome.pid}): {report['failed']}" if report["failed"] else ""
