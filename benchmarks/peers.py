"""Other programs on the hops of ours: lines to Kafka by kcat (the limit) and rsyslog, windows by DuckDB.

``python -m benchmarks.peers`` prints a JSON line a case: lines a second, and CPU of the program a line as the
kernel accounts it. All write to one Kafka of the product's configuration, three partitions, acknowledged by
the broker. A program that is not installed is named on standard error (Debian: kcat; rsyslog and
rsyslog-kafka;
syslog-ng-core and syslog-ng-mod-rdkafka, which Debian does not install beside rsyslog).

None of them does the same as the product: they give a line no identity, and say nothing of lines lost.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import psutil
from confluent_kafka import KafkaException
from tests.machine import Kafka, own_settings
from tests.waiting import wait_until

from benchmarks import july

PARTITIONS = 3
# Where a distribution's package puts a daemon, which is not on every user's path.
PATHS = f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin"

RSYSLOG = """
module(load="imfile")
module(load="omkafka")
global(workDirectory="{folder}" maxMessageSize="64k")
main_queue(queue.size="200000" queue.dequeueBatchSize="4096")
template(name="line" type="string" string="%msg%")
input(type="imfile" file="{log}" tag="log" ruleset="out" readMode="0")
ruleset(name="out") {{
  action(type="omkafka" broker=["{bootstrap}"] topic="{topic}" template="line"
         partitions.auto="on" confParam=["linger.ms=50", "acks=1", "queue.buffering.max.messages=500000"])
}}
"""
SYSLOG_NG = """@version: 3.38
source s {{ file("{log}" flags(no-parse) read-old-records(yes) follow-freq(0.1)); }};
destination d {{ kafka-c(bootstrap-servers("{bootstrap}") topic("{topic}") message("$MSG") workers(1)
  config(linger.ms("50") acks("1"))); }};
log {{ source(s); destination(d); flags(flow-control); }};
"""
# Windows of a minute by the log's own time, and the dimensions of the windows job.
WINDOWS = r"""
WITH cut AS (
  SELECT regexp_extract(line, '^(\S+) \S+ \S+ \[([^\]]+)\] "(\S+) ([^"]*?)(?: +HTTP/[^"]*)?" (\d+) (\S+)$',
    ['host', 'time', 'method', 'endpoint', 'status', 'size']) AS part FROM lines
), dated AS (
  SELECT time_bucket(INTERVAL 1 minute, try_strptime(part.time, '%d/%b/%Y:%H:%M:%S %z')) AS window_start, part
  FROM cut
)
SELECT count(*), sum(lines) FROM (
  SELECT window_start, part.method AS method, part.host AS host, part.endpoint AS endpoint,
    part.status AS status, count(*) AS lines, sum(try_cast(part.size AS BIGINT)) AS sent_bytes
  FROM dated GROUP BY GROUPING SETS ((window_start), (window_start, method), (window_start, host),
    (window_start, endpoint), (window_start, status))
)
"""


def held(kafka: Kafka, topic: str) -> int:
    """Records in a topic."""
    try:
        return sum(kafka.end_offsets(topic).values())
    except KafkaException:  # the broker does not know yet that it leads the new partitions
        return 0


def kcat(program: str, kafka: Kafka, log: Path, lines: int) -> dict[str, Any]:
    """A producer that ends with its file: librdkafka and nothing else."""
    kafka.create_topic("kcat", PARTITIONS)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    options = ("-X", "linger.ms=50", "-X", "acks=1", "-X", "queue.buffering.max.messages=500000")
    subprocess.run([program, "-P", "-b", kafka.bootstrap, "-t", "kcat", *options, "-l", log], check=True)
    took_s, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    return figure("kcat", held(kafka, "kcat"), lines, took_s, sum(after[:2]) - sum(before[:2]))


def daemon(name: str, command: list[str], kafka: Kafka, lines: int) -> dict[str, Any]:
    """A program that follows a file; it is ended when the topic holds every line."""
    kafka.create_topic(name, PARTITIONS)
    began = time.monotonic()
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        seen = psutil.Process(process.pid)
        try:
            wait_until(
                lambda: process.poll() is not None or held(kafka, name) >= lines, 600, f"{lines} lines"
            )
            took_s = time.monotonic() - began
            if process.poll() is not None:
                sys.exit(f"{name} ended: {process.stderr and process.stderr.read().decode()[-500:]}")
            used_s = sum(seen.cpu_times()[:2])
        finally:
            process.terminate()
    return figure(name, held(kafka, name), lines, took_s, used_s)


def windows(log: Path, lines: int) -> dict[str, Any]:
    """All windows of the file at once, in memory: no stream, no state, no commit."""
    before, began = time.process_time(), time.monotonic()
    with duckdb.connect() as database:
        options = "columns={'line': 'VARCHAR'}, delim='\\x01', quote='', escape='', header=false"
        database.execute(f"CREATE VIEW lines AS SELECT line FROM read_csv('{log}', {options})")
        counted = (database.execute(WINDOWS).fetchone() or (0, 0))[1] // 5
    return figure("DuckDB, windows", counted, lines, time.monotonic() - began, time.process_time() - before)


def figure(case: str, arrived: int, lines: int, took_s: float, used_s: float) -> dict[str, Any]:
    """The result of one case; ``arrived`` tells of lines that are missing or doubled."""
    return {
        "case": case,
        "lines": lines,
        "arrived": arrived,
        "lines_per_s": round(lines / took_s),
        "cpu_us_a_line": round(1e6 * used_s / lines, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--lines", type=int, default=july.LINES, help="how many of July's lines")
    lines = parser.parse_args().lines
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        log = folder / "july.log"
        with log.open("wb") as file:
            file.writelines(line + b"\n" for line in islice(july.lines(), lines))
        print(json.dumps(windows(log, lines)), flush=True)
        kafka = Kafka(own_settings(folder / "state")).ensure()
        try:
            for program in ("kcat", "rsyslogd", "syslog-ng"):
                path = shutil.which(program, path=PATHS)
                if path is None:
                    print(f"{program} is not installed: left out", file=sys.stderr)
                    continue
                print(json.dumps(against(program, path, kafka, log, lines)), flush=True)
        finally:
            kafka.end()


def against(program: str, path: str, kafka: Kafka, log: Path, lines: int) -> dict[str, Any]:
    """One program on the way to Kafka."""
    if program == "kcat":
        return kcat(path, kafka, log, lines)
    topic, folder = program.removesuffix("d"), log.parent
    conf = folder / f"{topic}.conf"
    text = RSYSLOG if program == "rsyslogd" else SYSLOG_NG
    conf.write_text(text.format(folder=folder, log=log, bootstrap=kafka.bootstrap, topic=topic))
    if program == "rsyslogd":
        command = [path, "-n", "-f", str(conf), "-i", str(folder / "rsyslog.pid")]
    else:
        own = [f"--{name}={folder}/{name}" for name in ("persist-file", "pidfile", "control")]
        command = [path, "-F", "--no-caps", "-f", str(conf), *own]
    return daemon(topic, command, kafka, lines)


if __name__ == "__main__":
    main()
