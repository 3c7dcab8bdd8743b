"""Waiting for a Spark streaming job, and supervising its query."""

import time
from dataclasses import dataclass

from logpipe.airflow.hooks.hdfs_directory import HdfsDirectoryHook
from logpipe.airflow.hooks.kafka_topic import KafkaTopicHook
from logpipe.airflow.hooks.spark_driver import SparkDriverHook
from logpipe.airflow.triggers.service import ServiceEvent, ServiceHungError, ServiceTrigger
from logpipe.airflow.triggers.window_offsets import window_offsets


@dataclass(kw_only=True, eq=False)
class SparkStreamingTrigger(ServiceTrigger):
    """Healthy is a driver whose REST API shows its application, and a query that lives.

    The REST API is the JVM's, which answers while the Python side of the driver hangs. So a supervised
    query is looked at where it would resume from, on HDFS: its heartbeat must go on, and its offsets must
    move while the topic is ahead of them. A topic without new lines is no reason to restart anything, and
    neither is a broker or an HDFS that is away.

    Attributes:
        heartbeat_path: file on HDFS that the driver touches every few seconds.
    """

    spark_driver_conn_id: str = SparkDriverHook.default_conn_name
    topic: str | None = None
    checkpoint_dir: str | None = None
    heartbeat_path: str | None = None
    kafka_conn_id: str = KafkaTopicHook.default_conn_name
    webhdfs_conn_id: str = HdfsDirectoryHook.default_conn_name
    heartbeat_timeout_s: float = 25
    stall_after_s: float = 120
    query_interval_s: float = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        self._kafka = KafkaTopicHook(self.kafka_conn_id)
        self._hdfs = HdfsDirectoryHook(self.webhdfs_conn_id)
        self._expect_start()

    def _expect_start(self) -> None:
        now = time.monotonic()
        self._looked_at = now
        self._heartbeat = Movement(now + self.start_timeout_s)
        self._offsets = Movement(now + self.start_timeout_s)

    async def outcome(self, killed_pid: int = 0) -> ServiceEvent:
        """Watch as in `ServiceTrigger`; a query that has just been started may take its time again."""
        self._expect_start()
        return await super().outcome(killed_pid)

    async def probe(self) -> str:
        """Return the id of the application."""
        application = await SparkDriverHook(self.spark_driver_conn_id).application_id()
        if self.supervise and time.monotonic() - self._looked_at >= self.query_interval_s:
            await self._look_at_query()
            self._looked_at = time.monotonic()
        return f"application {application}"

    async def _look_at_query(self) -> None:
        beat: int | None = None
        behind, reached = 0, {}
        try:
            if self.heartbeat_path:
                beat = await self._hdfs.modified_ms(self.heartbeat_path)
            if self.topic and self.checkpoint_dir:
                ends = await self._kafka.end_offsets(self.topic)
                reached = await window_offsets(self.webhdfs_conn_id, self.checkpoint_dir)
                behind = sum(max(0, end - reached.get(partition, 0)) for partition, end in ends.items())
        except (RuntimeError, OSError) as error:
            self.log.info("The query's progress is not known: %s", error)
            self._expect_start()
            return
        beat_age_s = self._heartbeat.still_s(beat)
        if self.heartbeat_path and beat_age_s >= self.heartbeat_timeout_s:
            raise ServiceHungError(f"its heartbeat {self.heartbeat_path} stands for {beat_age_s:.0f} s")
        still_s = self._offsets.still_s(reached, moving=behind == 0)
        if still_s >= self.stall_after_s:
            raise ServiceHungError(
                f"its query has not moved for {still_s:.0f} s, {behind} records behind {self.topic}"
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
