"""Reads the windows job's Parquet files over WebHDFS, and adds up their rows."""

from collections.abc import Iterator, Sequence
from urllib.parse import urlsplit

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from fsspec.implementations.webhdfs import WebHDFS
from pyarrow.fs import FSSpecHandler, PyFileSystem

from logpipe.digest import Digest

_BATCH_ROWS = 65_536
_MODULUS = 1 << 64


def scan(
    webhdfs_url: str, user: str, files: list[str], columns: list[str], keep: pc.Expression | None
) -> Iterator[pa.RecordBatch]:
    """Read columns of files, the rows that are kept, in bounded memory."""
    if not files:
        return
    address = urlsplit(webhdfs_url)
    hdfs = WebHDFS(address.hostname, address.port, user=user, skip_instance_cache=True)
    dataset = ds.dataset(files, format="parquet", filesystem=PyFileSystem(FSSpecHandler(hdfs)))
    scanner = dataset.scanner(
        columns=columns, filter=keep, batch_size=_BATCH_ROWS, batch_readahead=1, fragment_readahead=1
    )
    yield from scanner.to_batches()


def sum_totals(batches: Iterator[pa.RecordBatch], window_s: int) -> Digest:
    """Digest of the lines behind rows of the dimension total; of overlapping windows each line once.

    Args:
        batches: columns ``window_start, lines, line_bytes, hash_sum``.
        window_s: length of a window.
    """
    lines = line_bytes = hash_sum = 0
    for batch in batches:
        start_us = (
            batch["window_start"].cast(pa.timestamp("us")).cast(pa.int64()).to_numpy(zero_copy_only=False)
        )
        once = start_us // 1_000_000 % window_s == 0
        lines += int(batch["lines"].to_numpy(zero_copy_only=False)[once].sum())
        line_bytes += int(batch["line_bytes"].to_numpy(zero_copy_only=False)[once].sum())
        hash_sum += int(batch["hash_sum"].to_numpy(zero_copy_only=False)[once].astype(np.uint64).sum())
    return Digest(lines, line_bytes, hash_sum % _MODULUS)


def sum_rows(batches: Iterator[pa.RecordBatch], columns: Sequence[str]) -> pa.Table:
    """Sum rows of the same window, dimension and key: the first three columns; sorted."""
    read = list(batches)
    if not read:
        return pa.table({name: [] for name in columns})
    keys = list(columns[:3])
    summed = pa.Table.from_batches(read).group_by(keys).aggregate([("lines", "sum"), ("sent_bytes", "sum")])
    return summed.rename_columns({"lines_sum": "lines", "sent_bytes_sum": "sent_bytes"}).sort_by(
        [(key, "ascending") for key in keys]
    )
