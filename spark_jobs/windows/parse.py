"""Parses lines in Common and Combined Log Format.

`parse_line` is the definition: plain Python, one pass, linear in the line's length whatever its bytes.
`parse_frame` gives the same for a frame of lines: regular lines are matched by one expression in native
code, the rest goes through `parse_line`.

A line's text is its bytes as UTF-8 where that is valid, as Latin-1 otherwise.
"""

import calendar
import re
from typing import NamedTuple

import polars as pl

from logpipe.formats.fields import EMPTY, FORMAT, REQUEST, TIME, line_text, parse_request

MAX_KEY_CHARS = 512


class ParsedLine(NamedTuple):
    """What a line says; of a malformed one only ``reason``, and ``event_ms`` where its time is readable."""

    host: str | None = None
    method: str | None = None
    endpoint: str | None = None
    status: str | None = None
    sent_bytes: int | None = None
    event_ms: int | None = None
    reason: str | None = None


_MONTHS = {name: number for number, name in enumerate(calendar.month_abbr) if name}
_TIME = re.compile(
    r"([0-9]{2})/([A-Z][a-z]{2})/([0-9]{4}):([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})"
)
_AFTER_REQUEST = re.compile(r'" ([0-9]{3}) ([0-9]{1,18}|-)(?= |$)')

# The regular lines. Each class is so narrow that `parse_line` gives the same for whatever matches here.
_REGULAR = (
    r"^([^ ]+) [^ \[]+ [^ \[]+ "
    r"\[([0-9]{2}/[A-Z][a-z]{2}/[12][0-9]{3}:[0-2][0-9]:[0-5][0-9]:[0-5][0-9] [+-][01][0-9][0-5][0-9])\] "
    r'"([A-Z]{1,20}) ([^ "]+)(?: HTTP/[0-9.]+)?" ([0-9]{3}) ([0-9]{1,18}|-)(?: "[^"]*" "[^"]*")?\r?$'
)


def line_texts(lines: pl.Series) -> pl.Series:
    """Decode a column of lines as `line_text` does; null stays null."""
    try:
        return lines.cast(pl.String)
    except pl.exceptions.ComputeError:  # some line is not UTF-8
        return pl.Series([None if line is None else line_text(line) for line in lines], dtype=pl.String)


def parse_time(text: str) -> int | None:
    """Milliseconds since 1970 of ``01/Aug/1995:00:00:01 -0400``; None when it is no such time."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    day, month, year = int(match[1]), _MONTHS.get(match[2], 0), int(match[3])
    hour, minute, second = int(match[4]), int(match[5]), int(match[6])
    zone_hours, zone_minutes = int(match[8]), int(match[9])
    if not (month and year and 1 <= day <= calendar.monthrange(year, month)[1]):
        return None
    if hour > 23 or minute > 59 or second > 60 or zone_hours > 23 or zone_minutes > 59:  # 60: a leap second
        return None
    zone_s = (zone_hours * 3600 + zone_minutes * 60) * (1 if match[7] == "+" else -1)
    return (calendar.timegm((year, month, day, hour, minute, second)) - zone_s) * 1000


def parse_text(text: str) -> ParsedLine:
    """Parse a line's text."""
    if not text:
        return ParsedLine(reason=EMPTY)
    text = text.removesuffix("\r")
    host_end, time_start = text.find(" "), text.find(" [")
    time_end = text.find('] "', time_start)
    tail = _AFTER_REQUEST.search(text, time_end + 3) if 0 < host_end <= time_start < time_end else None
    if tail is None:
        return ParsedLine(reason=FORMAT)
    event_ms = parse_time(text[time_start + 2 : time_end])
    if event_ms is None:
        return ParsedLine(reason=TIME)
    request = parse_request(text[time_end + 3 : tail.start()])
    if request is None:
        return ParsedLine(event_ms=event_ms, reason=REQUEST)
    sent_bytes = 0 if tail[2] == "-" else int(tail[2])
    return ParsedLine(text[:host_end], *request, tail[1], sent_bytes, event_ms)


def parse_line(line: bytes) -> ParsedLine:
    """Parse a line's bytes (without line end)."""
    return parse_text(line_text(line))


_SCHEMA = {
    "row": pl.UInt32, "host": pl.String, "method": pl.String, "endpoint": pl.String, "status": pl.String,
    "sent_bytes": pl.Int64, "event_ms": pl.Int64, "reason": pl.String,
}  # fmt: skip


def parse_frame(lines: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of `ParsedLine` to a frame with the column ``value`` (binary).

    The rows keep their order; ``value`` and the other columns stay as they are.
    """
    regular = line_texts(lines["value"]).str.extract_groups(_REGULAR).struct.unnest()
    size = pl.col("6")
    parsed = regular.select(
        host=pl.col("1"),
        method=pl.col("3"),
        endpoint=pl.col("4"),
        status=pl.col("5"),
        sent_bytes=pl.when(size == "-").then(0).otherwise(size.cast(pl.Int64, strict=False)),
        event_ms=pl.col("2")
        .str.to_datetime("%d/%b/%Y:%H:%M:%S %z", strict=False, time_unit="ms")
        .cast(pl.Int64),
        reason=pl.lit(None, pl.String),
    )
    if parsed["event_ms"].null_count():
        parsed = _parse_the_rest(lines["value"], parsed)
    return lines.hstack(parsed)


def _parse_the_rest(values: pl.Series, parsed: pl.DataFrame) -> pl.DataFrame:
    """Replace the rows that the expression did not match by what `parse_line` says."""
    rows = parsed["event_ms"].is_null().arg_true()
    rest = pl.DataFrame(
        [(row, *parse_line(value)) for row, value in zip(rows, values.gather(rows), strict=True)],
        schema=_SCHEMA,
        orient="row",
    )
    kept = parsed.with_row_index("row").filter(pl.col("event_ms").is_not_null())
    return pl.concat([kept, rest]).sort("row").drop("row")
