"""Running a batch program of the process host for one day."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from logpipe.airflow.operators.days import day_of
from logpipe.airflow.operators.host_program import HostProgramOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.process_end import ProcessEndEvent


class DayProgram(HostProgramOperator):
    """What operators of a day have in common: a process host does one thing to it; the task is deferred.

    Args:
        date: the day, ISO; without one the day before the run's logical date, in the pipeline's zone.
        kwargs: as in `HostProgramOperator`; the program takes the date from its standard input.
    """

    program: ClassVar[str]
    ended_well: ClassVar[Sequence[str]]  # what the program's report has as status when nothing is wrong
    undone: ClassVar[str]  # what is to be said of the day otherwise
    untold: ClassVar[str] = "it ended without a report"
    template_fields: Sequence[str] = (*HostProgramOperator.template_fields, "date")

    def __init__(self, *, date: str | None = None, service: str = "", **kwargs: Any) -> None:
        super().__init__(service=service or self.program, **kwargs)
        self.date = date

    def line(self, context: "Context") -> str:
        """The day, ISO."""
        return day_of(context, self.date).isoformat()

    def failure(self, context: "Context", outcome: "ProcessEndEvent", report: dict[str, Any]) -> str:
        """Say what the day lacks, and why."""
        day = self.line(context)
        if report.get("date") == day and report["status"] in self.ended_well:
            return ""
        status = report.get("status", f"exit status {outcome.exit_status}")
        return f"{day} {self.undone} ({status}): {report.get('reason', self.untold)}"
