"""The job's options, checked before anything starts."""

import argparse
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from logpipe.settings import PROJECT_DIR, WATERMARKS_S, Settings, TimeMode
from logpipe.settings.kafka_access import KafkaAccessError, how, java_client


class OptionError(ValueError):
    """An option has a value that can't work; the message names option, value and what is expected."""


@dataclass(frozen=True)
class Options:
    """What the job was told. Times are in seconds, sizes in MiB; see `parser` for the meaning of each."""

    bootstrap: str
    topic: str
    windows_topic: str
    dead_letters_topic: str
    hdfs_url: str
    hdfs_user: str
    checkpoint_dir: str
    windows_dir: str
    ledger_dir: str
    time: TimeMode
    window_s: int
    slide_s: int
    watermark_s: int
    idle_s: int
    trigger_s: float
    max_offsets: int
    identity_days: int
    keep_days: int
    max_keys: int
    console_interval_s: float
    console_windows: int
    console_file: str
    top: int
    master: str
    heap_mb: int
    jars_dir: Path
    ui_port: int
    replication: int
    kafka_known_as: str
    # With a password, perhaps: for clients of librdkafka, and for Spark's Java.
    kafka_client: Mapping[str, Any] = field(repr=False)
    kafka_java: Mapping[str, str] = field(repr=False)

    def __post_init__(self) -> None:
        for name in (
            "window_s", "slide_s", "idle_s", "max_keys", "max_offsets", "identity_days", "console_windows",
            "top",
        ):  # fmt: skip
            _require(getattr(self, name) >= 1, name, getattr(self, name), "a number from 1 on")
        for name in ("watermark_s", "keep_days", "trigger_s", "console_interval_s", "replication"):
            _require(getattr(self, name) >= 0, name, getattr(self, name), "a number from 0 on")
        _require(
            self.window_s % self.slide_s == 0,
            "slide_s",
            self.slide_s,
            f"a divisor of the window of {self.window_s} s, so that all lines are in equally many windows",
        )
        _require(re.fullmatch(r"hdfs://[^/]+", self.hdfs_url), "hdfs_url", self.hdfs_url, "hdfs://host:port")
        for name in ("checkpoint_dir", "windows_dir", "ledger_dir"):
            _require(
                getattr(self, name).startswith("/"), name, getattr(self, name), "an absolute path on HDFS"
            )
        inside = f"{self.windows_dir}/".startswith(f"{self.checkpoint_dir}/")
        _require(not inside, "windows_dir", self.windows_dir, f"a folder outside of {self.checkpoint_dir}")
        topics = (self.topic, self.windows_topic, self.dead_letters_topic)
        _require(len(set(topics)) == len(topics), "topic", self.topic, "three topics with three names")

    @property
    def checkpoint_url(self) -> str:
        """The checkpoint folder with its file system."""
        return self.hdfs_url + self.checkpoint_dir

    @property
    def windows_url(self) -> str:
        """The Parquet output's folder with its file system."""
        return self.hdfs_url + self.windows_dir

    def fixed(self) -> dict[str, Any]:
        """The parameters that a checkpoint is bound to: with others its counts would mean something else."""
        return {
            "topic": self.topic,
            "time": self.time,
            "window_s": self.window_s,
            "slide_s": self.slide_s,
            "windows_dir": self.windows_dir,
        }


def _require(holds: Any, name: str, value: Any, expected: str) -> None:
    if not holds:
        raise OptionError(f"--{name.replace('_', '-')} is {value}, expected {expected}")


