"""The job as a process: killed, stopped, refused, and waiting, against the real Kafka and HDFS."""

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from confluent_kafka import Producer

from logpipe.clients.hdfs import Hdfs as WebHdfs
from logpipe.digest import Digest
from logpipe.hosts.environment import shared_classes
from logpipe.windows.commit import Commit, WindowsError
from logpipe.windows.reader import WindowStore
from tests.machine import HDFS_USER, Hdfs, Kafka
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

JOB = Path(__file__).resolve().parents[2] / "spark_jobs" / "stream_windows.py"
_numbers = itertools.count(1)
START_S = 400  # a busy machine starts a JVM slowly


class Driver:
    """One run of the job."""

    def __init__(self, folder: Path, kafka: Kafka, hdfs: Hdfs, topic: str, *arguments: str) -> None:
        name = f"{topic}-{next(_numbers)}"
        self.out, self.err = folder / f"{name}.out", folder / f"{name}.err"
        command = [
            sys.executable, str(JOB), "--bootstrap", kafka.bootstrap, "--hdfs-url", hdfs.url,
            "--topic", topic,
            "--checkpoint-dir", f"/user/{HDFS_USER}/{topic}/checkpoint",
            "--windows-dir", f"/user/{HDFS_USER}/{topic}/windows",
            "--ui-port", str(free_port()), "--heap-mb", "512", *arguments,
        ]  # fmt: skip
        environment = {name: value for name, value in os.environ.items() if name != "HADOOP_USER_NAME"}
        environment["SPARK_SUBMIT_OPTS"] = " ".join(shared_classes("spark"))
        with self.out.open("ab") as out, self.err.open("ab") as err:
            self.process = subprocess.Popen(
                command,
                stdout=out,
                stderr=err,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )

    def log(self) -> str:
        return self.err.read_text()[-4000:]

    def ended(self, deadline_s: float) -> int:
        wait_until(lambda: self.process.poll() is not None, deadline_s, "the job to end")
        return int(self.process.returncode)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.process.kill()
        self.process.wait(20)


@pytest.fixture
def start(tmp_path: Path, kafka: Kafka, hdfs: Hdfs) -> Iterator[Callable[..., Driver]]:
    drivers: list[Driver] = []

    def begin(topic: str, *arguments: str) -> Driver:
        drivers.append(Driver(tmp_path, kafka, hdfs, topic, *arguments))
        return drivers[-1]

    yield begin
    for driver in drivers:
        driver.kill()


