"""The data plane without Airflow, for faults: started through the product's own stack, own ports."""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic

from logpipe.accounting import lines
from logpipe.accounting.audit import Audit
from logpipe.accounting.drain import Drain
from logpipe.accounting.judge import Accounting
from logpipe.accounting.verify import verify
from logpipe.clients.errors import ClientError, UnreachableError
from logpipe.clients.hdfs import Hdfs, HdfsAbsentError, HdfsError
from logpipe.clients.kafka import TopicError
from logpipe.clients.process_host import Process
from logpipe.clients.replayer import Replayer
from logpipe.hosts import configuration
from logpipe.hosts.connections import client
from logpipe.hosts.environment import JAVA, hadoop_class_path
from logpipe.hosts.machine.stack import Stack, StartProgress
from logpipe.hosts.services import REPLAYER, names
from logpipe.settings import Settings
from logpipe.windows.commit import WindowsError
from tests.waiting import wait_until

BUNDLED_LINES = 20_000
PACE = "speed:2400"  # the bundled log in about 17 s: long enough to be hit in flight
IN_FLIGHT_LINES = 2_000
HEAL_TIMEOUT_S = float(os.environ.get("HEAL_S") or 300)  # until everything is there; more on a busy machine
BACK_TIMEOUT_S = 90.0  # the process host starts a service again


