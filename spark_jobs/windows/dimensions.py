"""The dimensions: what lines are counted by. Adding one is one entry in `DIMENSIONS`."""

from dataclasses import dataclass

import polars as pl

MAX_KEY_CHARS = 512
TOTAL = "total"
MALFORMED = "malformed"
HOST = "host"


@dataclass(frozen=True)
class Dimension:
    """One way to count the lines of a window.

    Attributes:
        name: Stands in the rows' column ``dimension``.
        title: Heading of its console table.
        column: Heading of the key's column in that table.
        key: Gives a line's key from the columns of `logpipe.formats.fields.Parsed`; a line whose key is null
            is not counted here. Malformed lines have nulls everywhere but in ``reason`` and ``time_ms``.
        top: Show only this many keys with the most lines on the console; None shows all.
    """

    name: str
    title: str
    column: str
    key: pl.Expr
    top: int | None = None


_ERROR = pl.when(pl.col("status") >= "400").then(pl.format("{} {}", "status", "target"))

DIMENSIONS = (
    Dimension(TOTAL, "Total requests", "", pl.lit("")),
    Dimension("method", "Methods", "method", pl.col("method"), top=10),
    Dimension(HOST, "IP traffic", "ip", pl.col("host"), top=10),
    Dimension("endpoint", "Endpoints", "endpoint", pl.col("target"), top=10),
    Dimension("status", "Status codes", "status", pl.col("status"), top=20),
    # Which request fails, and how: `status` alone would repeat the table of status codes.
    Dimension("error", "Errors", "error", _ERROR, top=10),
    Dimension(MALFORMED, "Malformed lines", "reason", pl.col("reason")),
)
