"""Finds what one multiset of lines has and another lacks, in bounded memory (DuckDB spills to disk)."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import duckdb
import numpy as np
import pyarrow as pa

from logpipe.digest import line_hash
from logpipe.settings import Settings

CHUNK_LINES = 200_000
MEMORY_LIMIT = "512MB"


@dataclass(frozen=True)
class LineCounts:
    """Lines of the first multiset that the second lacks, and lines that the second has too many."""

    missing: int
    surplus: int


class Difference:
    """Multisets of line hashes by name; a context manager, its temporary files go at the end."""

    def __init__(self, settings: Settings) -> None:
        settings.state_dir.mkdir(parents=True, exist_ok=True)
        self._directory = tempfile.TemporaryDirectory(prefix="verify-", dir=settings.state_dir)
        self._connection = duckdb.connect(str(Path(self._directory.name) / "lines.duckdb"))
        self._connection.execute(f"SET memory_limit = '{MEMORY_LIMIT}'")
        self._connection.execute("CREATE TABLE lines (side VARCHAR, hash UBIGINT)")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()
        self._directory.cleanup()

    def add(self, side: str, lines: Iterable[bytes]) -> None:
        """Add lines to the multiset ``side``."""
        for hashes in _hash_chunks(lines):
            chunk = pa.table({"hash": pa.array(hashes)})
            self._connection.register("chunk", chunk)
            self._connection.execute("INSERT INTO lines SELECT ?, hash FROM chunk", [side])
            self._connection.unregister("chunk")

    def compare(self, expected: str, found: str) -> LineCounts:
        """Count the lines that ``found`` lacks or has too many, against ``expected``."""
        row = self._connection.execute(
            f"""
            SELECT coalesce(sum(greatest(difference, 0)), 0), coalesce(sum(greatest(-difference, 0)), 0)
            FROM ({self._differences()})
            """,  # noqa: S608 (no value in it)
            [expected, found, expected, found],
        ).fetchone()
        assert row is not None
        return LineCounts(int(row[0]), int(row[1]))

    def hashes(self, expected: str, found: str, most: int, *, only_missing: bool = False) -> dict[int, int]:
        """Up to ``most`` hashes that differ: how many ``found`` lacks (negative: has too many)."""
        kept = "WHERE difference > 0" if only_missing else ""
        rows = self._connection.execute(
            f"SELECT hash, difference FROM ({self._differences()}) {kept} ORDER BY hash LIMIT {int(most)}",  # noqa: S608
            [expected, found, expected, found],
        ).fetchall()
        return {int(line): int(difference) for line, difference in rows}

    @staticmethod
    def _differences() -> str:
        return """
            SELECT hash, sum(CASE side WHEN ? THEN 1 WHEN ? THEN -1 END) AS difference
            FROM lines WHERE side IN (?, ?) GROUP BY hash HAVING difference <> 0
        """


def _hash_chunks(lines: Iterable[bytes]) -> Iterator["np.ndarray[tuple[int], np.dtype[np.uint64]]"]:
    chunk: list[int] = []
    for line in lines:
        chunk.append(line_hash(line))
        if len(chunk) >= CHUNK_LINES:
            yield np.array(chunk, dtype=np.uint64)
            chunk = []
    if chunk:
        yield np.array(chunk, dtype=np.uint64)
