"""The original's way, as a baseline: six streaming queries, each reading and parsing the topic for itself.

Complete mode, no checkpoint, Spark's defaults, tables on the console. `python six_queries.py BOOTSTRAP TOPIC
LINES` ends when every query has read that many lines, and prints the seconds that took on stderr.
"""

import sys
import time
from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as sf

JARS = Path(__file__).resolve().parents[1] / "build" / "jars" / "spark"
LINE = r'^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) (\S+)[^"]*" (\d{3}) (\S+)'


def main(bootstrap: str, topic: str, lines: int) -> None:
    spark = (
        SparkSession.builder.appName("six queries")
        .config("spark.jars", ",".join(map(str, JARS.glob("*.jar"))))
        .config("spark.driver.memory", "1g")
        .config("spark.ui.enabled", "false")
        .config("spark.ui.showConsoleProgress", "false")
        .config("spark.driver.host", "127.0.0.1")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    names = ("host", "time", "method", "endpoint", "status", "size")
    source = (
        spark.readStream.format("kafka")
        .option("kafka.bootstrap.servers", bootstrap)
        .option("subscribe", topic)
        .option("startingOffsets", "earliest")
        .option("maxOffsetsPerTrigger", 500_000)
        .load()
    )
    line = sf.col("value").cast("string")
    parsed = source.select(
        "timestamp", *(sf.regexp_extract(line, LINE, at + 1).alias(name) for at, name in enumerate(names))
    )
    window = sf.window("timestamp", "60 seconds")
    counts = [
        parsed.groupBy(window).count(),
        parsed.groupBy(window, "method").count(),
        parsed.groupBy(window, "host").count(),
        parsed.groupBy(window, "endpoint").count(),
        parsed.groupBy(window, "status").count(),
        parsed.where("status >= 400").groupBy(window, "status").count(),
    ]
    began = time.monotonic()
    queries = [
        count.orderBy("window")
        .writeStream.outputMode("complete")
        .format("console")
        .queryName(f"q{at}")
        .start()
        for at, count in enumerate(counts)
    ]
    read = dict.fromkeys((query.name for query in queries), 0)
    seen: set[tuple[str, int]] = set()
    while min(read.values()) < lines:
        for query in queries:
            if query.exception():
                raise query.exception()
            for progress in query.recentProgress:
                if (query.name, progress.batchId) not in seen and progress.numInputRows:
                    seen.add((query.name, progress.batchId))
                    read[query.name] += progress.numInputRows
        time.sleep(0.2)
    print(f"{time.monotonic() - began:.1f}", file=sys.stderr)
    for query in queries:
        query.stop()
    spark.stop()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
