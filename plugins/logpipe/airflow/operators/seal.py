"""Sealing a dated HDFS directory."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.days import day_of

if TYPE_CHECKING:
    from airflow.sdk import Context

_ENDED_WELL = ("sealed", "empty", "forgotten")


class NotSealedError(RuntimeError):
    """A day is not sealed; the message says why, and what to do."""


class SealOperator(BaseOperator):
    """Has a process host seal a day that is over: few large files, ``_manifest.json``, ``_SUCCESS``.

    The batch program belongs to the process host, so it outlives this task and a restart of Airflow. One
    runs at a time: a task that finds another one waits for its end first. It may be killed and run again at
    any moment. With outlets, their asset events hold date and lines; for a day without lines it is skipped.

    Args:
        date: the day, ISO; without one the day before the run's logical date.
        zone: whose midnight parts the days.
        service: the program's name at the process host; it takes the date from its standard input.
        process_host_conn_id: connection to the process host.
    """

    template_fields: Sequence[str] = ("date", "process_host_conn_id")

    def __init__(
        self,
        *,
        date: str | None = None,
        zone: str = "UTC",
        service: str = "seal",
        process_host_conn_id: str = "process_host_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.date = date
        self.zone = zone
        self.service = service
        self.process_host_conn_id = process_host_conn_id

    def execute(self, context: "Context") -> None:
        """Start the program, or wait for the one that runs."""
        from logpipe.airflow.triggers.ownership import OWNER_KEY
        from logpipe.airflow.triggers.process_end import ProcessEndTrigger

        day = day_of(context, self.date, self.zone).isoformat()
        pid, is_own = asyncio.run(self._start(day))
        owner = uuid4().hex if is_own else None
        if owner:
            context["ti"].xcom_push(key=OWNER_KEY, value=owner)
            self.log.info("Sealing %s: process %d", day, pid)
        else:
            # Maybe a worker started it and died before it said which day: then it ends by itself.
            self.log.info("Process %d seals already, maybe another day: waiting for its end", pid)
        trigger = ProcessEndTrigger(
            service=self.service, pid=pid, process_host_conn_id=self.process_host_conn_id, owner=owner
        )
        self.defer(trigger=trigger, method_name="finish" if is_own else "start_after")

    async def _start(self, day: str) -> tuple[int, bool]:
        from logpipe.airflow.hooks.process_host import ProcessHostHook

        host = ProcessHostHook(self.process_host_conn_id)
        process = await host.state(self.service)
        if process.up:
            return process.pid, False
        await host.start(self.service)
        started = await host.state(self.service)
        await host.send_line(self.service, day)
        return started.pid, True

    def start_after(self, context: "Context", event: dict[str, Any]) -> None:
        """Start the program once the other one has ended."""
        self.execute(context)

    def finish(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Return the program's report.

        Raises:
            NotSealedError: lines of the day may still come, a file cannot be mended, or an error.
            AirflowSkipException: the day has no lines, or they were forgotten.
        """
        from logpipe.airflow.triggers.process_end import ProcessEndEvent

        outcome = ProcessEndEvent.from_payload(event)
        day = day_of(context, self.date, self.zone).isoformat()
        try:
            report: dict[str, Any] = json.loads(outcome.output[-1])
        except (IndexError, ValueError):
            report = {}
        if report.get("date") != day or report["status"] not in _ENDED_WELL:
            self.log.error("The program's log ends so:\n%s", "\n".join(outcome.log[-20:]))
            raise NotSealedError(
                f"{day} is not sealed ({report.get('status', f'exit status {outcome.exit_status}')}): "
                f"{report.get('reason', 'it ended without a report')}. Clearing this task runs it again"
            )
        told = f"{day} is {report['status']}: {report['lines']} lines"
        if report["status"] != "sealed":  # a task that succeeds emits an event for each outlet
            raise AirflowSkipException(told)
        self.log.info("%s", told)
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"date": day, "lines": report["lines"]}
        return report
