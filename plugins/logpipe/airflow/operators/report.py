"""The report of a sealed day."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperatorLink
from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.days import day_of
from logpipe.airflow.operators.host_program import HostProgramOperator

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context
    from airflow.sdk.types import TaskInstanceKey

    from logpipe.airflow.triggers.process_end import ProcessEndEvent


class ReportLink(BaseOperatorLink):
    """From the task to the report, on Airflow's own page; none before there is one."""

    name = "Report"

    def get_link(self, operator: "BaseOperator", *, ti_key: "TaskInstanceKey") -> str:
        """The report's address."""
        from airflow.sdk.configuration import conf

        from logpipe.airflow.page.reports import path_of

        day = getattr(operator, "reported", "")
        return f"{conf.get('api', 'base_url').rstrip('/')}/{path_of(day)}" if day else ""


class ReportOperator(HostProgramOperator):
    """Has a process host report on a sealed day: ``_report.html`` and ``_report.json`` beside its manifest.

    The same lines give the same report, so it may run again at any time, also for a day of long ago.

    Args:
        date: the day, ISO; without one the day before the run's logical date, in the pipeline's zone.
        kwargs: as in `HostProgramOperator`; the program takes the date from its standard input.
    """

    template_fields: Sequence[str] = (*HostProgramOperator.template_fields, "date")
    operator_extra_links = (ReportLink(),)

    def __init__(self, *, date: str | None = None, service: str = "report", **kwargs: Any) -> None:
        super().__init__(service=service, **kwargs)
        self.date = date
        self.reported = ""

    def line(self, context: "Context") -> str:
        """The day, ISO."""
        return day_of(context, self.date).isoformat()

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

    def failure(self, context: "Context", outcome: "ProcessEndEvent", report: dict[str, Any]) -> str:
        """Say why there is no report."""
        day = self.line(context)
        if report.get("date") == day and report["status"] in ("reported", "absent"):
            return ""
        status = report.get("status", f"exit status {outcome.exit_status}")
        return f"{day} has no report ({status}): {report.get('reason', 'it ended without one')}"
