"""The kinds of services: when each is healthy, and what a stop of it would lose."""

import logging
import time
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, ClassVar, NamedTuple

from logpipe import settings
from logpipe.airflow.hooks.services import (
    FlumeAgentHook,
    ProcessHostHook,
    ReplayerHook,
    SparkDriverHook,
    YarnHook,
)
from logpipe.airflow.hooks.stores import HdfsHook, KafkaHook, pipeline_at
from logpipe.airflow.services.host import Host, OnProcessHost, OnYarn
from logpipe.clients.errors import ClientError, HungError
from logpipe.clients.flume import FlumeMetrics
from logpipe.hosts.services import streams

_LOOK_TIMEOUT_S = 5.0  # a broker that is away must not hide a driver that dies

log = logging.getLogger(__name__)


class Patience(NamedTuple):
    """What is waited for, in seconds: a start, a stop, one that hangs; and how long heals are counted."""

    start_s: float = 60
    stop_s: float = 60
    hung_after_s: float = 20
    heal_window_s: float = 600


@dataclass(kw_only=True)
class Service(ABC):
    """A service as a DAG names it; its fields are what a trigger serializes. Calls block.

    Attributes:
        service: its name at the process host.
        variant: the process of the service to run, where it has several.
        process_host_conn_id: connection to the process host.
    """

    service: str
    variant: str | None = None
    process_host_conn_id: str = ProcessHostHook.default_conn_name

    @property
    def patience(self) -> "Patience":
        """How long its launch, its supervision and its stop wait by default."""
        return Patience()

    @cached_property
    def host(self) -> Host:
        """Who keeps its process."""
        return OnProcessHost(self.process_host_conn_id, self.service, self.variant)

    @abstractmethod
    def probe(self) -> str:
        """Return one line about the healthy service.

        Raises:
            UnreachableError: it is not healthy, or not yet; the message says why.
            HungError: it is not, and never will be.
        """

    def look_closer(self) -> None:  # noqa: B027  # most kinds need not be
        """Raise a HungError when a service that has long been up and answers does not do its work."""

    def expect_start(self, start_s: float) -> None:  # noqa: B027
        """Give a service that has just been launched its time before it is looked at closer."""

    def undrained(self) -> str:
        """Say what the service still holds and would lose with a stop; empty when nothing."""
        return ""

    def serialize(self) -> dict[str, Any]:
        """Return the kind and every field, for `deserialize`."""
        return {"kind": type(self).__name__, **asdict(self)}


def deserialize(values: dict[str, Any]) -> Service:
    """Rebuild a service from what `Service.serialize` gave."""
    fields = dict(values)
    return KINDS[fields.pop("kind")](**fields)


@dataclass(kw_only=True)
class FlumeAgent(Service):
    """Healthy is an agent whose metrics endpoint answers with at least its channel.

    One that holds events and drains none for a minute is told in the log, not killed: what stalls a sink is
    nearly always the system behind it, and a memory channel dies with its agent.

    Attributes:
        flume_agent_conn_id: connection to its metrics; by default the one that the table of services has.
        empties_topic: it brings the pipeline's topic to HDFS, so it is drained at the topic's end; by default
            as its file in `flume_conf` says.
    """

    flume_agent_conn_id: str = ""
    empties_topic: bool | None = None
    kafka_conn_id: str = "kafka_default"
    webhdfs_conn_id: str = "webhdfs_default"
    stall_after_s: float = 60

    def __post_init__(self) -> None:
        entry = next((known for known, _ in streams() if known.name == self.service), None)
        if not self.flume_agent_conn_id:
            if entry is None or entry.connection is None:
                raise ValueError(f"{self.service} is not in the table of services: give flume_agent_conn_id")
            self.flume_agent_conn_id = entry.connection.conn_id
        if self.empties_topic is None:
            self.empties_topic = entry is not None and entry.empties_topic
        self._drained_events = -1
        self._drained_at = time.monotonic()

    def probe(self) -> str:
        """Return how many events the agent has taken and drained."""
        metrics = FlumeAgentHook(self.flume_agent_conn_id).get_conn().metrics()
        self._tell_of_stall(metrics)
        return (
            f"{metrics.received_events} events taken, {metrics.drained_events} drained, "
            f"{metrics.held_events} held in memory"
        )

    def _tell_of_stall(self, metrics: FlumeMetrics) -> None:
        now = time.monotonic()
        if metrics.held_events == 0 or metrics.drained_events != self._drained_events:
            self._drained_events, self._drained_at = metrics.drained_events, now
        elif now - self._drained_at >= self.stall_after_s:
            self._drained_at = now
            log.warning(
                "%s has drained nothing for %.0f s, its channel is %.1f %% full with %d events: "
                "look at what it writes to",
                self.service,
                self.stall_after_s,
                metrics.fill_percent,
                metrics.held_events,
            )

    def undrained(self) -> str:
        """Say how many lines the agent still holds, or has not yet taken from its topic."""
        from logpipe.accounting.drain import agent_undrained

        agent = FlumeAgentHook(self.flume_agent_conn_id).get_conn()
        empties_topic = bool(self.empties_topic)
        pipeline = pipeline_at(self.kafka_conn_id, self.webhdfs_conn_id) if empties_topic else settings.load()
        return agent_undrained(pipeline, agent, empties_topic=empties_topic)