def send(kafka: Kafka, topic: str, lines: list[bytes], first: int, partitions: int = 3) -> None:
    """Send lines with identities; every tenth one twice, as a resend does."""
    producer = Producer({"bootstrap.servers": kafka.bootstrap})
    for at in range(0, len(lines), 10):
        part = list(enumerate(lines[at : at + 10], first + at))
        for number, line in [*part, *part[-1:]]:
            producer.produce(topic, line, f"r:{number}", (number // 10) % partitions)
    assert producer.flush(30) == 0


def store(hdfs: Hdfs, topic: str) -> WindowStore:
    folder = f"/user/{HDFS_USER}/{topic}"
    return WindowStore(WebHdfs(hdfs.webhdfs_url, HDFS_USER), f"{folder}/checkpoint", f"{folder}/windows")


def counts_to(hdfs: Hdfs, topic: str, lines: list[bytes], driver: Driver) -> None:
    """Wait until the windows hold exactly these lines."""

    def as_many() -> bool:
        assert driver.process.poll() is None, driver.log()
        try:
            commit = store(hdfs, topic).commit()
        except WindowsError:  # HDFS is coming back
            return False
        return commit is not None and commit.lines >= len(lines)

    try:
        wait_until(as_many, START_S, f"{len(lines)} lines in the windows of {topic}")
    except AssertionError as error:
        raise AssertionError(f"{error}\n{driver.log()}") from None
    assert store(hdfs, topic).totals().digest == Digest.of(lines)


def newest(hdfs: Hdfs, topic: str) -> Commit:
    commit = store(hdfs, topic).commit()
    assert commit is not None
    return commit


def planned(hdfs: Hdfs, topic: str, batch_id: int) -> bool:
    """The batch has begun."""
    offsets = f"/user/{HDFS_USER}/{topic}/checkpoint/query/offsets/{batch_id}"
    return WebHdfs(hdfs.webhdfs_url, HDFS_USER).status(offsets) is not None


def committed(hdfs: Hdfs, topic: str, batch_id: int) -> bool:
    """The batch is committed, but Spark may not know, and its rows may not be out."""
    return newest(hdfs, topic).batch_id >= batch_id


def test_killed_and_stopped_it_goes_on_exactly(
    start: Callable[..., Driver], kafka: Kafka, hdfs: Hdfs, nasa_lines: list[bytes]
) -> None:
    topic = "killed"
    driver = start(topic)
    wait_until(
        lambda: "does not exist: waiting for it" in driver.log(), START_S, "the job to wait for its topic"
    )
    kafka.create_topic(topic)
    lines: list[bytes] = []
    send(kafka, topic, nasa_lines, 1)
    lines += nasa_lines
    counts_to(hdfs, topic, lines, driver)
    assert sum(newest(hdfs, topic).offsets.values()) == len(nasa_lines) * 1.1 // 1 + 1

    second = start(topic)
    assert second.ended(START_S) == 1
    assert f"The driver with pid {driver.process.pid}" in second.log()

    for moment in (planned, committed):
        batch_id = newest(hdfs, topic).batch_id + 1
        send(kafka, topic, nasa_lines, len(lines) + 1)
        lines += nasa_lines
        wait_until(lambda: moment(hdfs, topic, batch_id), START_S, f"batch {batch_id} {moment.__name__}")  # noqa: B023
        driver.kill()
        driver = start(topic)
        counts_to(hdfs, topic, lines, driver)

    send(kafka, topic, nasa_lines, len(lines) + 1)
    lines += nasa_lines
    counts_to(hdfs, topic, lines, driver)
    stopped_at = time.monotonic()
    os.killpg(driver.process.pid, signal.SIGTERM)  # the whole group, as a service manager may
    assert driver.ended(60) == 0, driver.log()
    assert time.monotonic() - stopped_at < 40
    web = WebHdfs(hdfs.webhdfs_url, HDFS_USER)
    progress = json.loads(web.read(f"/user/{HDFS_USER}/{topic}/checkpoint/progress.json") or b"")
    assert progress["state"] == "stopped"
    assert progress["lines"] == len(lines)

    out = driver.out.read_text()
    for title in ("Total requests", "Methods", "IP traffic", "Endpoints", "Status codes", "Errors"):
        assert title in out
    assert "window              | method | count" in out
    assert not [line for line in out.splitlines() if "WARN" in line or "INFO" in line]

    other = start(topic, "--window-s", "30")
    assert other.ended(START_S) == 1
    assert "was made with window_s=60, now asked 30" in other.log()


@pytest.mark.slow
def test_partitions_may_be_added_while_it_runs(
    start: Callable[..., Driver], kafka: Kafka, hdfs: Hdfs, nasa_lines: list[bytes]
) -> None:
    topic = "grown"
    kafka.create_topic(topic)
    send(kafka, topic, nasa_lines, 1)
    driver = start(topic)
    counts_to(hdfs, topic, nasa_lines, driver)
    kafka.add_partitions(topic, 5)
    send(kafka, topic, nasa_lines, len(nasa_lines) + 1, partitions=5)
    counts_to(hdfs, topic, nasa_lines * 2, driver)
    driver.kill()
    send(kafka, topic, nasa_lines, 2 * len(nasa_lines) + 1, partitions=5)
    counts_to(hdfs, topic, nasa_lines * 3, start(topic))


def test_it_waits_for_hdfs_and_kafka(
    start: Callable[..., Driver], kafka: Kafka, hdfs: Hdfs, nasa_lines: list[bytes]
) -> None:
    topic = "away"
    kafka.create_topic(topic)
    send(kafka, topic, nasa_lines, 1)
    driver = start(topic)
    counts_to(hdfs, topic, nasa_lines, driver)
    hdfs.namenode.kill()
    try:
        send(kafka, topic, nasa_lines, len(nasa_lines) + 1)
        wait_until(
            lambda: "away, going on" in driver.log() or "does not answer" in driver.log(), START_S, "a wait"
        )
    finally:
        hdfs.namenode.start()
    wait_until(hdfs.is_writable, START_S, "HDFS to leave safe mode")
    counts_to(hdfs, topic, nasa_lines * 2, driver)
    kafka.service.kill()
    kafka.service.start()
    send(kafka, topic, nasa_lines, 2 * len(nasa_lines) + 1)
    counts_to(hdfs, topic, nasa_lines * 3, driver)

    stop_file = f"{hdfs.webhdfs_url}/webhdfs/v1/user/{HDFS_USER}/{topic}/checkpoint/stop"
    as_user = {"params": {"op": "CREATE", "user.name": HDFS_USER}, "headers": {"X-XSRF-HEADER": "a test"}}
    requests.put(stop_file, **as_user, timeout=10).raise_for_status()
    assert driver.ended(60) == 0, driver.log()


@pytest.mark.slow  # `test_steps` has the same, step by step
@pytest.mark.parametrize("is_running", [True, False])
def test_a_broker_that_lost_its_tail_and_grew_again(
    start: Callable[..., Driver], kafka: Kafka, hdfs: Hdfs, nasa_lines: list[bytes], is_running: bool
) -> None:
    """Lines at offsets that were counted once are counted; those that were counted and lost stay."""
    topic = f"tail{is_running}"
    kafka.create_topic(topic, 2)
    lines = nasa_lines[:200]
    send(kafka, topic, lines, 1, partitions=2)
    driver = start(topic)
    counts_to(hdfs, topic, lines, driver)
    lose = kafka.will_lose_tail(topic, 0)
    send(kafka, topic, nasa_lines[:100], len(lines) + 1, partitions=2)
    lines += nasa_lines[:100]
    counts_to(hdfs, topic, lines, driver)
    if not is_running:
        driver.kill()
    lose()
    send(kafka, topic, nasa_lines, len(lines) + 1, partitions=2)
    lines += nasa_lines
    if not is_running:
        driver = start(topic)
    counts_to(hdfs, topic, lines, driver)
    assert "the broker has lost what it held from offset 110 on" in driver.err.read_text()
