"""Waiting for a dated HDFS directory."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from logpipe.airflow.operators.days import days_between
from logpipe.airflow.operators.first_look import FirstLookMixin

if TYPE_CHECKING:
    from airflow.sdk import Context


class HdfsPartitionSensor(FirstLookMixin, BaseSensorOperator):
    """True once what was sent stands in HDFS: nothing is under way in agents and topic, and files are there.

    A file's existence alone says little, so the consumers are asked too: the channels of both agents hold
    nothing, HDFS has passed the end that the topic had when the wait began (by agent 2's chain of links, or
    in profile memory by its consumer group), and so has the Spark query, when a checkpoint is given.

    Args:
        logs_dir: holds a directory a day, named ``%y-%m-%d``.
        first_day: ISO date, or timestamp with its offset from UTC.
        last_day: like ``first_day``; lines that arrived past midnight stand in the next directory.
        zone: whose midnight parts the directories.
        topic: Kafka topic between the agents.
        consumer_group: the group of the last agent.
        first_agent_conn_id: connection to the metrics of the agent that fills the topic.
        last_agent_conn_id: connection to the metrics of the agent that empties it.
        checkpoint_dir: checkpoint of the Spark query on HDFS; None when it need not be waited for.
        kafka_conn_id: connection to Kafka.
        webhdfs_conn_id: connection to HDFS.
        first_look_s: the task keeps its worker this long before it defers.
    """

    template_fields: Sequence[str] = ("logs_dir", "first_day", "last_day", "topic", "consumer_group")

    def __init__(
        self,
        *,
        logs_dir: str,
        first_day: str,
        last_day: str | None = None,
        zone: str = "UTC",
        topic: str,
        consumer_group: str,
        first_agent_conn_id: str = "flume_agent1_default",
        last_agent_conn_id: str = "flume_agent2_default",
        checkpoint_dir: str | None = None,
        kafka_conn_id: str = "kafka_default",
        webhdfs_conn_id: str = "webhdfs_default",
        first_look_s: float = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.logs_dir = logs_dir
        self.first_day = first_day
        self.last_day = last_day
        self.zone = zone
        self.topic = topic
        self.consumer_group = consumer_group
        self.first_agent_conn_id = first_agent_conn_id
        self.last_agent_conn_id = last_agent_conn_id
        self.checkpoint_dir = checkpoint_dir
        self.kafka_conn_id = kafka_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id
        self.first_look_s = first_look_s

    def execute(self, context: "Context") -> list[str]:
        """Wait; return the paths of the files found."""
        from logpipe.airflow.triggers.hdfs_partition import HdfsPartitionTrigger

        days = days_between(self.first_day, self.last_day, self.zone)
        trigger = HdfsPartitionTrigger(
            logs_dir=self.logs_dir,
            directories=[f"{self.logs_dir}/{day:%y-%m-%d}" for day in days],
            topic=self.topic,
            consumer_group=self.consumer_group,
            first_agent_conn_id=self.first_agent_conn_id,
            last_agent_conn_id=self.last_agent_conn_id,
            deadline_epoch_s=time.time() + self.timeout,
            checkpoint_dir=self.checkpoint_dir,
            kafka_conn_id=self.kafka_conn_id,
            webhdfs_conn_id=self.webhdfs_conn_id,
        )
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> list[str]:
        """Return the paths of the files found.

        Raises:
            AirflowSensorTimeout: time was over; the message says what was still missing.
        """
        from logpipe.airflow.triggers.hdfs_partition import HdfsPartitionEvent

        outcome = HdfsPartitionEvent.from_payload(event)
        if not outcome.complete:
            raise AirflowSensorTimeout(f"After {outcome.waited_s} s: {outcome.missing}")
        self.log.info("Drained after %.1f s: %s", outcome.waited_s, ", ".join(outcome.files))
        return list(outcome.files)
