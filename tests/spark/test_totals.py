"""DataFrame functions over window rows, on tiny frames."""

from datetime import UTC, datetime

from pyspark.sql import DataFrame, SparkSession

from windows import kafka_rows, totals
from windows.counts import PARTIALS_SCHEMA


def partial(bucket_s: int, dimension: str, key: str, lines: int, hash_sum: int = 0) -> tuple[object, ...]:
    return bucket_s, dimension, key, lines, lines * 10, lines * 100, hash_sum, None, None, None


def at(second: int) -> datetime:
    return datetime.fromtimestamp(second, UTC)


def rows_of(frame: DataFrame, *columns: str) -> list[tuple[object, ...]]:
    rows = []
    for row in frame.select(*columns).collect():
        rows.append(tuple(v.astimezone(UTC).timestamp() if isinstance(v, datetime) else v for v in row))
    return sorted(rows)


def window_rows(spark: SparkSession, *rows: tuple[object, ...]) -> DataFrame:
    """Rows of (start, dimension, key, lines, part, step)."""
    full = [(at(start), dim, key, lines, 0, 0, 0, part, step) for start, dim, key, lines, part, step in rows]  # type: ignore[arg-type]
    return spark.createDataFrame(full, totals.ROW_SCHEMA)


def test_tumbling_windows(spark: SparkSession) -> None:
    partials = spark.createDataFrame(
        [partial(60, "host", "a", 2), partial(120, "host", "a", 1)], PARTIALS_SCHEMA
    )
    windows = totals.to_windows(partials, 60, 60, step=7)
    assert rows_of(windows, "window_start", "key", "lines", "sent_bytes", "part", "step") == [
        (60, "a", 2, 20, 7, 7),
        (120, "a", 1, 10, 7, 7),
    ]


def test_sliding_windows_hold_a_line_several_times(spark: SparkSession) -> None:
    partials = spark.createDataFrame([partial(120, "host", "a", 2)], PARTIALS_SCHEMA)
    windows = totals.to_windows(partials, 60, 20, step=1)
    assert rows_of(windows, "window_start", "lines") == [(80, 2), (100, 2), (120, 2)]


def test_dead_letters_are_no_rows(spark: SparkSession) -> None:
    dead = (60, None, "empty", None, None, None, None, 2, 77, bytearray(b"\xff"))
    partials = spark.createDataFrame([partial(60, "total", "", 1), dead], PARTIALS_SCHEMA)
    assert totals.to_windows(partials, 60, 60, 1).count() == 1
    (record,) = kafka_rows.dead_letter_records(partials).collect()
    assert (record.key, bytes(record.value)) == ("2:77", b"\xff")
    assert [(header.key, bytes(header.value)) for header in record.headers] == [("reason", b"empty")]


def test_sums_wrap_around_at_64_bits(spark: SparkSession) -> None:
    partials = spark.createDataFrame(
        [partial(0, "total", "", 1, 2**63 - 1), partial(0, "total", "", 1, 2)], PARTIALS_SCHEMA
    )
    summed = totals.summed(totals.to_windows(partials, 60, 60, 1))
    assert rows_of(summed, "lines", "hash_sum") == [(2, -(2**63) + 1)]


def test_sums_keep_first_part_and_last_step(spark: SparkSession) -> None:
    rows = window_rows(spark, (0, "host", "a", 5, 3, 4), (0, "host", "a", 1, 9, 9), (0, "host", "b", 1, 9, 9))
    assert rows_of(totals.summed(rows), "key", "lines", "part", "step") == [("a", 6, 3, 9), ("b", 1, 9, 9)]


def test_slots(spark: SparkSession) -> None:
    rows = window_rows(
        spark, (0, "total", "", 1, 1, 1), (60, "total", "", 1, 1, 1), (86_400, "total", "", 1, 1, 1)
    )
    assert rows_of(totals.with_slot(rows, 60, 120_000), "window_start", "slot") == [
        (0, "1970-01-01"),
        (60, "1970-01-01"),
        (86_400, "open"),
    ]
    assert rows_of(totals.with_slot(rows, 60, None), "slot") == [("open",)] * 3


def test_top_keys_say_how_many_there_are(spark: SparkSession) -> None:
    rows = window_rows(
        spark,
        (0, "host", "a", 1, 1, 1),
        (0, "host", "b", 3, 1, 1),
        (0, "host", "c", 2, 1, 1),
        (0, "host", "a", 4, 2, 2),
    )
    assert rows_of(totals.top_keys(rows, 2), "key", "lines", "keys") == [("a", 5, 3), ("b", 3, 3)]


def test_kafka_record_of_a_row(spark: SparkSession) -> None:
    from pyspark.sql import functions as sf

    rows = window_rows(spark, (60, "endpoint", "/a|b", 4, 2, 3))
    (record,) = kafka_rows.window_records(rows, 60, sf.lit(True)).collect()
    assert record.key == "1970-01-01T00:01:00Z|endpoint|/a|b|2"
    assert record.value == (
        '{"window_start":"1970-01-01T00:01:00Z","window_end":"1970-01-01T00:02:00Z","dimension":"endpoint",'
        '"key":"/a|b","lines":4,"sent_bytes":0,"part":2,"final":true}'
    )
