"""Sealing a dated HDFS directory."""

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowSkipException

from logpipe import settings
from logpipe.airflow.operators.day_program import DayProgram
from logpipe.airflow.operators.days import day_before
from logpipe.airflow.operators.lineage import days_asset, lineage, tell_partition, topic_asset
from logpipe.digest import Digest

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
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
    at any moment. With outlets, each has two events, a plain one and one of the partition of that date (ISO),
    whose ``extra`` holds date, lines and digest; a day without lines is skipped.

    Args:
        kwargs: as in `DayProgram`.
    """

    program = "seal"
    ended_well = ("sealed", "empty", "forgotten")
    undone = "is not sealed"
    sealed: dict[str, Any] | None = None  # the program's report, once it is

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
            told = {name: report[name] for name in ("date", "lines", "digest")}
            tell_partition(context["outlet_events"][asset], report["date"], told)
        self.sealed = report
        return report

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage | None":
        """What the OpenLineage provider asks for, if it is installed: from the topic to the day's folder."""
        if self.sealed is None:
            return None
        conf = settings.load()
        day = f"{datetime.fromisoformat(self.sealed['date']):%y-%m-%d}"
        return lineage(
            topic_asset(conf).uri,
            f"{days_asset(conf).uri}/{day}",
            Digest.from_json(self.sealed["digest"]),
        )
