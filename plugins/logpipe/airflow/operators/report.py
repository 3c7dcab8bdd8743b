"""The report of a sealed day."""

from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.day_program import DayProgram

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey


class ReportLink(BaseOperatorLink):
    """From the task to the report, on Airflow's own page; none before there is one."""

    name = "Report"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """The report's address."""
        from airflow.sdk.configuration import conf

        from logpipe.airflow.page.reports import path_of

        day = getattr(operator, "reported", "")
        return f"{conf.get('api', 'base_url').rstrip('/')}/{path_of(day)}" if day else ""


class ReportOperator(DayProgram):
    """Has a process host report on a sealed day: ``_report.html`` and ``_report.json`` beside its manifest.

    The same lines give the same report, so it may run again at any time, also for a day of long ago.

    Args:
        kwargs: as in `DayProgram`.
    """

    program = "report"
    ended_well = ("reported", "absent")
    undone = "has no report"
    untold = "it ended without one"
    operator_extra_links = (ReportLink(),)
    reported = ""  # the day, as its folder is called, once it has its report

    def finish(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Return what the program told: the date and the day's main figures.

        Raises:
            HostProgramError: a file does not hold what the manifest says, or an error.
            AirflowSkipException: the day is not sealed, or was forgotten.
        """
        told = super().finish(context, event)
        if told["status"] != "reported":
            raise AirflowSkipException(f"{told['date']} has no report: {told['reason']}")
        self.reported = told["day"]
        return told
