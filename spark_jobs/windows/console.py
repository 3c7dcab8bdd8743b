"""Prints the windows as tables in the original's shape, newest window first."""

import sys
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple, TextIO

import polars as pl

from windows.dimensions import DIMENSIONS, HOST, TOTAL, Dimension
from windows.rows import COUNTS, KEY, top_keys

_MAX_KEY_WIDTH = 72


class TopRow(NamedTuple):
    """One key of one window, with the number of keys that there are."""

    window_start: datetime
    dimension: str
    key: str
    lines: int
    sent_bytes: int
    keys: int


def printable(text: str) -> str:
    """Make a key harmless and short for a terminal: control characters are spelled out."""
    safe = "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)
    return safe if len(safe) <= _MAX_KEY_WIDTH else safe[: _MAX_KEY_WIDTH - 1] + "…"


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = [header, *rows]
    widths = [
        max(len(row[column]) for row in cells if len(row) == len(header)) for column in range(len(header))
    ]
    last = len(header) - 1

    def line(row: Sequence[str]) -> str:
        if len(row) == 1:
            return row[0]
        padded = (
            cell.rjust(width) if column == last or header[column] in _NUMBERS else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        return " | ".join(padded)

    rule = "-+-".join("-" * width for width in widths)
    return "\n".join([title, line(header), rule, *(line(row) for row in cells[1:])])


_NUMBERS = ("count", "bytes sent", "hosts")


def _windows(rows: Iterable[TopRow]) -> dict[datetime, list[TopRow]]:
    """Group by window, newest first; within a window most lines first."""
    grouped: dict[datetime, list[TopRow]] = {}
    for row in sorted(rows, key=lambda row: (-row.window_start.timestamp(), -row.lines, row.key)):
        grouped.setdefault(row.window_start, []).append(row)
    return grouped


def _total_table(dimension: Dimension, rows: Sequence[TopRow], hosts: dict[datetime, int]) -> str:
    lines = [
        (
            f"{row.window_start:%Y-%m-%d %H:%M:%S}",
            f"{row.lines:,}",
            f"{row.sent_bytes:,}",
            f"{hosts.get(row.window_start, 0):,}",
        )
        for window in _windows(rows).values()
        for row in window
    ]
    return _table(dimension.title, ("window", "count", "bytes sent", "hosts"), lines)


def _key_table(dimension: Dimension, rows: Sequence[TopRow], top: int) -> str:
    lines: list[tuple[str, ...]] = []
    for start, window in _windows(rows).items():
        shown = window[: min(top, top if dimension.top is None else dimension.top)]
        lines += [(f"{start:%Y-%m-%d %H:%M:%S}", printable(row.key), f"{row.lines:,}") for row in shown]
        hidden = window[0].keys - len(shown)
        if hidden:
            lines.append((f"{start:%Y-%m-%d %H:%M:%S} | and {hidden:,} more",))
    return _table(dimension.title, ("window", dimension.column, "count"), lines)


def tables(rows: Sequence[TopRow], top: int) -> str:
    """Render the tables of the dimensions that have rows."""
    hosts = {row.window_start: row.keys for row in rows if row.dimension == HOST}
    rendered = []
    for dimension in DIMENSIONS:
        mine = [row for row in rows if row.dimension == dimension.name]
        if not mine or dimension.top == 0:
            continue
        if dimension.name == TOTAL:
            rendered.append(_total_table(dimension, mine, hosts))
        else:
            rendered.append(_key_table(dimension, mine, top))
    return "\n\n".join(rendered)


def top_rows(rows: pl.DataFrame, top: int) -> list[TopRow]:
    """Of each window and dimension the keys with the most lines."""
    chosen = top_keys(rows, top).select(*KEY, *COUNTS, "keys").with_columns(pl.from_epoch("start_s"))
    return [TopRow(*row) for row in chosen.iter_rows()]


def show(rows: pl.DataFrame, top: int, out: TextIO = sys.stdout) -> str:
    """Print the tables of rows, and return them; a reader that went away is no reason to stop counting."""
    text = tables(top_rows(rows, top), top)
    if text:
        try:
            out.write(f"{text}\n\n")
            out.flush()
        except BrokenPipeError:
            pass
    return text
