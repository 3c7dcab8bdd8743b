"""Which records count, on tiny frames."""

from datetime import date

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F  # noqa: N812

from logpipe.digest import line_hash
from reconciliation.day import Day
from reconciliation.lines import line_key
from reconciliation.records import RECORDS_SCHEMA, day_index, identity, marks

DAY = Day(date(2026, 3, 10), "UTC")
NOON_MS = DAY.start_ms + 12 * 3_600_000


def records(spark: SparkSession, rows: list[tuple[str | None, int, int, int]]):
    """(key, partition, offset, time) with any line."""
    return spark.createDataFrame(
        [(None if key is None else bytearray(key.encode()), bytearray(b"x"), *place) for key, *place in rows],
        RECORDS_SCHEMA,
    )


def counted(frame) -> list[tuple[int, int]]:
    rows = frame.where("not repeat").orderBy("partition", "offset").collect()
    return [(row["partition"], row["offset"]) for row in rows]


def test_a_record_counts_when_its_number_is_above_all_before(spark: SparkSession) -> None:
    frame = records(
        spark,
        [
            ("a:1", 0, 0, NOON_MS), ("a:4", 0, 1, NOON_MS), ("a:1", 0, 2, NOON_MS), ("a:4", 0, 3, NOON_MS),
            ("a:7", 0, 4, NOON_MS), ("b:1", 0, 5, NOON_MS), ("a:2", 1, 0, NOON_MS), ("a:3", 1, 1, NOON_MS),
            ("x:y:9", 1, 2, NOON_MS), ("x:y:8", 1, 3, NOON_MS), ("x:8", 1, 4, NOON_MS),
        ],
    )  # fmt: skip
    expected = [(0, 0), (0, 1), (0, 4), (0, 5), (1, 0), (1, 1), (1, 2), (1, 4)]
    assert counted(day_index(frame, None, DAY)) == expected


def test_records_without_identity_all_count(spark: SparkSession) -> None:
    keys = [None, None, "", "a", "a:", ":1", "a:-1", "a:1.5", "a: 1", "a:1x", "a:" + "9" * 19]
    frame = records(spark, [(key, 0, at, NOON_MS) for at, key in enumerate(keys)])
    assert len(counted(day_index(frame, None, DAY))) == len(keys)


def test_a_repeat_after_midnight_belongs_to_the_day_of_the_first(spark: SparkSession) -> None:
    earlier = records(spark, [("a:5", 0, 0, DAY.start_ms - 1), ("a:9", 1, 0, DAY.start_ms - 1)])
    frame = records(
        spark, [("a:5", 0, 1, DAY.start_ms), ("a:6", 0, 2, DAY.start_ms), ("a:6", 0, 3, DAY.end_ms)]
    )
    assert counted(day_index(frame, marks(earlier), DAY)) == [(0, 2)]


def test_a_record_of_the_next_day_in_between_still_marks(spark: SparkSession) -> None:
    frame = records(spark, [("a:6", 0, 0, DAY.end_ms), ("a:6", 0, 1, NOON_MS), ("a:7", 0, 2, NOON_MS)])
    assert counted(day_index(frame, None, DAY)) == [(0, 2)]


def test_the_identity_is_cut_at_the_last_colon(spark: SparkSession) -> None:
    replay, number = identity(F.col("key"))
    row = records(spark, [("a:b:12", 0, 0, 0)]).select(replay.alias("replay"), number.alias("number")).first()
    assert row is not None
    assert (bytes(row["replay"]), row["number"]) == (b"a:b", 12)


@pytest.mark.parametrize("line", [b"", b"\x00", b"\xff\xfe", "Zeile ü".encode(), b"x" * 1000])
def test_spark_and_the_digest_hash_alike(spark: SparkSession, line: bytes) -> None:
    row = (
        spark.createDataFrame([(bytearray(line),)], "value binary").select(*line_key(F.col("value"))).first()
    )
    assert row is not None
    assert row["hash64"] % (1 << 64) == line_hash(line)
    assert row["line_bytes"] == len(line)
