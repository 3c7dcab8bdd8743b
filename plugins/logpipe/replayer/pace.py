"""When a line is due: by a fixed delay, by the log's own clock, or at once."""

import math
import re
from datetime import datetime, timedelta, timezone
from functools import lru_cache
from typing import Protocol

LONGEST_DELAY_S = 86400.0
LAG_S = 1.0  # later than this behind its clock, a pace sets its clock anew instead of rushing to catch up

_TIMESTAMP = re.compile(rb"\[(\d\d/[A-Za-z]{3}/\d{4}:\d\d:\d\d:\d\d [+-]\d{4})\]")
_MONTHS = {
    name: number
    for number, name in enumerate(
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"), start=1
    )
}
EXPECTED = "delay:SECONDS (0 to 86400), speed:FACTOR (above 0) or max"


class Pace(Protocol):
    """Asked once for each line, in order."""

    def due_at_s(self, line: bytes, now_s: float) -> float:
        """The monotonic time at which the line is to be sent; at most ``now_s`` for: at once."""


class DelayPace:
    """A fixed time between lines."""

    def __init__(self, delay_s: float) -> None:
        self._delay_s = delay_s
        self._next_s = -math.inf

    def due_at_s(self, line: bytes, now_s: float) -> float:
        """One delay after the line before."""
        due_s = self._next_s
        if now_s - due_s > LAG_S:
            due_s = now_s
        self._next_s = due_s + self._delay_s
        return due_s


class SpeedPace:
    """The log's own clock, so many times faster.

    The clock begins with the first line that has a time. Gaps are honoured. A line with an earlier time than
    one before it (logs step back) or without a time goes with its predecessor.
    """

    def __init__(self, factor: float) -> None:
        self._factor = factor
        self._begin_s: float | None = None
        self._begin_epoch_s = 0.0
        self._latest_epoch_s = 0.0

    def due_at_s(self, line: bytes, now_s: float) -> float:
        """The begin plus the log time passed since, divided by the factor."""
        epoch_s = timestamp_epoch_s(line)
        if self._begin_s is None:
            if epoch_s is None:
                return now_s
            self._begin_s, self._begin_epoch_s, self._latest_epoch_s = now_s, epoch_s, epoch_s
        if epoch_s is not None:
            self._latest_epoch_s = max(self._latest_epoch_s, epoch_s)
        due_s = self._begin_s + (self._latest_epoch_s - self._begin_epoch_s) / self._factor
        if now_s - due_s > LAG_S:
            self._begin_s += now_s - due_s
            due_s = now_s
        return due_s


def parse_pace(text: str) -> Pace | None:
    """Build a pace; None stands for ``max``.

    Raises:
        ValueError: the text is no pace; the message shows what was expected.
    """
    if text == "max":
        return None
    kind, _, number = text.partition(":")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if kind == "delay" and 0 <= value <= LONGEST_DELAY_S:
        return DelayPace(value)
    if kind == "speed" and 0 < value < math.inf:
        return SpeedPace(value)
    raise ValueError(f"pace is {text!r}, expected {EXPECTED}")


def timestamp_epoch_s(line: bytes) -> float | None:
    """Seconds since 1970 of the line's first Common Log Format time; None if it has none that exists."""
    found = _TIMESTAMP.search(line)
    return _epoch_s(found.group(1)) if found else None


@lru_cache(maxsize=64)
def _epoch_s(text: bytes) -> float | None:
    """From text such as ``01/Aug/1995:00:00:01 -0400``, whatever the process's locale."""
    parts = text.decode("ascii")
    offset = timedelta(hours=int(parts[22:24]), minutes=int(parts[24:26]))
    try:
        moment = datetime(
            int(parts[7:11]), _MONTHS[parts[3:6].lower()], int(parts[:2]),
            int(parts[12:14]), int(parts[15:17]), int(parts[18:20]),
            tzinfo=timezone(-offset if parts[21] == "-" else offset),
        )  # fmt: skip
        return moment.timestamp()
    except (KeyError, ValueError, OverflowError):
        return None