def parser(settings: Settings) -> argparse.ArgumentParser:
    """Make the command line's parser; its defaults are the settings."""
    cli = argparse.ArgumentParser(
        prog="stream_windows.py",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Counts the lines of a Kafka topic in windows of time, by method, host, endpoint, status "
        "and more (docs/windows.md): each line once, through restarts. Tables go to stdout, the log to "
        "stderr, window rows to a Kafka topic and to Parquet on HDFS. SIGTERM, or a file named `stop` in the "
        "checkpoint folder, ends it with the batch finished. "
        "The defaults are the project's settings (LOGPIPE_… in the environment).",
    )
    source = cli.add_argument_group("source")
    source.add_argument("--bootstrap", default=settings.kafka_bootstrap, help="Kafka's address, host:port")
    source.add_argument("--topic", default=settings.topic, help="topic of log lines, read from its start")
    source.add_argument(
        "--max-offsets", type=int, default=500_000, help="lines a batch at most: bounds memory in a backlog"
    )
    source.add_argument(
        "--identity-days", type=int, default=1,
        help="a replay that sent nothing for so long, and that the ledger does not hold or holds as sealed, "
        "is forgotten; a record repeated later would count again",
    )  # fmt: skip
    source.add_argument(
        "--ledger-dir", default=settings.hdfs_ledger_dir, help="the replays' records, on HDFS"
    )
    windows = cli.add_argument_group("windows")
    windows.add_argument(
        "--time", choices=["arrival", "event"], default=settings.windows_time,
        help="what dates a line: its arrival in Kafka, or the time written in it",
    )  # fmt: skip
    windows.add_argument("--window-s", type=int, default=settings.window_s, help="length of a window")
    windows.add_argument(
        "--slide-s",
        type=int,
        help="step from window to window, a divisor of the length (default: as set, or the length)",
    )
    windows.add_argument(
        "--watermark-s", type=int,
        help="a window is closed when lines dated so much after its end were seen; later lines for it count "
        f"as late and are added all the same (default: as set, or {WATERMARKS_S['arrival']} in arrival time, "
        f"{WATERMARKS_S['event']} in event time)",
    )  # fmt: skip
    windows.add_argument(
        "--idle-s", type=int, default=30, help="in event time: close all windows after so long without a line"
    )
    windows.add_argument(
        "--max-keys", type=int, default=settings.windows_keys,
        help="most keys of a window and dimension in a batch and in a file; of more, those with few lines "
        "count as (other)",
    )  # fmt: skip
    output = cli.add_argument_group("output")
    output.add_argument("--windows-topic", help="topic of window rows, compacted (default: <topic>_windows)")
    output.add_argument(
        "--dead-letters-topic", help="topic of malformed and late lines (default: <topic>_dead_letters)"
    )
    output.add_argument("--hdfs-url", default=settings.hdfs_url, help="HDFS's address, hdfs://host:port")
    output.add_argument("--hdfs-user", default=settings.hdfs_user, help="user on HDFS")
    output.add_argument("--checkpoint-dir", default=settings.hdfs_checkpoint_dir, help="state, on HDFS")
    output.add_argument("--windows-dir", default=settings.hdfs_windows_dir, help="Parquet output, on HDFS")
    output.add_argument(
        "--keep-days",
        type=int,
        default=400,
        help="delete closed windows so long after they were written; 0: never",
    )
    output.add_argument(
        "--replication", type=int, default=0, help="copies of each file on HDFS; 0: as the NameNode says"
    )
    output.add_argument("--console-interval-s", type=float, default=5.0, help="print tables at most so often")
    output.add_argument("--console-windows", type=int, default=2, help="newest windows in each table")
    output.add_argument(
        "--console-file", default=settings.hdfs_console_file,
        help="put the last tables there too, on HDFS; empty: nowhere",
    )  # fmt: skip
    output.add_argument("--top", type=int, default=10, help="most keys of a window in a table")
    run = cli.add_argument_group("run")
    run.add_argument(
        "--master", default=settings.spark_master if settings.spark_master.startswith("local") else "",
        help="Spark master (default: local with one task more than cores; what spark-submit says, under it)",
    )  # fmt: skip
    run.add_argument("--heap-mb", type=int, default=settings.spark_heap_mb, help="heap of the driver's JVM")
    run.add_argument(
        "--jars-dir",
        type=Path,
        default=PROJECT_DIR / "build" / "jars" / "spark",
        help="Kafka connector's jars",
    )
    run.add_argument("--ui-port", type=int, default=settings.spark_ui_port, help="Spark's page and REST API")
    run.add_argument("--trigger-s", type=float, default=1.0, help="look for new lines so often")
    return cli


def from_arguments(arguments: list[str], settings: Settings) -> Options:
    """Parse and check a command line.

    Raises:
        OptionError: a value can't work.
    """
    values = vars(parser(settings).parse_args(arguments))
    if values["slide_s"] is None:
        as_set = values["window_s"] == settings.window_s
        values["slide_s"] = settings.slide_s if as_set else values["window_s"]
    if values["watermark_s"] is None:
        as_set = values["time"] == settings.windows_time
        values["watermark_s"] = settings.watermark_s if as_set else WATERMARKS_S[values["time"]]
    if not values["master"] and "PYSPARK_GATEWAY_PORT" not in os.environ:
        values["master"] = f"local[{(os.cpu_count() or 1) + 1}]"  # a task also waits for Kafka and Python
    named = settings.model_copy(update={"topic": values["topic"]})
    for name in ("windows_topic", "dead_letters_topic"):
        values[name] = values[name] or getattr(named, name)
    for name in ("checkpoint_dir", "windows_dir"):
        values[name] = values[name].rstrip("/")
    address = {"bootstrap.servers": values["bootstrap"]}
    try:
        return Options(
            **values,
            kafka_known_as=how(settings, "windows"),
            kafka_client=settings.kafka_client("windows") | address,
            kafka_java=java_client(settings, "windows") | address,
        )
    except KafkaAccessError as error:
        raise OptionError(str(error)) from None
