"""Days: dated folders of HDFS, parted by the midnights of `LOGPIPE_TIMEZONE`."""

import re
from datetime import date, datetime, timedelta

from logpipe.settings import zone_of

DAY = re.compile(r"\d\d-\d\d-\d\d")


def name_of(day: date) -> str:
    """The name of a day's folder, ``%y-%m-%d``."""
    return f"{day:%y-%m-%d}"


def date_of(name: str) -> date:
    """The day of a folder's name."""
    return date.fromisoformat(f"20{name}")


def parsed(text: str) -> date:
    """The day that a person names.

    Raises:
        ValueError: it is none, or has no folder of its own.
    """
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text!r} is no day, expected one such as 2026-11-23") from None
    if date_of(name_of(day)) != day:
        raise ValueError(f"{text} has no folder of its own, expected a day from 2000-01-01 to 2099-12-31")
    return day


def day_name(timestamp_ms: int, zone: str) -> str:
    """The name of the folder that a record of this time, Kafka's, belongs into."""
    return name_of(datetime.fromtimestamp(timestamp_ms / 1000, zone_of(zone)).date())


def end_of_day_ms(day: date, zone: str) -> int:
    """The midnight after a day, Unix time."""
    midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone_of(zone))
    return int(midnight.timestamp() * 1000)
