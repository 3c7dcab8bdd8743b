"""What the job is told, checked before anything starts."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from logpipe.settings import PROJECT_DIR, Settings
from reconciliation.day import Day
from reconciliation.errors import ReconcileError


@dataclass(frozen=True)
class Options:
    """Times in seconds, sizes in MiB; `parser` tells what each means."""

    date: date
    bootstrap: str
    topic: str
    group: str
    hdfs_url: str
    hdfs_user: str
    logs_dir: str
    zone: str
    roll_interval_s: int
    in_use_margin_s: int
    settle_s: int
    wait_s: int
    agent_stopped: bool
    late_records_s: int
    target_file_mb: int
    merge_above_files: int
    full: bool
    master: str
    heap_mb: int
    jars_dir: Path
    local_dir: Path

    def __post_init__(self) -> None:
        for name in ("roll_interval_s", "target_file_mb", "merge_above_files", "heap_mb"):
            self._require(name, 1)
        for name in ("in_use_margin_s", "settle_s", "wait_s", "late_records_s"):
            self._require(name, 0)
        if not self.logs_dir.startswith("/") or self.logs_dir == "/":
            raise ReconcileError(
                f"--logs-dir {self.logs_dir}: expected an absolute path such as /user/bigdata/logs"
            )

    def _require(self, name: str, least: int) -> None:
        if getattr(self, name) < least:
            option = f"--{name.replace('_', '-')}"
            raise ReconcileError(f"{option} {getattr(self, name)}: expected a number from {least} on")

    @property
    def day(self) -> Day:
        """The day to reconcile."""
        return Day(self.date, self.zone)

    @property
    def logs_url(self) -> str:
        """The directory of logs, with its file system."""
        return f"{self.hdfs_url}{self.logs_dir}"

    @property
    def work_dir(self) -> str:
        """Where new sets are staged, beside the partitions; readers pass over the underscore."""
        return f"{self.logs_url}/_reconcile"


def _date(text: str) -> date:
    if text == "-":
        text = sys.stdin.readline().strip()
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no date: expected one such as 2026-11-23") from None


def parser(settings: Settings) -> argparse.ArgumentParser:
    """Make the command line's parser; its defaults are the settings."""
    cli = argparse.ArgumentParser(
        prog="reconcile.py",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        description="Makes one dated directory of log lines on HDFS equal to what the Kafka topic holds for "
        "that arrival date, each identity once: writes missing lines, takes surplus copies out, brings lines "
        "home that stand in a neighbour's directory, recovers files that a killed Flume agent left in use, "
        "merges small files. Readers see the old set of files or the new one. It ends with a JSON report as "
        "the last line of stdout; the log is on stderr.",
        epilog="Exit status: 0 reconciled; 3 still open (an agent writes it, or has lines of it to write): "
        "nothing was changed, run again later or give --wait-s; 4 reconciled as far as the topic still "
        "tells, retention took a part; 1 an error; 2 a wrong command line. The defaults are the project's "
        "settings (LOGPIPE_… in the environment).",
    )
    cli.add_argument(
        "--date", type=_date, required=True, help="the day, as 2026-11-23; - reads it from standard input"
    )
    opened = cli.add_argument_group("is the day still being written?")
    opened.add_argument("--wait-s", type=int, default=0, help="wait at most so long for the day to be closed")
    opened.add_argument(
        "--agent-stopped", action="store_true",
        help="agent 2 is stopped and stays so during this run: its in-use files are taken, and lines that it "
        "has not written yet are written here. What it repeats when it goes on is surplus, which a further "
        "run takes out",
    )  # fmt: skip
    opened.add_argument("--group", default=settings.consumer_group, help="consumer group of agent 2")
    opened.add_argument(
        "--roll-interval-s", type=int, default=settings.roll_interval_s, help="agent 2 closes a file after it"
    )
    opened.add_argument(
        "--in-use-margin-s", type=int, default=60,
        help="an in-use file that is older than the roll interval by so much has no writer any more",
    )  # fmt: skip
    opened.add_argument(
        "--settle-s", type=int, default=settings.roll_interval_s,
        help="beside a running agent, a day is closed when nothing arrived and no file changed for so long",
    )  # fmt: skip
    source = cli.add_argument_group("source")
    source.add_argument("--bootstrap", default=settings.kafka_bootstrap, help="Kafka's address, host:port")
    source.add_argument("--topic", default=settings.topic, help="topic of log lines")
    source.add_argument("--zone", default=settings.timezone, help="zone whose midnight parts the days")
    source.add_argument(
        "--late-records-s", type=int, default=3600,
        help="records dated by a clock that runs behind are looked for so long after the day's end",
    )  # fmt: skip
    target = cli.add_argument_group("target")
    target.add_argument("--hdfs-url", default=settings.hdfs_url, help="HDFS's address, hdfs://host:port")
    target.add_argument("--hdfs-user", default=settings.hdfs_user, help="user on HDFS")
    target.add_argument("--logs-dir", default=settings.hdfs_logs_dir, help="holds one directory a day")
    target.add_argument("--target-file-mb", type=int, default=128, help="size of the files that are written")
    target.add_argument(
        "--merge-above-files", type=int, default=8,
        help="merge the files of a day without differences when there are more, and twice as many as needed",
    )  # fmt: skip
    target.add_argument(
        "--full",
        action="store_true",
        help="compare line by line even where the manifest says that nothing changed",
    )
    run = cli.add_argument_group("run")
    run.add_argument(
        "--master", default="", help="Spark master (default: local[2]; under spark-submit its own)"
    )
    run.add_argument("--heap-mb", type=int, default=settings.spark_heap_mb, help="heap of the driver's JVM")
    run.add_argument(
        "--jars-dir",
        type=Path,
        default=PROJECT_DIR / "build" / "jars" / "spark",
        help="Kafka connector's jars",
    )
    run.add_argument(
        "--local-dir",
        type=Path,
        default=settings.state_dir / "spark",
        help="what Spark spills, on this machine",
    )
    return cli


def from_arguments(arguments: Sequence[str], settings: Settings) -> Options:
    """Parse and check a command line.

    Raises:
        ReconcileError: a value can't work.
    """
    values = vars(parser(settings).parse_args(arguments))
    if not values["master"] and "PYSPARK_GATEWAY_PORT" not in os.environ:
        values["master"] = "local[2]"
    values["logs_dir"] = values["logs_dir"].rstrip("/")
    return Options(**values)
