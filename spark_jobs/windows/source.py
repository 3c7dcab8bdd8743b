"""The streaming query: raw records of the topic, handed over batch by batch."""

from collections.abc import Callable

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf
from pyspark.sql.streaming.query import StreamingQuery

from windows.options import Options

QUERY_NAME = "windows"


def raw_records(topic: DataFrame) -> DataFrame:
    """Select what is counted from Kafka's columns: ``key, value, partition, offset, arrival_ms, hash``."""
    return topic.select(
        "key",
        "value",
        "partition",
        "offset",
        sf.unix_millis("timestamp").alias("arrival_ms"),
        sf.xxhash64("value").alias("hash"),
    )


def read_topic(spark: SparkSession, options: Options) -> DataFrame:
    """Read the topic as a stream of `raw_records`.

    No ``minPartitions``: a task must hold one partition's records in order, or repeats could not be told.
    """
    return raw_records(
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", options.bootstrap)
        .option("subscribe", options.topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", options.max_offsets)
        .option("failOnDataLoss", "true")
        .option("kafka.max.poll.records", 5_000)
        .option("kafka.max.partition.fetch.bytes", 8 << 20)
        .option("kafka.request.timeout.ms", 15_000)
        .option("kafka.default.api.timeout.ms", 20_000)
        .load()
    )


def start_query(
    spark: SparkSession, options: Options, count_batch: Callable[[DataFrame, int], None]
) -> StreamingQuery:
    """Start the one query, from its checkpoint or from the topic's start."""
    return (
        read_topic(spark, options)
        .writeStream.queryName(QUERY_NAME)
        .option("checkpointLocation", f"{options.checkpoint_url}/query")
        .trigger(processingTime=f"{int(options.trigger_s * 1000)} milliseconds")
        .foreachBatch(count_batch)
        .start()
    )
