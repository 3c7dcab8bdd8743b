"""The topic's records as frames: which count for a day, and their lines in order.

All per-record work is Spark's own expressions on the JVM; what grows with the day is spilled to disk.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F  # noqa: N812

from logpipe.digest import Digest
from reconciliation.day import Day
from reconciliation.lines import LINE_KEY, digest_columns, line_key, to_digest

RECORDS_SCHEMA = "key binary, value binary, partition int, offset long, time_ms long"
# Repeats up to so many are sent to each task; more are joined by sorting.
BROADCAST_REPEATS = 500_000
_SALTS = 64  # spreads records without identity


@dataclass(frozen=True)
class PartitionSummary:
    """What a Kafka partition holds of a day, repeats left out."""

    partition: int
    first_offset: int
    last_offset: int
    digest: Digest


class TopicReader:
    """Reads offset ranges of a topic."""

    def __init__(self, spark: SparkSession, bootstrap: str, topic: str) -> None:
        self._spark = spark
        self._bootstrap = bootstrap
        self._topic = topic

    def read(self, ranges: Mapping[int, tuple[int, int]], tasks: int = 1) -> DataFrame:
        """Read ``[start, stop)`` of partitions with at least ``tasks`` tasks; shape of `RECORDS_SCHEMA`.

        A task holds an offset range of one partition, in order.
        """
        wanted = {partition: (start, stop) for partition, (start, stop) in ranges.items() if stop > start}
        if not wanted:
            return self._spark.createDataFrame([], RECORDS_SCHEMA)
        starts, stops = (
            json.dumps({self._topic: {str(partition): both[at] for partition, both in wanted.items()}})
            for at in (0, 1)
        )
        return (
            self._spark.read.format("kafka")
            .option("kafka.bootstrap.servers", self._bootstrap)
            .option("assign", json.dumps({self._topic: sorted(wanted)}))
            .option("startingOffsets", starts)
            .option("endingOffsets", stops)
            .option("minPartitions", max(tasks, len(wanted)))
            .option("failOnDataLoss", "true")
            .load()
            .select(
                "key",
                F.coalesce("value", F.lit(b"")).alias("value"),
                "partition",
                "offset",
                F.unix_millis("timestamp").alias("time_ms"),
            )
        )


def identity(key: Column) -> tuple[Column, Column]:
    """Replay (binary) and line number of a record's key ``<replay>:<line number>``; null without identity."""
    number = F.substring_index(key.cast("string"), ":", -1)
    replay = F.substring(key, F.lit(1), F.length(key) - F.length(number) - 1)
    is_identity = number.rlike("^[0-9]{1,18}$") & (F.length(key) > F.length(number) + 1)
    return F.when(is_identity, replay), F.when(is_identity, number.cast("long"))


def marks(records: DataFrame) -> DataFrame:
    """The highest line number of each replay in each partition: columns ``partition, replay, mark``."""
    replay, number = identity(F.col("key"))
    return (
        records.select("partition", replay.alias("replay"), number.alias("number"))
        .where(F.col("number").isNotNull())
        .groupBy("partition", "replay")
        .agg(F.max("number").alias("mark"))
    )


def day_index(records: DataFrame, earlier_marks: DataFrame | None, day: Day) -> DataFrame:
    """Tell which records count for a day, without carrying their lines.

    Args:
        records: Shape of `RECORDS_SCHEMA`; all records of the offset ranges that hold the day's.
        earlier_marks: `marks` of the records before; None where there are none.
        day: The day.

    Returns:
        A row a record of the day: ``partition, offset, repeat`` (True: its number is not above all before
        it of its replay in its partition), the line's key (`lines.LINE_KEY`), and ``pieces``: the keys of
        the lines that a record with a line end inside becomes on HDFS, else null.
    """
    replay, number = identity(F.col("key"))
    value = F.col("value")
    narrow = records.select(
        "partition",
        "offset",
        "time_ms",
        replay.alias("replay"),
        number.alias("number"),
        *line_key(value),
        F.when(F.locate("\n", value.cast("string")) > 0, _pieces(value)).alias("pieces"),
    ).withColumn("salt", F.when(F.col("number").isNull(), F.col("offset") % _SALTS))
    before = (
        Window.partitionBy("partition", "replay", "salt")
        .orderBy("offset")
        .rowsBetween(Window.unboundedPreceding, -1)
    )
    highest = F.greatest(F.max("number").over(before), F.col("mark"))
    marked = (
        narrow.withColumn("mark", F.lit(None).cast("long"))
        if earlier_marks is None
        else narrow.join(F.broadcast(earlier_marks), ["partition", "replay"], "left")
    )
    return (
        marked.withColumn("repeat", F.coalesce(F.col("number") <= highest, F.lit(False)))
        .where(_in_day(day))
        .select("partition", "offset", "repeat", *LINE_KEY, "pieces")
    )


def _pieces(value: Column) -> Column:
    # ISO-8859-1 maps every byte to a character and back, so that splitting keeps the bytes.
    parts = F.split(F.decode(value, "ISO-8859-1"), "\n", -1)
    return F.transform(parts, lambda part: F.struct(*line_key(F.encode(part, "ISO-8859-1"))))


