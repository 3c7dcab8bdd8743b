"""Measures the windows job on a Kafka and HDFS of its own: `python -m benchmarks.windows --help`.

Prints one JSON line a case. `warm_lines_per_s` leaves out the first batches (start-up, JIT) and counts from
commit to commit; `start_s` is from the process's start to its first commit.
"""

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.machine import HDFS_USER, Hdfs, Kafka, running
from tests.ports import free_port
from tests.waiting import wait_until

from benchmarks import july
from logpipe.accounting.windows import WindowStore
from logpipe.digest import Digest
from logpipe.settings import PROJECT_DIR


def produce(kafka: Kafka, topic: str, log: Path, times: int) -> Digest:
    """Load the topic with July, some times in a row, each 31 days later; each line with an identity."""
    kafka.create_topic(topic, 3)
    producer = Producer(
        {"bootstrap.servers": kafka.bootstrap, "linger.ms": 50, "queue.buffering.max.messages": 500_000}
    )
    total = Digest()
    for replay in range(times):
        part: list[bytes] = []
        for number, line in enumerate(july.lines(log, replay), 1):
            while True:
                try:
                    producer.produce(topic, line, f"july{replay}:{number}", (number // 1000) % 3)
                    break
                except BufferError:
                    producer.poll(0.1)
            part.append(line)
            if len(part) == 100_000:
                total += Digest.of(part)
                part.clear()
        total += Digest.of(part)
    assert producer.flush(120) == 0
    return total


class Memory(threading.Thread):
    """Watches the memory of a process and its children: the highest sum of PSS, in MiB, per commit."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._root = psutil.Process(pid)
        self.peak_mb = 0.0
        self.ended = threading.Event()

    def run(self) -> None:
        while not self.ended.wait(1.0):
            total = 0
            for process in [self._root, *self._root.children(recursive=True)]:
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            self.peak_mb = max(self.peak_mb, total / 2**20)


@contextmanager
def job(
    kafka: Kafka, hdfs: Hdfs, topic: str, name: str, *arguments: str
) -> Iterator[tuple[Any, WindowStore]]:
    folder = f"/user/{HDFS_USER}/{name}"
    command = [
        sys.executable, str(PROJECT_DIR / "spark_jobs" / "stream_windows.py"), "--bootstrap", kafka.bootstrap,
        "--hdfs-url", hdfs.url, "--topic", topic, "--windows-topic", f"{name}_windows",
        "--dead-letters-topic", f"{name}_dead", "--checkpoint-dir", f"{folder}/checkpoint",
        "--windows-dir", f"{folder}/windows", "--ui-port", str(free_port()), *arguments,
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "HADOOP_USER_NAME"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment) as process:
        try:
            yield (
                process,
                WindowStore(hdfs.webhdfs_url, HDFS_USER, f"{folder}/checkpoint", f"{folder}/windows"),
            )
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def throughput(
    kafka: Kafka, hdfs: Hdfs, topic: str, expected: Digest, name: str, *arguments: str
) -> dict[str, Any]:
    began = time.time()
    commits: dict[int, tuple[float, int]] = {}
    with job(kafka, hdfs, topic, name, *arguments) as (process, store):
        memory = Memory(process.pid)
        memory.start()

        def done() -> bool:
            assert process.poll() is None, "the job ended"
            commit = store.commit()
            if commit is not None and commit["kind"] == "batch":
                at = datetime.fromisoformat(commit["committed_at"]).timestamp()
                commits[commit["step"]] = (at, commit["lines"])
            return commit is not None and commit["lines"] >= expected.lines

        wait_until(done, 3600, f"{expected.lines} lines")
        memory.ended.set()
        exact = store.totals().digest == expected
    times = [commits[step] for step in sorted(commits)]
    first_at, first_lines = times[0]
    warm_from = times[min(2, len(times) - 2)]
    last_at, last_lines = times[-1]
    return {
        "case": name,
        "lines": expected.lines,
        "exact": exact,
        "start_s": round(first_at - began, 1),
        "lines_per_s": round((last_lines - first_lines) / (last_at - first_at)),
        "warm_lines_per_s": round((last_lines - warm_from[1]) / (last_at - warm_from[0])),
        "with_start_lines_per_s": round(last_lines / (last_at - began)),
        "memory_mb": round(memory.peak_mb),
    }


def six_queries(kafka: Kafka, topic: str, lines: int) -> dict[str, Any]:
    """The original's way over the same topic."""
    command = [
        sys.executable,
        str(PROJECT_DIR / "benchmarks" / "six_queries.py"),
        kafka.bootstrap,
        topic,
        str(lines),
    ]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    done = subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment, check=True
    )
    seconds = float(done.stderr.decode().strip().splitlines()[-1])
    return {"case": "six_queries", "lines": lines, "lines_per_s": round(lines / seconds)}


def latency(kafka: Kafka, hdfs: Hdfs, log: Path, seconds: int, lines_per_s: int = 1000) -> dict[str, Any]:
    """From the moment a line is sent until the topic of window rows holds it."""
    topic = name = "paced"
    kafka.create_topic(topic, 3)
    sent_at: list[float] = []
    seen_at: list[float] = []
    with job(kafka, hdfs, topic, name) as (process, _):
        wait_until(lambda: kafka.exists(f"{name}_windows"), 300, "the job to start")
        consumer = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": "none", "fetch.queue.backoff.ms": 10}
        )
        consumer.assign([TopicPartition(f"{name}_windows", 0, 0)])
        source = july.lines(log)
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
        totals: dict[bytes, int] = {}
        began = time.monotonic()
        wanted = seconds * lines_per_s
        while len(seen_at) < wanted:
            assert process.poll() is None, "the job ended"
            due = min(wanted, int((time.monotonic() - began) * lines_per_s))
            while len(sent_at) < due:
                producer.produce(topic, next(source), f"paced:{len(sent_at) + 1}", len(sent_at) % 3)
                sent_at.append(time.monotonic())
            producer.poll(0)
            for message in consumer.consume(1000, 0.02):
                row = json.loads(message.value())
                if row["dimension"] == "total":
                    totals[message.key()] = row["lines"]
            now = time.monotonic()
            seen_at += [now] * (sum(totals.values()) - len(seen_at))
        consumer.close()
    delays = sorted(seen - sent for seen, sent in zip(seen_at, sent_at, strict=True))
    warm = sorted(seen - sent for seen, sent in list(zip(seen_at, sent_at, strict=True))[20 * lines_per_s :])
    return {
        "case": f"latency at {lines_per_s} lines/s",
        "p50_s": round(delays[len(delays) // 2], 2),
        "p99_s": round(delays[int(len(delays) * 0.99)], 2),
        "after_20_s_p99_s": round(warm[int(len(warm) * 0.99)], 2) if warm else None,
    }


def main() -> None:
    cli = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cli.add_argument("--log", type=Path, default=july.BUNDLED_LOG, help="real lines to draw from")
    cli.add_argument("--times", type=int, default=1, help="so many Julys in the topic")
    cli.add_argument("--cases", default="arrival,event,six_queries,latency")
    cli.add_argument("--seconds", type=int, default=60, help="length of the latency case")
    arguments = cli.parse_args()
    cases = arguments.cases.split(",")
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (kafka, hdfs):
        results = []

        def show(result: dict[str, Any]) -> None:
            results.append(result)
            print(json.dumps(result), flush=True)

        if set(cases) - {"latency"}:
            expected = produce(kafka, "july", arguments.log, arguments.times)
            for case in ("arrival", "event"):
                if case in cases:
                    show(throughput(kafka, hdfs, "july", expected, case, "--time", case))
            if "six_queries" in cases:
                show(six_queries(kafka, "july", expected.lines))
        if "latency" in cases:
            show(latency(kafka, hdfs, arguments.log, arguments.seconds))
        rates = {
            result["case"]: result.get("warm_lines_per_s", result.get("lines_per_s")) for result in results
        }
        if {"arrival", "six_queries"} <= set(rates):
            print(json.dumps({"arrival_over_six_queries": round(rates["arrival"] / rates["six_queries"], 1)}))


if __name__ == "__main__":
    main()
