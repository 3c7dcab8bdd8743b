"""Days and schedules in the pipeline's zone."""

import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING

from airflow.sdk import CronTriggerTimetable

from logpipe import settings
from logpipe.contracts.days import parsed
from logpipe.settings import zone_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class DateError(ValueError):
    """A date is none; the message holds it."""


def schedule_of(cron: str) -> CronTriggerTimetable | None:
    """When a DAG runs by itself, by a cron expression in the pipeline's zone; an empty one: never."""
    from pendulum.tz.timezone import FixedTimezone

    if not cron:
        return None
    zone = settings.load().timezone
    offset = zone_of(zone).utcoffset(None) if re.match(r"GMT[+-]", zone) else None
    return CronTriggerTimetable(
        cron, timezone=zone if offset is None else FixedTimezone(int(offset.total_seconds()))
    )


def day_of(context: "Context", given: str | None) -> date:
    """Return the given day, or else the one before the run's logical date, or before its start.

    Args:
        context: of the task.
        given: ISO date; None, empty or "None" (a template's) for the day before.

    Raises:
        DateError: what was given is no date.
    """
    if not given or given == "None":
        run = context["dag_run"]
        return day_before(run.logical_date or run.run_after)
    try:
        return parsed(given)
    except ValueError as error:
        raise DateError(f"{error}, or nothing") from None


def day_before(moment: datetime) -> date:
    """The day before an instant, as the zone's midnight parts them."""
    return _day(moment) - timedelta(days=1)


def days_between(first: str, last: str | None) -> list[date]:
    """List the days from one ISO timestamp to another, both included, as the zone's midnight parts them.

    Args:
        first: with an offset from UTC; a date alone is that day in the zone.
        last: like ``first``, which it is when it is not given.

    Raises:
        DateError: one of them is no time.
    """
    try:
        start, end = (_day(datetime.fromisoformat(text)) for text in (first, last or first))
    except ValueError:
        raise DateError(
            f"first_day is {first!r} and last_day {last!r}, expected ISO timestamps; where a task gives "
            "them, it was marked by hand before it did: clear it"
        ) from None
    return [start + timedelta(days=number) for number in range((end - start).days + 1)]


def _day(moment: datetime) -> date:
    if moment.tzinfo is not None:
        moment = moment.astimezone(zone_of(settings.load().timezone))
    return moment.date()
