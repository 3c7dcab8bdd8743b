"""Starts Spark: one JVM of a fixed heap; all that grows with a partition spills to disk."""

import os
import sys
from pathlib import Path

from pyspark.sql import SparkSession

from reconciliation.options import Options

SHUFFLE_PARTITIONS = 32  # adaptive execution joins the small ones


def start(options: Options, jars: list[Path]) -> SparkSession:
    """Start Spark."""
    os.environ["HADOOP_USER_NAME"] = options.hdfs_user
    os.environ["PYSPARK_PYTHON"] = sys.executable
    local = options.master.startswith("local")
    if local:
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
    builder = (
        SparkSession.builder.appName("reconcile")
        .config("spark.sql.session.timeZone", options.zone)
        .config("spark.sql.ansi.enabled", "false")  # hash sums wrap around at 64 bits
        .config("spark.sql.shuffle.partitions", SHUFFLE_PARTITIONS)
        .config("spark.sql.catalogImplementation", "in-memory")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs", "false")
        .config("spark.hadoop.ipc.client.connect.max.retries", 3)
        .config("spark.hadoop.ipc.client.connect.max.retries.on.timeouts", 1)
        .config("spark.hadoop.fs.defaultFS", options.hdfs_url)
    )
    if options.master:
        builder = builder.master(options.master)
    if "PYSPARK_GATEWAY_PORT" not in os.environ:  # else spark-submit started the JVM already
        builder = builder.config("spark.driver.memory", f"{options.heap_mb}m").config(
            "spark.driver.extraJavaOptions", "-XX:+UseParallelGC -XX:MaxMetaspaceSize=256m"
        )
    if local:
        builder = (
            builder.config("spark.driver.host", "127.0.0.1")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.jars", ",".join(map(str, jars)))
        )
        if "SPARK_LOCAL_DIRS" not in os.environ:
            builder = builder.config("spark.local.dir", str(options.local_dir))
    spark = builder.getOrCreate()
    spark.sparkContext.setLogLevel("WARN")
    return spark
