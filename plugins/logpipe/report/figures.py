"""Counts a day's lines in bounded memory: a batch at a time into DuckDB, which spills to disk.

What a line says is the windows job's own reading (`logpipe.formats`, `windows.dimensions`).
"""

import shutil
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any, Self

import duckdb
import polars as pl

from logpipe.formats.columns import read_by
from logpipe.page.lines import shown
from logpipe.windows.latency import percentiles_us
from windows.dimensions import DIMENSIONS

MEMORY_LIMIT = "192MB"
FOLD_ROWS = 2_000_000
CLASSES = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
TOP = 100
MOST_ERRORS = 500  # so many are kept: the next day's report knows by them which are new
FEW = 20  # methods and status codes; whoever sends lines makes up as many as they like
EXAMPLES = 5  # of each reason
EXAMPLE_BYTES = 400
_KEYED = ("host", "endpoint", "error", "method", "status")
MORE = ("vhost", "referrer", "agent", "os", "bot", "content", "tls")  # where lines have any
_QUARTER_MS = 900_000  # offsets of zones are multiples of it
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_TABLES = """
CREATE TABLE counts (dimension VARCHAR, key VARCHAR, requests BIGINT, sent_bytes HUGEINT, first_ms BIGINT);
CREATE TABLE visitors (visitor UHUGEINT);
CREATE TABLE times (
    quarter BIGINT, class VARCHAR, requests BIGINT, sent_bytes HUGEINT, first_ms BIGINT, last_ms BIGINT
);
"""
_SUMS = "sum(requests)::BIGINT AS requests, sum(sent_bytes)::HUGEINT AS sent_bytes, min(first_ms) AS first_ms"
_FOLDS = {
    "counts": f"dimension, key, {_SUMS}",
    "visitors": "visitor",
    "times": f"quarter, class, {_SUMS}, max(last_ms) AS last_ms",
}


@dataclass
class Malformed:
    """Lines that could not be read: how many of each reason, and the first few of each."""

    reasons: Counter[str] = field(default_factory=Counter)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, lines: pl.DataFrame) -> None:
        """Take the malformed lines of a batch, in their order."""
        for reason, line in lines.select("reason", "value").iter_rows():
            self.reasons[reason] += 1
            if self.reasons[reason] <= EXAMPLES:
                cut = max(0, len(line) - EXAMPLE_BYTES)
                self.examples.append({"reason": reason, "text": shown(line[:EXAMPLE_BYTES]), "cut": cut})


