"""Loads and compiles what the first batch needs while the job still waits for Kafka and HDFS.

Cold, a batch takes seconds: Spark makes its plan's code and starts the Python workers, which load polars.
Lines that come meanwhile would wait for all of it.
"""

import logging
import threading

import polars as pl
from py4j.protocol import Py4JError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as sf

from windows.counts import CountPlan, count_batch
from windows.options import Options
from windows.patience import first_line
from windows.rows import to_windows
from windows.source import raw_records

log = logging.getLogger("windows")

_LINE = '127.0.0.1 - - [01/Jul/1995:00:00:01 -0400] "GET / HTTP/1.0" 200 1'


def begin(spark: SparkSession, options: Options) -> None:
    """Count a line in each of the master's tasks, beside what else the job does; nobody sees the result."""
    threading.Thread(target=count, args=(spark, options), name="warm-up", daemon=True).start()


def count(spark: SparkSession, options: Options) -> int:
    """Count the lines; gives how many were good ones. An error is told of, and none."""
    plan = CountPlan(options.time, options.window_s, options.slide_s, None, {}, {}, _no_letters)
    try:
        results = count_batch(_records(spark), plan)
    except (OSError, Py4JError, PySparkException) as error:
        log.warning("The warm-up failed, so the first batch takes longer: %s", first_line(error))
        return 0
    to_windows([partials for partials, _ in results], options.window_s, options.slide_s)
    return sum(seen.lines - seen.malformed for _, seen in results)


def _records(spark: SparkSession) -> DataFrame:
    """The line, once for each of the tasks that run side by side."""
    tasks = spark.sparkContext.defaultParallelism
    return raw_records(
        spark.range(0, tasks, 1, tasks).select(
            sf.lit(None).cast("binary").alias("key"),
            sf.lit(_LINE).cast("binary").alias("value"),
            sf.col("id").cast("int").alias("partition"),
            sf.lit(0).cast("long").alias("offset"),
            sf.current_timestamp().alias("timestamp"),
        )
    )


def _no_letters(letters: pl.DataFrame) -> None:
    """The line is a good one."""
