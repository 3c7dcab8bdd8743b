"""Measures the windows job on a Kafka and HDFS of its own: `python -m benchmarks.windows --help`.

Prints one JSON line a case. `warm_lines_per_s` leaves out the first batches (start-up, JIT) and counts from
commit to commit; `start_s` is from the process's start to its first commit. `cpu_us_a_line` is the CPU time
of the job's driver, JVM and Python workers, from a third of the lines on; brokers and HDFS are not in it.
`python -m benchmarks.windows --cases arrival,event --times 3 --tree DIR` measures the job of another working
tree (with a `.venv` and `build/` of its own) in the same way, by what its ``progress.json`` says.
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
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
from confluent_kafka import Consumer, Producer, TopicPartition
from tests.machine import HDFS_USER, Hdfs, Kafka, running
from tests.ports import free_port
from tests.waiting import wait_until

from benchmarks import july
from logpipe.clients.hdfs import Hdfs as WebHdfs
from logpipe.digest import Digest
from logpipe.settings import PROJECT_DIR
from logpipe.windows.reader import WindowStore


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


def cpu_s(root: psutil.Process) -> float:
    """CPU time of a process and of all that it started, those that have ended among them."""
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.Error:
            continue
    return total


@dataclass(frozen=True)
class Job:
    """A running job and what it has counted: by its commits, or, of another tree, by its progress."""

    process: subprocess.Popen[bytes]
    hdfs: WebHdfs
    folder: str
    is_own: bool

    @property
    def store(self) -> WindowStore:
        return WindowStore(self.hdfs, f"{self.folder}/checkpoint", f"{self.folder}/windows")

    def newest(self) -> tuple[str, int]:
        """When it committed last, and the lines that it has counted by then; empty before."""
        if self.is_own:
            commit = self.store.commit()
            return (commit.committed_at, commit.lines) if commit is not None else ("", 0)
        progress = json.loads(self.hdfs.read(f"{self.folder}/checkpoint/progress.json") or b"{}")
        return progress.get("committed_at", ""), progress.get("lines", 0)


@contextmanager
def job(kafka: Kafka, hdfs: Hdfs, topic: str, name: str, tree: Path, *arguments: str) -> Iterator[Job]:
    folder = f"/user/{HDFS_USER}/{name}"
    python = sys.executable if tree == PROJECT_DIR else str(tree / ".venv" / "bin" / "python")
    command = [
        python, str(tree / "spark_jobs" / "stream_windows.py"), "--bootstrap", kafka.bootstrap,
        "--hdfs-url", hdfs.url, "--topic", topic, "--windows-topic", f"{name}_windows",
        "--dead-letters-topic", f"{name}_dead", "--checkpoint-dir", f"{folder}/checkpoint",
        "--windows-dir", f"{folder}/windows", "--ui-port", str(free_port()), *arguments,
    ]  # fmt: skip
    environment = {key: value for key, value in os.environ.items() if key != "HADOOP_USER_NAME"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, env=environment, cwd=tree) as process:
        try:
            yield Job(process, WebHdfs(hdfs.webhdfs_url, HDFS_USER), folder, tree == PROJECT_DIR)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(60)


def throughput(
    kafka: Kafka, hdfs: Hdfs, topic: str, expected: Digest, name: str, tree: Path, *arguments: str
) -> dict[str, Any]:
    began = time.time()
    seen: dict[int, tuple[float, float]] = {}  # by lines: when they were committed, and CPU time then
    with job(kafka, hdfs, topic, name, tree, *arguments) as running_job:
        root = psutil.Process(running_job.process.pid)
        memory = Memory(root.pid)
        memory.start()

        def done() -> bool:
            assert running_job.process.poll() is None, "the job ended"
            committed_at, lines = running_job.newest()
            if lines and lines not in seen:
                seen[lines] = (datetime.fromisoformat(committed_at).timestamp(), cpu_s(root))
            return lines >= expected.lines

        wait_until(done, 3600, f"{expected.lines} lines")
        memory.ended.set()
        exact = running_job.store.totals().digest == expected if running_job.is_own else None
    counts = sorted(seen)
    warm_from = counts[min(2, len(counts) - 2)]
    third = min(counts[:-1], key=lambda lines: abs(lines - expected.lines // 3))
    first_at, last_at = seen[counts[0]][0], seen[counts[-1]][0]
    return {
        "case": name,
        "lines": expected.lines,
        "exact": exact,
        "cpu_us_a_line": round(1e6 * (seen[counts[-1]][1] - seen[third][1]) / (expected.lines - third), 2),
        "start_s": round(first_at - began, 1),
        "lines_per_s": round((expected.lines - counts[0]) / (last_at - first_at)),
        "warm_lines_per_s": round((expected.lines - warm_from) / (last_at - seen[warm_from][0])),
        "with_start_lines_per_s": round(expected.lines / (last_at - began)),
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


def latency(
    kafka: Kafka, hdfs: Hdfs, log: Path, seconds: int, tree: Path, lines_per_s: int = 1000
) -> dict[str, Any]:
    """From the moment a line is sent until the topic of windows holds it."""
    topic = name = "paced"
    kafka.create_topic(topic, 3)
    sent_at: list[float] = []
    seen_at: list[float] = []
    with job(kafka, hdfs, topic, name, tree) as running_job:
        wait_until(lambda: kafka.exists(f"{name}_windows"), 300, "the job to start")
        consumer = Consumer(
            {"bootstrap.servers": kafka.bootstrap, "group.id": "none", "fetch.queue.backoff.ms": 10}
        )
        consumer.assign([TopicPartition(f"{name}_windows", 0, 0)])
        source = july.lines(log)
        producer = Producer({"bootstrap.servers": kafka.bootstrap, "linger.ms": 5})
        lines = 0  # records of one step each: what replaces them adds none
        began = time.monotonic()
        wanted = seconds * lines_per_s
        while len(seen_at) < wanted:
            assert running_job.process.poll() is None, "the job ended"
            due = min(wanted, int((time.monotonic() - began) * lines_per_s))
            while len(sent_at) < due:
                producer.produce(topic, next(source), f"paced:{len(sent_at) + 1}", len(sent_at) % 3)
                sent_at.append(time.monotonic())
            producer.poll(0)
            for message in consumer.consume(1000, 0.02):
                record = json.loads(message.value() or b"{}")
                if record.get("dimension") == "total" and record["since"] == record["step"]:
                    lines += sum(row["lines"] for row in record["rows"])
            seen_at += [time.monotonic()] * (lines - len(seen_at))
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
    cli.add_argument("--tree", type=Path, default=PROJECT_DIR, help="working tree with the job to measure")
    arguments = cli.parse_args()
    cases, tree = arguments.cases.split(","), arguments.tree.resolve()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (kafka, hdfs):
        results = []

        def show(result: dict[str, Any]) -> None:
            results.append(result)
            print(json.dumps(result), flush=True)

        if set(cases) - {"latency"}:
            expected = produce(kafka, "july", arguments.log, arguments.times)
            for case in ("arrival", "event"):
                if case in cases:
                    show(throughput(kafka, hdfs, "july", expected, case, tree, "--time", case))
            if "six_queries" in cases:
                show(six_queries(kafka, "july", expected.lines))
        if "latency" in cases:
            show(latency(kafka, hdfs, arguments.log, arguments.seconds, tree))
        rates = {
            result["case"]: result.get("warm_lines_per_s", result.get("lines_per_s")) for result in results
        }
        if {"arrival", "six_queries"} <= set(rates):
            print(json.dumps({"arrival_over_six_queries": round(rates["arrival"] / rates["six_queries"], 1)}))


if __name__ == "__main__":
    main()
