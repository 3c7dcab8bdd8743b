"""Pure DataFrame functions over window rows: partial rows to windows, sums, open and closed, the top keys."""

from pyspark.sql import Column, DataFrame, Window
from pyspark.sql import functions as sf

TOTAL = "total"
WINDOW_KEY = ("window_start", "dimension", "key")
SUMS = ("lines", "sent_bytes", "line_bytes", "hash_sum")
# The rows of the state and of the Parquet output. `step` is the last step that changed a row, `part` the
# first one: a window that got lines after it was closed has rows of several parts, and readers sum them.
ROW_SCHEMA = (
    "window_start timestamp, dimension string, key string, lines long, sent_bytes long, line_bytes long, "
    "hash_sum long, part long, step long"
)
OPEN = "open"


def to_windows(partials: DataFrame, window_s: int, slide_s: int, step: int) -> DataFrame:
    """Give each partial row to every window that holds its bucket, as rows of `ROW_SCHEMA`."""
    starts = [sf.timestamp_seconds(sf.col("bucket_s") - back) for back in range(0, window_s, slide_s)]
    start = starts[0] if slide_s == window_s else sf.explode(sf.array(*starts))
    return partials.where("line is null").select(
        start.alias("window_start"),
        "dimension",
        "key",
        *SUMS,
        sf.lit(step).cast("long").alias("part"),
        sf.lit(step).cast("long").alias("step"),
    )


def summed(rows: DataFrame) -> DataFrame:
    """Sum rows of the same window, dimension and key; 64-bit sums wrap around."""
    return rows.groupBy(*WINDOW_KEY).agg(
        *(sf.sum(name).alias(name) for name in SUMS),
        sf.min("part").alias("part"),
        sf.max("step").alias("step"),
    )


def window_ended(window_s: int, closed_until_ms: int | None) -> Column:
    """True for rows of windows that end by the given time."""
    if closed_until_ms is None:
        return sf.lit(False)
    return sf.unix_millis("window_start") + window_s * 1000 <= closed_until_ms


def with_slot(rows: DataFrame, window_s: int, closed_until_ms: int | None) -> DataFrame:
    """Add ``slot``: ``open``, or of a closed window the date (UTC) of its start."""
    closed = window_ended(window_s, closed_until_ms)
    date = sf.date_format("window_start", "yyyy-MM-dd")
    return rows.withColumn("slot", sf.when(closed, date).otherwise(OPEN))


def top_keys(rows: DataFrame, limit: int) -> DataFrame:
    """Keep of each window and dimension the keys with the most lines.

    Returns:
        Columns ``window_start, dimension, key, lines, sent_bytes, keys``; ``keys`` is how many there were.
    """
    group = Window.partitionBy("window_start", "dimension")
    ordered = group.orderBy(sf.desc("lines"), sf.asc("key"))
    return (
        rows.groupBy(*WINDOW_KEY)
        .agg(sf.sum("lines").alias("lines"), sf.sum("sent_bytes").alias("sent_bytes"))
        .select(
            *WINDOW_KEY,
            "lines",
            "sent_bytes",
            sf.count("*").over(group).alias("keys"),
            sf.row_number().over(ordered).alias("place"),
        )
        .where(sf.col("place") <= limit)
        .drop("place")
    )
