"""Repair of a day on HDFS, the exception."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logpipe.airflow.operators.days import day_of
from logpipe.airflow.operators.host_program import HostProgramOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.process_end import ProcessEndEvent


class RepairOperator(HostProgramOperator):
    """Has a process host read a day's files and mend from the topic what is missing or damaged.

    What belongs to nothing is moved aside. It works while lines arrive, and may be killed and run again.

    Args:
        date: the day, ISO; without one the day before the run's logical date, in the pipeline's zone.
        kwargs: as in `HostProgramOperator`; the program takes the date from its standard input.
    """

    template_fields: Sequence[str] = (*HostProgramOperator.template_fields, "date")

    def __init__(self, *, date: str | None = None, service: str = "repair", **kwargs: Any) -> None:
        super().__init__(service=service, **kwargs)
        self.date = date

    def line(self, context: "Context") -> str:
        """The day, ISO."""
        return day_of(context, self.date).isoformat()

    def failure(self, context: "Context", outcome: "ProcessEndEvent", report: dict[str, Any]) -> str:
        """Say what cannot be mended."""
        day = self.line(context)
        if report.get("date") == day and report["status"] == "mended":
            return ""
        status = report.get("status", f"exit status {outcome.exit_status}")
        return f"{day} is not mended ({status}): {report.get('reason', 'it ended without a report')}"