@dataclass(kw_only=True)
class WindowsJob(Service):
    """The Spark streaming job, wherever `LOGPIPE_SPARK_MASTER` says that it runs.

    Healthy is a driver whose REST API shows its application, or which runs on YARN, and a query that lives.
    The REST API is the JVM's, which answers while the Python side of the driver hangs. So a supervised query
    is looked at where it would resume from, on HDFS: its heartbeat must go on, and its offsets must move
    while the topic is ahead of them. A topic without new lines is no reason to restart anything, and neither
    is a broker or an HDFS that is away.
    """

    service: str = "analytics"
    spark_driver_conn_id: str = SparkDriverHook.default_conn_name
    yarn_conn_id: str = YarnHook.default_conn_name
    spark_conn_id: str = "spark_default"
    kafka_conn_id: str = "kafka_default"
    webhdfs_conn_id: str = "webhdfs_default"

    look_interval_s: ClassVar[float] = 5  # at the heartbeat
    offsets_interval_s: ClassVar[float] = 30  # at what stands still for minutes before it is a stall

    def __post_init__(self) -> None:
        conf = settings.load()
        self._is_on_yarn = conf.spark_master == "yarn"
        self._checkpoint_dir = conf.hdfs_checkpoint_dir
        self._application = conf.spark_application
        self._heartbeat_path = f"{conf.hdfs_checkpoint_dir}/windows/owner.json"
        self._looked_at = self._offsets_at = time.monotonic()
        self._heartbeat_s, self._stall_s = (180, 300) if self._is_on_yarn else (25, 120)
        self.expect_start(self.patience.start_s)

    @property
    def patience(self) -> Patience:
        """YARN may take over a minute to notice a lost node and have the next driver up."""
        return Patience(180, 90, 180, 3600) if self._is_on_yarn else Patience()

    @cached_property
    def host(self) -> Host:
        """A process host, or YARN."""
        if not self._is_on_yarn:
            return OnProcessHost(self.process_host_conn_id, self.service)
        return OnYarn(
            self._application,
            self._checkpoint_dir,
            self.yarn_conn_id,
            self.webhdfs_conn_id,
            self.spark_conn_id,
        )

    def expect_start(self, start_s: float) -> None:
        """A query that has just been started may take its time."""
        now = time.monotonic()
        self._heartbeat = Movement(now + start_s)
        self._offsets = Movement(now + start_s)

    def probe(self) -> str:
        """Return the id of the application."""
        if self._is_on_yarn:
            return "its driver is up"
        return f"application {SparkDriverHook(self.spark_driver_conn_id).get_conn().application_id()}"

    def look_closer(self) -> None:
        """See whether heartbeat and offsets move."""
        from logpipe.windows.commit import WindowsError

        now = time.monotonic()
        if now - self._looked_at < self.look_interval_s:
            return
        self._looked_at = now
        try:
            self._look_at_heartbeat()
            if now - self._offsets_at >= self.offsets_interval_s:
                self._offsets_at = now
                self._look_at_offsets()
        except HungError:
            raise
        except (ClientError, WindowsError) as error:
            log.info("The query's progress is not known: %s", error)
            self.expect_start(self.patience.start_s)

    def _look_at_heartbeat(self) -> None:
        beat = HdfsHook(self.webhdfs_conn_id).hdfs().status(self._heartbeat_path)
        age_s = self._heartbeat.still_s(beat and beat.modified_ms)
        if age_s >= self._heartbeat_s:
            raise HungError(f"its heartbeat {self._heartbeat_path} stands for {age_s:.0f} s")

    def _look_at_offsets(self) -> None:
        from logpipe.windows.reader import commit_totals

        pipeline = pipeline_at(self.kafka_conn_id, self.webhdfs_conn_id)
        topic = KafkaHook(self.kafka_conn_id).kafka(_LOOK_TIMEOUT_S).offsets(pipeline.topic)
        reached = commit_totals(pipeline).covered_offsets or {}
        behind = topic.behind(reached)
        still_s = self._offsets.still_s(reached, moving=behind == 0)
        if still_s >= self._stall_s:
            raise HungError(
                f"its query has not moved for {still_s:.0f} s, {behind} records behind {pipeline.topic}"
            )


