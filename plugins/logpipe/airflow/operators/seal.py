"""Sealing a dated HDFS directory."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.days import day_before, day_of
from logpipe.airflow.operators.host_program import HostProgramOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.process_end import ProcessEndEvent

_ENDED_WELL = ("sealed", "empty", "forgotten")


def day_is_late(context: Mapping[str, Any]) -> None:
    """For a deadline: a run has not sealed its day in time. The page's service makes an alert of it.

    Args:
        context: ``dag_run`` and ``deadline``, as Airflow's scheduler gives them.
    """
    from logpipe.airflow.hooks.services import PageHook

    run, until = context["dag_run"], context["deadline"]["deadline_time"]
    moment = datetime.fromisoformat(run["logical_date"] or run["run_after"])
    day = (run["conf"] or {}).get("date") or day_before(moment).isoformat()
    told = f"run {run['dag_run_id']} of {run['dag_id']} has not sealed it by {until}"
    PageHook().get_conn().late(day, told)


class SealOperator(HostProgramOperator):
    """Has a process host seal a day that is over: few large files, ``_manifest.json``, ``_SUCCESS``.

    One runs at a time: a task that finds another one waits for its end first. It may be killed and run again
    at any moment. With outlets, their asset events hold date and lines; a day without lines is skipped.

    Args:
        date: the day, ISO; without one the day before the run's logical date, in the pipeline's zone.
        kwargs: as in `HostProgramOperator`; the program takes the date from its standard input.
    """

    template_fields: Sequence[str] = (*HostProgramOperator.template_fields, "date")

    def __init__(self, *, date: str | None = None, service: str = "seal", **kwargs: Any) -> None:
        super().__init__(service=service, **kwargs)
        self.date = date

    def line(self, context: "Context") -> str:
        """The day, ISO."""
        return day_of(context, self.date).isoformat()

    def finish(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Return the program's report.

        Raises:
            HostProgramError: lines of the day may still come, a file cannot be mended, or an error.
            AirflowSkipException: the day has no lines, or they were forgotten.
        """
        report = super().finish(context, event)
        if report["status"] != "sealed":  # a task that succeeds emits an event for each outlet
            raise AirflowSkipException(f"{report['date']} is {report['status']}: {report['lines']} lines")
        for asset in self.outlets:
            context["outlet_events"][asset].extra = {"date": report["date"], "lines": report["lines"]}
        return report

    def failure(self, context: "Context", outcome: "ProcessEndEvent", report: dict[str, Any]) -> str:
        """Say why the day is not sealed."""
        day = self.line(context)
        if report.get("date") == day and report["status"] in _ENDED_WELL:
            return ""
        status = report.get("status", f"exit status {outcome.exit_status}")
        return f"{day} is not sealed ({status}): {report.get('reason', 'it ended without a report')}"