def _in_day(day: Day) -> Column:
    return (F.col("time_ms") >= day.start_ms) & (F.col("time_ms") < day.end_ms)


class DayRecords:
    """The records of a day: which count, their digest, their lines."""

    def __init__(
        self,
        reader: TopicReader,
        day: Day,
        before: Mapping[int, tuple[int, int]],
        ranges: Mapping[int, tuple[int, int]],
    ) -> None:
        self._reader = reader
        self._day = day
        self._ranges = ranges
        earlier = marks(reader.read(before)) if any(stop > start for start, stop in before.values()) else None
        index = day_index(reader.read(ranges, tasks=4), earlier, day)
        self._index = index.persist(StorageLevel.DISK_ONLY)
        rows = (
            self._index.groupBy("partition", "repeat")
            .agg(
                F.count("*").alias("records"),
                F.min("offset").alias("first"),
                F.max("offset").alias("last"),
                F.count("pieces").alias("split"),
                *digest_columns(),
            )
            .collect()
        )
        self.repeats = sum(row["records"] for row in rows if row["repeat"])
        self._splits = sum(row["split"] for row in rows if not row["repeat"])
        self.partitions = sorted(
            (
                PartitionSummary(row["partition"], row["first"], row["last"], to_digest(row))
                for row in rows
                if not row["repeat"]
            ),
            key=lambda summary: summary.partition,
        )
        self.digest = sum((summary.digest for summary in self.partitions), Digest())
        if self._splits:
            self.digest = to_digest(self.keys().agg(*digest_columns()).first())

    def close(self) -> None:
        """Free what was spilled."""
        self._index.unpersist()

    def keys(self) -> DataFrame:
        """The keys of the day's lines, each identity once; columns `lines.LINE_KEY`."""
        counted = self._index.where(~F.col("repeat"))
        if not self._splits:
            return counted.select(*LINE_KEY)
        pieces = counted.where(F.col("pieces").isNotNull()).select(F.inline("pieces"))
        return counted.where(F.col("pieces").isNull()).select(*LINE_KEY).unionByName(pieces)

    def lines(self, target_bytes: int) -> tuple[DataFrame, int]:
        """The day's lines in (partition, offset) order, column ``value``, and into how many files they go.

        A task holds what goes into one file of about ``target_bytes``, and the tasks stand in order.
        """
        ranges = list(self._file_ranges(target_bytes))
        files = max(1, -(-(self.digest.size_bytes + self.digest.lines) // target_bytes))
        frames = [self._reader.read({partition: (start, stop)}) for partition, start, stop in ranges]
        if not frames:
            return self._reader.read({}).select("value"), 1
        records = reduce(DataFrame.unionAll, frames).where(_in_day(self._day))
        if self.repeats:
            repeats = self._index.where("repeat").select("partition", "offset")
            if self.repeats > BROADCAST_REPEATS:
                records = (
                    records.join(repeats, ["partition", "offset"], "left_anti")
                    .repartitionByRange(files, "partition", "offset")
                    .sortWithinPartitions("partition", "offset")
                )
                return records.select("value"), files
            records = records.join(F.broadcast(repeats), ["partition", "offset"], "left_anti")
        if files < len(frames):
            records = records.coalesce(files)
        return records.select("value"), min(files, len(frames))

    def _file_ranges(self, target_bytes: int) -> Iterable[tuple[int, int, int]]:
        for summary in self.partitions:
            start, stop = summary.first_offset, summary.last_offset + 1
            size = summary.digest.size_bytes + summary.digest.lines
            files = max(1, -(-size // target_bytes))
            edges = [start + (stop - start) * n // files for n in range(files + 1)]
            for left, right in pairwise(edges):
                if right > left:
                    yield summary.partition, left, right

    def lines_of(self, wanted: DataFrame) -> DataFrame:
        """The lines of some keys, so often as asked.

        Args:
            wanted: Columns `lines.LINE_KEY` and ``copies``.

        Returns:
            Column ``value``.
        """
        value = F.col("value")
        records = self._reader.read(self._ranges, tasks=4).where(_in_day(self._day))
        values = records.select("value")
        if self._splits:
            parts = F.transform(
                F.split(F.decode(value, "ISO-8859-1"), "\n", -1), lambda part: F.encode(part, "ISO-8859-1")
            )
            values = values.select(F.explode(parts).alias("value"))
        return (
            values.select("value", *line_key(value))
            .join(wanted, LINE_KEY)
            .groupBy(*LINE_KEY)
            .agg(F.first("value").alias("value"), F.first("copies").alias("copies"))
            .select("value", F.explode(F.sequence(F.lit(1), F.col("copies").cast("int"))))
            .select("value")
        )


def arrival_dates(records: DataFrame, wanted: DataFrame) -> list[str]:
    """The arrival dates (``yyyy-MM-dd``, session's zone) at which lines of some keys came, oldest first.

    Args:
        records: Shape of `RECORDS_SCHEMA`.
        wanted: Columns `lines.LINE_KEY`.
    """
    dated = records.select(
        *line_key(F.col("value")),
        F.date_format(F.timestamp_millis("time_ms"), "yyyy-MM-dd").alias("date"),
    )
    rows = dated.join(wanted, LINE_KEY, "left_semi").select("date").distinct().collect()
    return sorted(row["date"] for row in rows)