class Movement:
    """How long a value has stood still, in seconds; before ``since`` (monotonic clock) it may."""

    def __init__(self, since: float) -> None:
        self._since = since
        self._value: object = None

    def still_s(self, value: object, *, moving: bool = False) -> float:
        """Look at the value; ``moving`` when it need not change."""
        now = time.monotonic()
        if self._value is None:
            self._value = value
        elif moving or value != self._value:
            self._value, self._since = value, now
        return now - self._since


@dataclass(kw_only=True)
class Replayer(Service):
    """Healthy is a replayer that answers its health check; drained is one without running replays.

    Attributes:
        replayer_conn_id: connection to it.
        replay_id: a replay that it has to get on with; empty for none.
        follow_id: a followed log that it has to get on with; empty for none.
        stall_after_s: it hangs when it acknowledges nothing of these for so long, without a reason; a replay
            at another pace than ``max`` may wait by itself, and so may a log of which all is sent.
    """

    service: str = "replayer"
    replayer_conn_id: str = ReplayerHook.default_conn_name
    replay_id: str = ""
    follow_id: str = ""
    stall_after_s: float = 120

    def __post_init__(self) -> None:
        self.expect_start(0)

    def expect_start(self, start_s: float) -> None:
        """What has just been taken up may take its time."""
        self._lines = Movement(time.monotonic() + start_s)

    def look_closer(self) -> None:
        """See whether the replay, or the followed log, moves."""
        if not self.replay_id and not self.follow_id:
            return
        replayer = ReplayerHook(self.replayer_conn_id).get_conn()
        try:
            record = replayer.record(self.replay_id) if self.replay_id else replayer.followed(self.follow_id)
        except ClientError as error:  # it answers, only not this: its disk is full, or HDFS is away
            log.info("The replayer's progress is not known: %s", error)
            self.expect_start(0)
            return
        if self.replay_id:
            may_wait = record["pace"] != "max" or record["state"] != "running"
        else:
            may_wait = not record["bytes_behind"]
        still_s = self._lines.still_s(record["lines"], moving=bool(record["reason"]) or may_wait)
        if still_s >= self.stall_after_s:
            raise HungError(f"it has acknowledged nothing behind line {record['lines']} for {still_s:.0f} s")

    def probe(self) -> str:
        """Return how many replays run."""
        return f"{ReplayerHook(self.replayer_conn_id).get_conn().health()} replays running"

    def undrained(self) -> str:
        """Ask each running replay to stop; say how many still run."""
        replayer = ReplayerHook(self.replayer_conn_id).get_conn()
        running = [
            record
            for record in replayer.replays()
            if record["state"] == "running"
            and "generation" not in record  # followed logs go on by themselves
        ]
        for record in running:
            replayer.stop(record["replay_id"])
        return f"{len(running)} replays run" if running else ""


@dataclass(kw_only=True)
class Plain(Service):
    """A service that is healthy once its process runs, and holds nothing."""

    def probe(self) -> str:
        """Nothing more is known of it."""
        return "its process runs"


KINDS: dict[str, type[Service]] = {kind.__name__: kind for kind in (FlumeAgent, WindowsJob, Replayer, Plain)}
