"""The outside systems that the page tells of, each watched by itself."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from logpipe.accounting.chain import Chain, ChainReader
from logpipe.accounting.judge import Accounting
from logpipe.accounting.source import ledger
from logpipe.accounting.verify import verify
from logpipe.accounting.watch import Observation, observe
from logpipe.alerts.facts import Heal
from logpipe.clients.airflow import Airflow
from logpipe.clients.flume import FlumeAgent, FlumeMetrics
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.kafka import Kafka, Topic, TopicError
from logpipe.clients.process_host import Process, ProcessHost
from logpipe.page.days import Days, DaysReader
from logpipe.page.store import TIMEOUT_S, Mirror, Snapshot
from logpipe.page.watched import Interest, Watched
from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.sums import Sums
from logpipe.serving import USER, read_password
from logpipe.settings import ADMIN, Settings

BUSY_S, SLOW_S, IDLE_S, IDLE_SLOW_S = 2.0, 15.0, 15.0, 60.0

_CONFIRM_S = 3.0


@dataclass(frozen=True)
class Sources:
    """All that is watched.

    Attributes:
        sent: records of the replays, and the sums of those that were folded away.
        topic: offsets of the topic; none before it is provisioned.
        agents: counters of the Flume agents 1 and 2.
        chains: how far HDFS is.
        windows: the windows' newest commit.
        days: the partitions on HDFS.
        accounting: what `make verify` says; None before the topic is provisioned.
        processes: those of the process host.
        heals: what the newest run of `stream_services` has healed.
        observed: what runs out.
    """

    sent: Watched[tuple[list[ReplayRecord], Sums]]
    topic: Watched[Topic]
    agents: tuple[Watched[FlumeMetrics], Watched[FlumeMetrics]]
    chains: Watched[dict[int, Chain]]
    windows: Watched[Snapshot | None]
    days: Watched[Days]
    accounting: Watched[Accounting | None]
    processes: Watched[list[Process]]
    heals: Watched[tuple[Heal, ...]]
    observed: Watched[list[Observation]]

    @classmethod
    def of(cls, settings: Settings, mirror: Mirror, hosts: Sequence[str], airflow: str) -> "Sources":
        """Those of the pipeline; agents and what keeps them are at one of the hosts, Airflow at its own."""
        kafka = Kafka.of(settings, TIMEOUT_S)
        days = DaysReader(settings)
        return cls(
            sent=Watched("ledger", lambda: ledger(settings), BUSY_S, IDLE_S),
            topic=Watched("topic", lambda: _topic(kafka, settings.topic), BUSY_S, IDLE_S),
            agents=(_agent(settings, hosts, 1), _agent(settings, hosts, 2)),
            chains=Watched("hdfs", lambda: _chains(settings), BUSY_S, IDLE_S),
            windows=Watched("windows", mirror.follow, BUSY_S, IDLE_S),
            days=Watched("days", days.read, SLOW_S, 4 * IDLE_SLOW_S),
            accounting=Watched("accounting", lambda: _accounting(kafka, settings), SLOW_S, IDLE_SLOW_S),
            processes=Watched("processes", _processes(settings, hosts), BUSY_S, IDLE_SLOW_S),
            heals=Watched("airflow", _heals(settings, airflow), SLOW_S, 2 * IDLE_S),
            observed=Watched("room", lambda: observe(settings), IDLE_SLOW_S, IDLE_SLOW_S),
        )

    def all(self) -> tuple[Watched[Any], ...]:
        """Each of them."""
        return (
            self.sent, self.topic, *self.agents, self.chains, self.windows, self.days, self.accounting,
            self.processes, self.heals, self.observed,
        )  # fmt: skip

    def start(self, interest: Interest) -> None:
        """Begin to watch."""
        for source in self.all():
            source.start(interest)


def _heals(settings: Settings, host: str) -> Callable[[], tuple[Heal, ...]]:
    airflow: list[Airflow] = []

    def ask() -> tuple[Heal, ...]:
        if not airflow:
            airflow.append(_airflow(settings, host))
        return tuple(
            Heal(task, datetime.fromisoformat(heal["at"]).timestamp(), heal["reason"], heal.get("number", 0))
            for task, heals in airflow[0].heals().items()
            for heal in heals
        )

    return ask


def _airflow(settings: Settings, host: str) -> Airflow:
    password = read_password(settings.state_dir, "airflow_admin_password")
    client = Airflow([host], settings.airflow_port, ADMIN, password, timeout_s=TIMEOUT_S)
    client.patience_s = 0
    return client


def _topic(kafka: Kafka, name: str) -> Topic:
    try:
        return kafka.offsets(name)
    except TopicError:
        if kafka.describe(name) is not None:
            raise
        return Topic("", {})


def _accounting(kafka: Kafka, settings: Settings) -> Accounting | None:
    try:
        found = verify(settings)
        if found.is_exact:
            return found
        time.sleep(_CONFIRM_S)  # a difference is one when it is still there
        return verify(settings)
    except TopicError:
        if kafka.describe(settings.topic) is not None:
            raise
        return None


def _agent(settings: Settings, hosts: Sequence[str], number: int) -> Watched[FlumeMetrics]:
    agent = FlumeAgent.of(settings, number, hosts)
    return Watched(f"agent{number}", agent.metrics, BUSY_S, IDLE_S)


def _chains(settings: Settings) -> dict[int, Chain]:
    with closing(ChainReader(Hdfs.of(settings, TIMEOUT_S), settings.hdfs_logs_dir)) as reader:
        return reader.chains()


def _processes(settings: Settings, hosts: Sequence[str]) -> Callable[[], list[Process]]:
    def ask() -> list[Process]:
        password = read_password(settings.state_dir, "process_host_password")
        places = [settings.process_host if host == settings.host else host for host in hosts]
        host = ProcessHost(places, settings.supervisor_port, USER, password, timeout_s=TIMEOUT_S)
        return host.processes()

    return ask
