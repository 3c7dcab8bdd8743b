"""Running a batch program of the process host to its end."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context


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

    def execute(self, context: "Context") -> None:
        """Start the program and defer until it has ended."""
        from logpipe.airflow.triggers.ownership import OWNER_KEY
        from logpipe.airflow.triggers.process_end import ProcessEndTrigger

        pid = asyncio.run(self._start())
        owner = uuid4().hex
        context["ti"].xcom_push(key=OWNER_KEY, value=owner)
        self.log.info("%s runs: process %d", self.service, pid)
        self.defer(
            trigger=ProcessEndTrigger(
                service=self.service, pid=pid, process_host_conn_id=self.process_host_conn_id, owner=owner
            ),
            method_name="finish",
        )

    async def _start(self) -> int:
        from logpipe.airflow.hooks.process_host import ProcessHostHook

        host = ProcessHostHook(self.process_host_conn_id)
        await host.start(self.service)
        return (await host.state(self.service)).pid

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
        if report.get("pid") != outcome.pid or report["failed"]:
            self.log.error("The log of %s ends so:\n%s", self.service, "\n".join(outcome.log[-20:]))
            why = report["failed"] if report.get("pid") == outcome.pid else "it ended without a report"
            raise HostProgramError(
                f"{self.service} (process {outcome.pid}): {why}. Clear the task to repeat it"
            )
        self.log.info("%s: %s", self.service, report)
        return report
