"""Which day a run is about."""

from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from logpipe.settings import zone_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class DateError(ValueError):
    """A date is none; the message holds it."""


def day_of(context: "Context", given: str | None, zone: str) -> date:
    """Return the given day, or else the one before the run's logical date, or before its start.

    Args:
        context: of the task.
        given: ISO date; None, empty or "None" (a template's) for the day before.
        zone: whose midnight parts the days.

    Raises:
        DateError: what was given is no date.
    """
    if not given or given == "None":
        run = context["dag_run"]
        moment: datetime = run.logical_date or run.run_after
        return moment.astimezone(zone_of(zone)).date() - timedelta(days=1)
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise DateError(f"{given!r} is no date: expected one such as 2026-11-23, or nothing") from None
