"""Sealing a dated HDFS directory."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.day_program import DayProgram
from logpipe.airflow.operators.days import day_before

if TYPE_CHECKING:
    from airflow.sdk import Context


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


class SealOperator(DayProgram):
    """Has a process host seal a day that is over: few large files, ``_manifest.json``, ``_SUCCESS``.

    One runs at a time: a task that finds another one waits for its end first. It may be killed and run again
    at any moment. With outlets, their asset events hold date and lines; a day without lines is skipped.

    Args:
        kwargs: as in `DayProgram`.
    """

    program = "seal"
    ended_well = ("sealed", "empty", "forgotten")
    undone = "is not sealed"

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
