"""Rows of the windows: frames with the columns ``start_s, dimension, key`` and sums, and Parquet of them.

``start_s`` is a window's start, Unix time; in a file it is ``window_start``, and the sums are named in
``docs/windows.md``. Sums of hashes wrap around at 64 bits.
"""

from collections.abc import Collection, Iterator, Sequence
from typing import IO

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from logpipe.windows.commit import FOOTER_KEY, Commit
from windows.dimensions import DIMENSIONS, OTHER

_BOUNDED = [dimension.name for dimension in DIMENSIONS if dimension.is_bounded]
KEY = ("start_s", "dimension", "key")
COUNTS = ("lines", "sent_bytes")
SUMS = (*COUNTS, "line_bytes", "hash_sum")
_EMPTY = pl.DataFrame(
    schema={"start_s": pl.Int64, "dimension": pl.String, "key": pl.String} | dict.fromkeys(SUMS, pl.Int64)
)
_FILE_SCHEMA = pa.schema(
    [("window_start", pa.timestamp("us", "UTC")), ("dimension", pa.string()), ("key", pa.string())]
    + [(name, pa.int64()) for name in SUMS]
)


def no_rows(sums: Sequence[str] = SUMS) -> pl.DataFrame:
    """A frame without rows, of all sums or of some."""
    return _EMPTY.select(*KEY, *sums)


def added_up(parts: Collection[pl.DataFrame]) -> pl.DataFrame:
    """Add up rows of the same window, dimension and key; of at least one frame."""
    if len(parts) == 1 and next(iter(parts)).is_empty():
        return next(iter(parts))
    return pl.concat(parts).group_by(*KEY).sum()


def capped(rows: pl.DataFrame, max_keys: int) -> pl.DataFrame:
    """Keep of each window and dimension at most so many keys, those with the most lines; the rest is `OTHER`.

    Sums of a dimension stay what they are, and the same rows give the same.

    Args:
        rows: each window, dimension and key once.
        max_keys: of which `OTHER` is none.
    """
    of_window = ("start_s", "dimension")
    if rows.height <= max_keys or (rows.group_by(*of_window).len()["len"] <= max_keys).all():
        return rows
    place = (
        pl.struct(other=pl.col("key") == OTHER, few=-pl.col("lines"), key="key")
        .rank("ordinal")
        .over(*of_window)
    )
    is_few = (place > max_keys) & ~pl.col("dimension").is_in(_BOUNDED)
    return added_up([rows.with_columns(key=pl.when(is_few).then(pl.lit(OTHER)).otherwise("key"))])


def to_windows(partials: Sequence[pl.DataFrame], window_s: int, slide_s: int) -> pl.DataFrame:
    """Give each partial row (``bucket_s`` instead of ``start_s``) to every window that holds its bucket."""
    if not partials:
        return no_rows()
    bucket = pl.col("bucket_s")
    windows = [
        part.select((bucket - back_s).alias("start_s"), *KEY[1:], *SUMS)
        for part in partials
        for back_s in range(0, window_s, slide_s)
    ]
    return windows[0] if len(windows) == 1 else added_up(windows)


def is_closed(window_s: int, until_ms: int | None) -> pl.Expr:
    """True for rows of windows that end by the given time."""
    if until_ms is None:
        return pl.lit(False)
    return (pl.col("start_s") + window_s) * 1000 <= until_ms


def dates() -> pl.Expr:
    """The UTC date of a row's window, ``YYYY-MM-DD``."""
    return pl.from_epoch("start_s").dt.strftime("%Y-%m-%d")


def to_arrow(rows: pl.DataFrame) -> pa.Table:
    """Rows as they stand in files; sums that they lack are 0."""
    lacking = [pl.lit(0, pl.Int64).alias(name) for name in SUMS if name not in rows.columns]
    ordered = rows.with_columns(*lacking, window_start=pl.from_epoch("start_s")).select(_FILE_SCHEMA.names)
    return ordered.to_arrow(compat_level=pl.CompatLevel.oldest()).cast(_FILE_SCHEMA)


def write(rows: pl.DataFrame, file: IO[bytes], commit: Commit | None = None) -> None:
    """Write rows, and a commit into the footer, as a Parquet file."""
    table = to_arrow(rows)
    if commit is not None:
        table = table.replace_schema_metadata({FOOTER_KEY: commit.to_json()})
    pq.write_table(table, file, compression="zstd")


def writer(file: IO[bytes]) -> pq.ParquetWriter:
    """Write a file table by table (`to_arrow`)."""
    return pq.ParquetWriter(file, _FILE_SCHEMA, compression="zstd")


def read(
    file: IO[bytes], sums: Sequence[str] = SUMS, first_s: int | None = None, last_s: int | None = None
) -> pl.DataFrame:
    """Read a file's rows, of all windows or of those that begin in ``[first, last)``."""
    source = pq.ParquetFile(file)
    groups = list(range(source.num_row_groups))
    if first_s is not None and last_s is not None:
        groups = [group for group in groups if _may_hold(source.metadata.row_group(group), first_s, last_s)]
    table = source.read_row_groups(groups, columns=["window_start", *KEY[1:], *sums])
    rows = pl.from_arrow(table)
    assert isinstance(rows, pl.DataFrame)
    rows = rows.select(pl.col("window_start").dt.epoch("s").alias("start_s"), *KEY[1:], *sums)
    if first_s is not None and last_s is not None:
        rows = rows.filter((pl.col("start_s") >= first_s) & (pl.col("start_s") < last_s))
    return rows


def batches(file: IO[bytes], dimension: str) -> Iterator[pa.RecordBatch]:
    """The rows of a dimension, in bounded memory: columns ``window_start, lines, line_bytes, hash_sum``."""
    names = ["window_start", "lines", "line_bytes", "hash_sum"]
    for batch in pq.ParquetFile(file).iter_batches(columns=[*names, "dimension"]):
        yield batch.filter(pc.equal(batch["dimension"], dimension)).select(names)


def height(file: IO[bytes]) -> int:
    """Rows in a file."""
    return int(pq.ParquetFile(file).metadata.num_rows)


def _may_hold(group: pq.RowGroupMetaData, first_s: int, last_s: int) -> bool:
    bounds = group.column(0).statistics
    if bounds is None or not bounds.has_min_max:
        return True
    return bool(bounds.max.timestamp() >= first_s and bounds.min.timestamp() < last_s)


def top_keys(rows: pl.DataFrame, limit: int) -> pl.DataFrame:
    """Keep of each window and dimension the keys with the most lines.

    Returns:
        Also a column ``keys``: how many there were.
    """
    of_window = ("start_s", "dimension")
    return (
        rows.with_columns(keys=pl.len().over(*of_window))
        .sort("lines", "key", descending=[True, False])
        .group_by(*of_window, maintain_order=True)
        .head(limit)
    )