@dataclass
class DataPlane:
    """Stores, agents, replayer and Spark job of one copy."""

    settings: Settings
    stack: Stack = field(init=False)
    _replays: int = 0

    def __post_init__(self) -> None:
        self.stack = Stack(self.settings)

    def start(self, profile: str = "durable") -> None:
        """Start everything and make the topic."""
        self.stack.up(StartProgress(), airflow=False)
        admin = AdminClient(self.settings.kafka_client("airflow"))
        topic = NewTopic(self.settings.topic, self.settings.topic_partitions, self.settings.topic_replication)
        for created in admin.create_topics([topic]).values():
            created.result(30)
        for service in ("flume-agent2", "flume-agent1"):
            self.stack.launch(service, profile)
        for service in ("analytics", "replayer"):
            self.stack.launch(service)

    def start_edge(self) -> None:
        """Start only what sends: agent 1 and the replayer, for stores that stand elsewhere."""
        configuration.write_all(self.settings, self.stack.layout)
        self.stack.host.start()
        for service, variant in (("flume-agent1", "durable"), ("replayer", "")):
            self.stack.launch(service, variant)

    def stop(self) -> None:
        """Stop everything; the process host kills what does not end in its time."""
        self.stack.host.shut_down()

    def pid(self, service: str) -> int:
        """The process id of a running service, once it has one."""
        return wait_until(lambda: self.process(service), BACK_TIMEOUT_S).pid

    def process(self, service: str) -> Process | None:
        """A service's running process, if it has one now."""
        return next(
            (state for state in self.stack.host.client.processes() if state.service == service and state.pid),
            None,
        )

    def is_well(self) -> bool:
        """Whether every service runs and does its work."""
        status = self.stack.status()
        return all(status[service].healthy for service in names("store", "stream"))

    def signal(self, service: str, number: signal.Signals) -> int:
        """Send a signal to a service's process; returns its process id."""
        pid = self.pid(service)
        os.kill(pid, number)
        return pid

    # ------------------------------------------------------------------ replays

    @property
    def replayer(self) -> Replayer:
        """The replayer's client."""
        return client(Replayer, REPLAYER, self.settings, self.stack.layout)

    @property
    def next_replay(self) -> str:
        """The id of the replay that is begun next."""
        return f"r{self._replays + 1}"

    def submit(self, pace: str = PACE, url: str = "", profile: str = "durable", replay_id: str = "") -> str:
        """Begin a replay, or have this host go on with it; returns its id."""
        if not replay_id:
            replay_id = self.next_replay
            self._replays += 1
        spec = {"url": url or self.settings.replay_url, "pace": pace, "profile": profile, "limit": None}

        def is_submitted() -> bool:
            try:
                return bool(self.replayer.submit(replay_id, spec))
            except ClientError:
                return False

        wait_until(is_submitted, BACK_TIMEOUT_S)
        return replay_id

    def follow(self, log: Path, log_format: str = "auto", start: str = "end") -> list[dict[str, Any]]:
        """Have a log followed, once the replayer is there; the log, or the pattern and its logs."""

        def followed() -> list[dict[str, Any]]:
            try:
                return self.replayer.follow(str(log), log_format, start)
            except UnreachableError:
                return []

        return wait_until(followed, BACK_TIMEOUT_S, f"{log} to be followed")

    def record(self, replay_id: str) -> dict[str, Any]:
        """A replay's record; empty while the replayer is away."""
        try:
            return self.replayer.record(replay_id)
        except ClientError:
            return {}

    def await_lines(self, replay_id: str, lines: int) -> None:
        """Wait until so many lines of a replay are acknowledged."""
        wait_until(lambda: self.record(replay_id).get("lines", 0) >= lines, 120)

    def await_done(self, replay_id: str, timeout_s: float = HEAL_TIMEOUT_S) -> dict[str, Any]:
        """Wait until a replay has ended well."""

        def is_done() -> dict[str, Any] | None:
            record = self.record(replay_id)
            assert record.get("state") != "failed", record
            return record if record.get("state") == "done" else None

        return wait_until(is_done, timeout_s)

    # ------------------------------------------------------------------ the end

    def await_drained(self, timeout_s: float = HEAL_TIMEOUT_S) -> None:
        """Wait until what was sent so far has arrived."""
        drain = Drain(self.settings)

        def is_drained() -> bool:
            try:
                return drain.undrained() == ""
            except (TopicError, HdfsError, WindowsError, OSError):
                return False

        wait_until(is_drained, timeout_s, poll_s=0.5)

    def days(self) -> list[str]:
        """The dated directories."""
        return lines.days(Hdfs.of(self.settings), self.settings.hdfs_logs_dir)

    def lines(self) -> Iterator[bytes]:
        """Every line that stands in HDFS."""
        hdfs, logs_dir = Hdfs.of(self.settings), self.settings.hdfs_logs_dir
        for day in self.days():
            done: set[str] = set()
            # A file that is renamed while it is read about is found under its new name.
            while waiting := [
                path for path in lines.files(hdfs, f"{logs_dir}/{day}") if lines.final_name(path) not in done
            ]:
                for path in waiting:
                    with suppress(HdfsAbsentError):
                        for some in lines.lines(hdfs, path):
                            yield from some
                        done.add(lines.final_name(path))

    def account(self) -> Accounting:
        """Add up what all stages hold."""
        return verify(self.settings)

    # ------------------------------------------------------------------ HDFS's own tools

    def dfsadmin(self, *arguments: str) -> None:
        """Run HDFS's administration tool."""
        command = [*JAVA, *hadoop_class_path(self.stack.layout)]
        command += ["org.apache.hadoop.hdfs.tools.DFSAdmin", *arguments]
        subprocess.run(command, check=True, capture_output=True, timeout=60)


@dataclass(frozen=True)
class Row:
    """One line of the table in docs/reliability.md."""

    case: str
    healed_s: float
    accounting: Accounting
    audited: Audit


class Clock:
    """Seconds since the fault."""

    def __init__(self) -> None:
        self._start = time.monotonic()

    def seconds(self) -> float:
        """Seconds so far."""
        return round(time.monotonic() - self._start, 1)


def write_table(rows: list[Row], path: Path) -> None:
    """Write the table of the cases that ran."""
    lines = [
        "| case | healed after | lines | lost | doubled | audit: lost | doubled | damaged |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {row.case} | {row.healed_s:.0f} s | {row.accounting.source:,} | {row.accounting.lost} "
        f"| {row.accounting.doubled} | {row.audited.lost} | {row.audited.doubled} | {row.audited.damaged} |"
        for row in rows
    ]
    head, _, _ = path.read_text().partition("<!-- table -->")
    path.write_text(head + "<!-- table -->\n\n" + "\n".join(lines) + "\n")
