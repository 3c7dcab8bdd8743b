"""Writes window rows and dead letters to Kafka, keyed, so that writing them twice changes nothing.

A window row's key is ``<window start>|<dimension>|<key>|<part>``; its value the row's totals so far, as JSON.
A dead letter's key is ``<partition>:<offset>``, its value the line's bytes, its header ``reason``.
"""

from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as sf

from windows.totals import window_ended

_TIME_FORMAT = "yyyy-MM-dd'T'HH:mm:ss'Z'"


def window_records(rows: DataFrame, window_s: int, slot_is_final: Column) -> DataFrame:
    """Turn rows of `totals.ROW_SCHEMA` into Kafka records: columns ``key`` and ``value``, both strings."""
    start = sf.date_format("window_start", _TIME_FORMAT)
    end = sf.date_format(sf.timestamp_seconds(sf.unix_timestamp("window_start") + window_s), _TIME_FORMAT)
    value = sf.struct(
        start.alias("window_start"),
        end.alias("window_end"),
        "dimension",
        "key",
        "lines",
        "sent_bytes",
        "part",
        slot_is_final.alias("final"),
    )
    return rows.select(
        sf.concat_ws("|", start, "dimension", "key", "part").alias("key"), sf.to_json(value).alias("value")
    )


def dead_letter_records(partials: DataFrame) -> DataFrame:
    """Turn the dead letters among partial rows into Kafka records: ``key``, ``value`` and ``headers``."""
    reason = sf.struct(sf.lit("reason").alias("key"), sf.encode("key", "UTF-8").alias("value"))
    return partials.where("line is not null").select(
        sf.concat_ws(":", "partition", "offset").alias("key"),
        sf.col("line").alias("value"),
        sf.array(reason).alias("headers"),
    )


def send(records: DataFrame, bootstrap: str, topic: str) -> None:
    """Write records; returns when Kafka has them all with acks=all."""
    options: dict[str, Any] = {
        "kafka.bootstrap.servers": bootstrap,
        "topic": topic,
        "includeHeaders": "true",
        "kafka.linger.ms": "20",
        "kafka.batch.size": "262144",
        "kafka.compression.type": "lz4",
    }
    records.write.format("kafka").options(**options).save()


__all__ = ["dead_letter_records", "send", "window_ended", "window_records"]