class Figures:
    """What a day's lines say; a context manager, its folder goes at the end.

    Args:
        folder: for what does not fit into memory; nothing else may be in it.
        formats: of which the lines are.
    """

    def __init__(self, folder: Path, formats: Collection[str] = ("combined",)) -> None:
        self._folder = folder
        self._formats = formats
        self._malformed = Malformed()
        self._folded = dict.fromkeys(_FOLDS, 0)

    def __enter__(self) -> Self:
        shutil.rmtree(self._folder, ignore_errors=True)  # of one that was killed
        self._folder.mkdir(mode=0o700, parents=True)
        settings = {"memory_limit": MEMORY_LIMIT, "threads": 1, "autoinstall_known_extensions": False}
        self._duck = duckdb.connect(str(self._folder / "figures.duckdb"), config=settings)
        self._duck.execute(_TABLES)
        return self

    def __exit__(self, *_: object) -> None:
        self._duck.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, batches: Iterable[list[bytes]]) -> None:
        """Count lines; a batch is as many as fit into memory."""
        for lines in batches:
            values = pl.Series("value", lines, dtype=pl.Binary)
            parsed = read_by(self._formats, values).with_columns(values)
            self._malformed.add(parsed.filter(pl.col("reason").is_not_null()))
            self._count(_keys(parsed.filter(pl.col("reason").is_null())))
            for table in _FOLDS:
                self._fold(table)

    def _count(self, requests: pl.DataFrame) -> None:
        self._duck.register("batch", requests.to_arrow())
        for name in (*_KEYED, *MORE, "latency"):
            if requests[name].null_count() == requests.height:
                continue
            self._duck.execute(
                f"INSERT INTO counts SELECT '{name}', k, count(*), sum(sent_bytes), min(time_ms) "  # noqa: S608 - names of ours
                f"FROM (SELECT {name} AS k, * FROM batch) WHERE k IS NOT NULL GROUP BY ALL"
            )
        self._duck.execute(
            "INSERT INTO visitors SELECT DISTINCT md5_number(md5(host) || user_agent) FROM batch"
        )
        self._duck.execute(
            "INSERT INTO times SELECT quarter, class, count(*), sum(sent_bytes), min(time_ms), "
            "max(time_ms) FROM batch GROUP BY ALL"
        )
        self._duck.unregister("batch")

    def _fold(self, table: str) -> None:
        """Add up what stands twice once that is much: what is kept grows with what differs only."""
        rows = self._one(f"SELECT count(*) FROM {table}")  # noqa: S608
        if rows < 2 * self._folded[table] + FOLD_ROWS:
            return
        self._duck.execute(f"CREATE TABLE folded AS SELECT {_FOLDS[table]} FROM {table} GROUP BY ALL")  # noqa: S608
        self._duck.execute(f"DROP TABLE {table}; ALTER TABLE folded RENAME TO {table}")
        self._folded[table] = self._one(f"SELECT count(*) FROM {table}")  # noqa: S608

    def _one(self, query: str, *values: Any) -> int:
        return int(self._duck.execute(query, values).fetchall()[0][0])

    def result(self, day: date, zone: tzinfo) -> dict[str, Any]:
        """The figures, as JSON values; hours and days are those of the zone, by the times in the lines."""
        hours, elsewhere = self._hours(day, zone)
        span = self._duck.execute("SELECT min(first_ms), max(last_ms) FROM times").fetchall()
        classes = {name: sum(hour["classes"][name] for hour in hours) for name in CLASSES}
        return {
            "requests": sum(classes.values()),
            "visitors": self._one("SELECT count(*) FROM (SELECT DISTINCT visitor FROM visitors)"),
            "sent_bytes": sum(hour["sent_bytes"] for hour in hours),
            "malformed": self._malformed.reasons.total(),
            "classes": classes,
            "hours": hours,
            "elsewhere": elsewhere,
            "first_at": instant(span[0][0]),
            "last_at": instant(span[0][1]),
            "hosts": self._top("host", TOP),
            "endpoints": self._top("endpoint", TOP),
            "errors": self._top("error", MOST_ERRORS, with_first=True),
            "methods": self._top("method", FEW),
            "statuses": self._top("status", FEW),
            "more": {name: top for name in MORE if (top := self._top(name, TOP))["distinct"]},
            "latency_ms": self._latency_ms(),
            "reasons": dict(sorted(self._malformed.reasons.items())),
            "examples": sorted(self._malformed.examples, key=lambda example: str(example["reason"])),
        }

    def _latency_ms(self) -> dict[str, float] | None:
        """Percentiles of the requests that have a latency, see `logpipe.windows.latency`; None: none has."""
        counts = self._duck.execute(
            "SELECT key::BIGINT, sum(requests)::BIGINT FROM counts WHERE dimension = 'latency' GROUP BY key"
        ).fetchall()
        return {name: value / 1000 for name, value in percentiles_us(counts).items()} or None

    def _hours(self, day: date, zone: tzinfo) -> tuple[list[dict[str, Any]], int]:
        """The hours of the clock, and how many requests have a time of another day."""
        hours: list[dict[str, Any]] = [
            {"hour": hour, "classes": dict.fromkeys(CLASSES, 0), "sent_bytes": 0} for hour in range(24)
        ]
        elsewhere = 0
        rows = self._duck.execute("SELECT quarter, class, requests, sent_bytes FROM times")
        while some := rows.fetchmany(10_000):
            for quarter, name, requests, sent_bytes in some:
                hour, of = _clock(int(quarter), zone)
                hours[hour]["classes"][name] += int(requests)
                hours[hour]["sent_bytes"] += int(sent_bytes)
                elsewhere += 0 if of == day else int(requests)
        return hours, elsewhere

    def _top(self, dimension: str, most: int, *, with_first: bool = False) -> dict[str, Any]:
        """The keys with the most requests, and how many keys there are."""
        rows = self._duck.execute(
            "SELECT key, sum(requests) AS n, sum(sent_bytes), min(first_ms) FROM counts WHERE dimension = ? "
            "GROUP BY key ORDER BY n DESC, key LIMIT ?",
            [dimension, most],
        ).fetchall()
        query = "SELECT count(*) FROM (SELECT DISTINCT key FROM counts WHERE dimension = ?)"
        return {
            "distinct": self._one(query, dimension),
            "top": [
                {"key": key, "requests": int(requests), "sent_bytes": int(sent_bytes)}
                | ({"first_at": instant(first_ms)} if with_first else {})
                for key, requests, sent_bytes, first_ms in rows
            ],
        }


def _keys(requests: pl.DataFrame) -> pl.DataFrame:
    """What is counted of each request."""
    keys = {one.name: one.keys(requests) for one in DIMENSIONS if one.name in (*_KEYED, *MORE, "latency")}
    first = pl.col("status").str.head(1)
    agent = pl.col("user_agent") if "user_agent" in requests.columns else pl.lit(None, pl.String)
    return requests.select(
        "time_ms",
        "sent_bytes",
        **keys,
        user_agent=agent.fill_null(""),
        quarter=pl.col("time_ms").floordiv(_QUARTER_MS),
        **{"class": pl.when(first.is_in(list("12345"))).then(first + "xx").otherwise(pl.lit("other"))},
    )


def _clock(quarter: int, zone: tzinfo) -> tuple[int, date | None]:
    """The hour of the clock and the day; of a time at the edge of what Python can tell, UTC's hour."""
    try:
        local = (_EPOCH + timedelta(milliseconds=quarter * _QUARTER_MS)).astimezone(zone)
    except (OverflowError, ValueError):
        return quarter // 4 % 24, None
    return local.hour, local.date()


def instant(ms: int | None) -> str | None:
    """ISO-8601 UTC, to the second; None of none, and of one that Python cannot tell."""
    try:
        return None if ms is None else (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="seconds")
    except OverflowError:
        return None
