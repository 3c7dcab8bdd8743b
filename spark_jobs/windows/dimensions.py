"""The dimensions: what lines are counted by. Adding one is one entry in `DIMENSIONS`."""

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl
import xxhash

from windows import derived

MAX_KEY_CHARS = 512
TOTAL = "total"
MALFORMED = "malformed"
HOST = "host"
OTHER = "(other)"  # the key of lines whose own keys are too many for a window


@dataclass(frozen=True)
class Dimension:
    """One way to count the lines of a window.

    Attributes:
        name: Stands in the rows' column ``dimension``.
        title: Heading of its console table.
        column: Heading of the key's column in that table.
        field: The column of `logpipe.formats.fields.Parsed`, or ``log``, that it goes by; a format that lacks
            it has no rows here. Empty: every line has it.
        key: Gives a line's key from these columns; a line whose key is null is not counted here. Malformed
            lines have nulls everywhere but in ``reason`` and ``time_ms``. None: the field.
        derive: Makes keys of distinct values of ``key``; null: not counted here.
        is_bounded: There are few keys, whoever sends lines: none of them is ever folded into `OTHER`.
        top: Show only this many keys with the most lines on the console; None shows all, 0 none.
    """

    name: str
    title: str
    column: str
    field: str
    key: pl.Expr | None = None
    derive: Callable[[pl.Series], pl.Series] | None = None
    is_bounded: bool = False
    top: int | None = 10

    def has_keys(self, lines: pl.DataFrame) -> bool:
        """Whether some of the lines may have a key."""
        return not self.field or (
            self.field in lines.columns and lines[self.field].null_count() < lines.height
        )

    @property
    def value(self) -> pl.Expr:
        """What a line's key is, or is derived from."""
        return pl.col(self.field) if self.key is None else self.key

    def of(self, values: pl.Series) -> pl.Series:
        """The keys of values: texts of bounded length; null where there is none."""
        if self.derive is not None:
            distinct = values.drop_nulls().unique()
            made = self.derive(distinct).cast(pl.String)
            keys = values.replace_strict(distinct, made, default=None, return_dtype=pl.String)
        else:
            keys = values.cast(pl.String)
        if (keys.str.len_bytes() > MAX_KEY_CHARS).any():
            keys = pl.Series(values.name, [None if key is None else _short(key) for key in keys], pl.String)
        return keys

    def keys(self, lines: pl.DataFrame) -> pl.Series:
        """The key of each line; null where it has none."""
        if not self.has_keys(lines):
            return pl.repeat(None, lines.height, dtype=pl.String, eager=True)
        return self.of(lines.select(self.value).to_series())


def _short(key: str) -> str:
    """Bound a key's length: of a longer one the start and a hash of the whole."""
    if len(key) <= MAX_KEY_CHARS:
        return key
    return f"{key[:MAX_KEY_CHARS]}…{xxhash.xxh64_hexdigest(key.encode())}"


_ERROR = pl.when(pl.col("status") >= "400").then(pl.format("{} {}", "status", "target"))

DIMENSIONS = (
    Dimension(TOTAL, "Total requests", "", "", pl.lit(""), is_bounded=True, top=None),
    Dimension("log", "Logs", "log", "log"),
    Dimension("method", "Methods", "method", "method"),
    Dimension(HOST, "IP traffic", "ip", "host"),
    Dimension("endpoint", "Endpoints", "endpoint", "target"),
    Dimension("status", "Status codes", "status", "status", is_bounded=True, top=20),
    # Which request fails, and how: `status` alone would repeat the table of status codes.
    Dimension("error", "Errors", "error", "status", _ERROR),
    Dimension("vhost", "Virtual hosts", "host", "vhost"),
    Dimension("referrer", "Referrers", "site", "referrer", derive=derived.site),
    Dimension("agent", "Agents", "agent", "user_agent", derive=derived.family),
    Dimension("os", "Operating systems", "system", "user_agent", derive=derived.system),
    Dimension("bot", "Bots", "bot", "user_agent", derive=derived.bot, is_bounded=True),
    Dimension("content", "Contents", "kind", "content_type", derive=derived.kind, is_bounded=True),
    Dimension("tls", "TLS", "protocol", "tls_protocol"),
    Dimension(
        "latency", "Latencies", "from us on", "latency_us", derive=derived.bucket, is_bounded=True, top=0
    ),
    Dimension(MALFORMED, "Malformed lines", "reason", "reason", is_bounded=True, top=None),
)
