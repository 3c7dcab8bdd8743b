"""The streaming query: raw records of the topic, handed over batch by batch."""

import json
from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.streaming.query import StreamingQuery

from windows.options import Options

QUERY_NAME = "windows"


def raw_records(topic: DataFrame) -> DataFrame:
    """Select what is counted from Kafka's columns: ``key, value, partition, offset, arrival_ms, hash``.

    A record without a value is an empty line.
    """
    return topic.withColumn("value", sf.expr("coalesce(value, X'')")).select(
        "key",
        "value",
        "partition",
        "offset",
        sf.unix_millis("timestamp").alias("arrival_ms"),
        sf.xxhash64("value").alias("hash"),
    )


def read_topic(spark: SparkSession, options: Options, starts: dict[int, int]) -> DataFrame:
    """Read the topic as a stream of `raw_records`; a new query begins at ``starts``, or at the topic's start.

    No ``minPartitions``: a task must hold one partition's records in order, or repeats could not be told.
    """
    return raw_records(
        spark.readStream.format("kafka")
        .options(**{f"kafka.{name}": value for name, value in options.kafka_java.items()})
        .option("groupIdPrefix", options.windows_topic)
        .option("subscribe", options.topic)
        .option("startingOffsets", json.dumps({options.topic: starts}) if starts else "earliest")
        .option("maxOffsetsPerTrigger", options.max_offsets)
        .option("failOnDataLoss", "true")
        .option("kafka.max.poll.records", 5_000)
        .option("kafka.max.partition.fetch.bytes", 8 << 20)
        .option("kafka.request.timeout.ms", 15_000)
        .option("kafka.default.api.timeout.ms", 20_000)
        .load()
    )


def start_query(
    spark: SparkSession,
    options: Options,
    folder: str,
    starts: dict[int, int],
    count_batch: Callable[[DataFrame, int], None],
) -> StreamingQuery:
    """Start the one query, from its checkpoint in ``folder``, or, without one, as `read_topic` says."""
    return (
        read_topic(spark, options, starts)
        .writeStream.queryName(QUERY_NAME)
        .option("checkpointLocation", folder)
        .trigger(processingTime=f"{int(options.trigger_s * 1000)} milliseconds")
        .foreachBatch(count_batch)
        .start()
    )
