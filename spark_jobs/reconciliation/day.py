"""A day in the pipeline's zone: a partition's name and its first and last instant."""

import re
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from logpipe.settings import zone_of

_DIRECTORY = re.compile(r"(\d\d)-(\d\d)-(\d\d)")


@dataclass(frozen=True, order=True)
class Day:
    """One calendar day of a zone. It has 23 or 25 hours where the clocks change."""

    date: date
    zone: str

    @classmethod
    def of_partition(cls, name: str, zone: str) -> "Day | None":
        """The day of a directory's name (``26-11-23``); None when it is no dated directory."""
        if (match := _DIRECTORY.fullmatch(name)) is None:
            return None
        year, month, day_of_month = map(int, match.groups())
        try:
            return cls(date(2000 + year, month, day_of_month), zone)
        except ValueError:
            return None

    @property
    def partition(self) -> str:
        """Name of the day's directory."""
        return f"{self.date:%y-%m-%d}"

    @property
    def previous(self) -> "Day":
        """The day before."""
        return Day(self.date - timedelta(days=1), self.zone)

    @property
    def start_ms(self) -> int:
        """The first millisecond of the day, since the epoch."""
        # Where midnight is skipped or comes twice, fold 0 gives the instant at which the date changes.
        midnight = datetime(self.date.year, self.date.month, self.date.day, tzinfo=zone_of(self.zone))
        return round(midnight.timestamp() * 1000)

    @property
    def end_ms(self) -> int:
        """The first millisecond of the next day."""
        return Day(self.date + timedelta(days=1), self.zone).start_ms
