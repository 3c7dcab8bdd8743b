"""Waiting for the end of the writing of a dated HDFS directory."""

import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from logpipe.operators.days import day_of
from logpipe.operators.first_look import FirstLookMixin
from logpipe.settings import zone_of

if TYPE_CHECKING:
    from airflow.sdk import Context


class HdfsPartitionClosedSensor(FirstLookMixin, BaseSensorOperator):
    """True once a dated directory is closed: the agent has no record of that day left, and no file open.

    Args:
        logs_dir: holds a directory a day, named ``%y-%m-%d``.
        date: the day, ISO; without one the day before the run's logical date.
        zone: whose midnight parts the days.
        topic: Kafka topic that the agent empties.
        consumer_group: the group as which it does.
        abandoned_after_s: an in-use file older than this has no writer any more.
        kafka_conn_id: connection to Kafka.
        webhdfs_conn_id: connection to HDFS.
        first_look_s: the task keeps its worker this long before it defers.
        kwargs: ``timeout`` and ``poke_interval`` as in every sensor, in seconds.
    """

    template_fields: Sequence[str] = ("logs_dir", "date", "topic", "consumer_group")

    def __init__(
        self,
        *,
        logs_dir: str,
        date: str | None = None,
        zone: str = "UTC",
        topic: str,
        consumer_group: str,
        abandoned_after_s: float = 360,
        kafka_conn_id: str = "kafka_default",
        webhdfs_conn_id: str = "webhdfs_default",
        first_look_s: float = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.logs_dir = logs_dir
        self.date = date
        self.zone = zone
        self.topic = topic
        self.consumer_group = consumer_group
        self.abandoned_after_s = abandoned_after_s
        self.kafka_conn_id = kafka_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id
        self.first_look_s = first_look_s

    def execute(self, context: "Context") -> str:
        """Wait; return the day as an ISO date."""
        from logpipe.triggers.partition_closed import PartitionClosedTrigger

        day = day_of(context, self.date, self.zone)
        midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), zone_of(self.zone))
        trigger = PartitionClosedTrigger(
            directory=f"{self.logs_dir}/{day:%y-%m-%d}",
            day_end_epoch_s=midnight.timestamp(),
            topic=self.topic,
            consumer_group=self.consumer_group,
            abandoned_after_s=self.abandoned_after_s,
            deadline_epoch_s=time.time() + self.timeout,
            kafka_conn_id=self.kafka_conn_id,
            webhdfs_conn_id=self.webhdfs_conn_id,
            poll_interval_s=self.poke_interval,
        )
        self.log.info("Waiting until %s is closed", trigger.directory)
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> str:
        """Return the day.

        Raises:
            AirflowSensorTimeout: time was over; the message says what was still open.
        """
        from logpipe.triggers.partition_closed import PartitionClosedEvent

        outcome = PartitionClosedEvent.from_payload(event)
        if not outcome.closed:
            raise AirflowSensorTimeout(f"Not closed after {outcome.waited_s} s: {outcome.still_open}")
        day = day_of(context, self.date, self.zone).isoformat()
        self.log.info("%s is closed with %d files, after %.1f s", day, outcome.files, outcome.waited_s)
        return day
