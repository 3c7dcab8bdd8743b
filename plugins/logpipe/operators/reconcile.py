"""Making a dated HDFS directory equal to the topic."""

import asyncio
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator

from logpipe.operators.days import day_of

if TYPE_CHECKING:
    from airflow.sdk import Context

_REPAIRS = ("missing_written", "surplus_removed", "moved_home", "recovered_files", "merged_files")


class NotReconciledError(RuntimeError):
    """A day is not known to be complete; the message says why, and what to do."""


class ReconcileOperator(BaseOperator):
    """Has a process host reconcile a day, which leaves ``_manifest.json`` and, once it is over, ``_SUCCESS``.

    The Spark batch job is a program of the process host, so it outlives this task and a restart of Airflow.
    One runs at a time: a task that finds another one waits for its end first. The job may be killed and
    run again at any moment. With outlets, their asset events hold the date, lines and repairs.

    Args:
        date: the day, ISO; without one the day before the run's logical date.
        zone: whose midnight parts the days.
        service: the job's name at the process host; it takes the date from its standard input.
        process_host_conn_id: connection to the process host.
    """

    template_fields: Sequence[str] = ("date", "process_host_conn_id")

    def __init__(
        self,
        *,
        date: str | None = None,
        zone: str = "UTC",
        service: str = "reconcile",
        process_host_conn_id: str = "process_host_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.date = date
        self.zone = zone
        self.service = service
        self.process_host_conn_id = process_host_conn_id

    def execute(self, context: "Context") -> None:
        """Start the job, or wait for the one that runs."""
        from logpipe.triggers.ownership import OWNER_KEY
        from logpipe.triggers.process_end import ProcessEndTrigger

        day = day_of(context, self.date, self.zone).isoformat()
        pid, is_own = asyncio.run(self._start(day))
        owner = uuid4().hex if is_own else None
        if owner:
            context["ti"].xcom_push(key=OWNER_KEY, value=owner)
            self.log.info("Reconciling %s: process %d", day, pid)
        else:
            self.log.info("Process %d reconciles already, maybe another day: waiting for its end", pid)
        trigger = ProcessEndTrigger(
            service=self.service, pid=pid, process_host_conn_id=self.process_host_conn_id, owner=owner
        )
        self.defer(trigger=trigger, method_name="finish" if is_own else "start_after")

    async def _start(self, day: str) -> tuple[int, bool]:
        from logpipe.hooks.process_host import ProcessHostHook

        host = ProcessHostHook(self.process_host_conn_id)
        process = await host.state(self.service)
        if process.up:
            return process.pid, False
        await host.start(self.service)
        await host.send_line(self.service, day)
        return (await host.state(self.service)).pid, True

    def start_after(self, context: "Context", event: dict[str, Any]) -> None:
        """Start the job once the other one has ended."""
        self.execute(context)

    def finish(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Return the job's report.

        Raises:
            NotReconciledError: the day is still being written, retention took a part of it, or an error.
        """
        from logpipe.triggers.process_end import ProcessEndEvent

        outcome = ProcessEndEvent.from_payload(event)
        day = day_of(context, self.date, self.zone).isoformat()
        try:
            report: dict[str, Any] = json.loads(outcome.output[-1])
        except (IndexError, ValueError):
            report = {}
        if report.get("date") != day or report["status"] != "reconciled":
            self.log.error("The job's log ends so:\n%s", "\n".join(outcome.log[-20:]))
            why = report.get("reason") or report.get("unconfirmable") or "it ended without a report"
            raise NotReconciledError(
                f"{day} is not reconciled ({report.get('status', f'exit status {outcome.exit_status}')}): "
                f"{why}. Clearing this task runs it again"
            )
        done = ", ".join(f"{report['repairs'][name]} {name}" for name in _REPAIRS if report["repaired"][name])
        self.log.info("%s is reconciled: %d lines; %s", day, report["lines"], done or "nothing to repair")
        for asset in self.outlets:
            extra = {"date": day, "lines": report["lines"], "repaired": report["repaired"]}
            context["outlet_events"][asset].extra = extra
        return report
