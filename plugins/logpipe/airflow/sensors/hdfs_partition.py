"""Waiting for dated HDFS directories: until all that was sent stands there, or until the day is over."""

import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException

from logpipe import settings
from logpipe.airflow.operators.days import day_of, days_between
from logpipe.airflow.sensors.wait import WaitSensor
from logpipe.contracts.days import end_of_day_ms

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.wait import WaitEvent, WaitTrigger


class HdfsPartitionSensor(WaitSensor):
    """True once what was sent stands in HDFS: nothing is under way in agents and topic, and files are there.

    A file's existence alone says little, so the consumers are asked too: the channels of the agents hold
    nothing, HDFS has passed the end that the topic had when the wait began (by agent 2's chain of links, or
    in profile memory by its consumer group), and so has the Spark query. Returns the paths of the files.

    Args:
        first_day: ISO date, or timestamp with its offset from UTC.
        last_day: like ``first_day``; lines that arrived past midnight stand in the next directory.
        filling_conn_ids: connections to the metrics of agents that fill the topic; by default the table's.
        emptying_conn_ids: and of those that empty it.
        kafka_conn_id: connection to Kafka.
        webhdfs_conn_id: connection to HDFS.
        first_look_s: as in `WaitSensor`; longer than there, since what drains mostly does so within seconds,
            and a trip through the triggerer takes at least three.
        poke_interval: as in `WaitSensor`.
        kwargs: as in `WaitSensor`.
    """

    template_fields: Sequence[str] = ("first_day", "last_day", "kafka_conn_id", "webhdfs_conn_id")

    def __init__(
        self,
        *,
        first_day: str,
        last_day: str | None = None,
        filling_conn_ids: Sequence[str] | None = None,
        emptying_conn_ids: Sequence[str] | None = None,
        kafka_conn_id: str = "kafka_default",
        webhdfs_conn_id: str = "webhdfs_default",
        first_look_s: float = 15,
        poke_interval: float = 0.5,
        **kwargs: Any,
    ) -> None:
        super().__init__(first_look_s=first_look_s, poke_interval=poke_interval, **kwargs)
        self.first_day = first_day
        self.last_day = last_day
        self.filling_conn_ids = filling_conn_ids
        self.emptying_conn_ids = emptying_conn_ids
        self.kafka_conn_id = kafka_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id

    def waiting(self, context: "Context") -> "WaitTrigger":
        """Look whether all is drained."""
        from logpipe.airflow.hooks.services import agent_conn_ids
        from logpipe.airflow.triggers.wait import PartitionTrigger

        return PartitionTrigger(
            days=[day.isoformat() for day in days_between(self.first_day, self.last_day)],
            filling_conn_ids=self.filling_conn_ids or agent_conn_ids(empties_topic=False),
            emptying_conn_ids=self.emptying_conn_ids or agent_conn_ids(empties_topic=True),
            kafka_conn_id=self.kafka_conn_id,
            webhdfs_conn_id=self.webhdfs_conn_id,
            deadline_epoch_s=time.time() + self.timeout,
            poll_interval_s=self.poke_interval,
        )

    def result(self, context: "Context", outcome: "WaitEvent") -> list[str]:
        """The paths of the files."""
        return list(outcome.found)


class HdfsPartitionClosedSensor(WaitSensor):
    """True once a day is over: agent 2 has made final all of its lines. Returns the day, ISO.

    Args:
        date: the day, ISO; without one the day before the run's logical date, in the pipeline's zone.
        kafka_conn_id: connection to Kafka.
        webhdfs_conn_id: connection to HDFS.
        kwargs: as in `WaitSensor`.
    """

    template_fields: Sequence[str] = ("date", "kafka_conn_id", "webhdfs_conn_id")

    def __init__(
        self,
        *,
        date: str | None = None,
        kafka_conn_id: str = "kafka_default",
        webhdfs_conn_id: str = "webhdfs_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.date = date
        self.kafka_conn_id = kafka_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id

    def waiting(self, context: "Context") -> "WaitTrigger":
        """Look whether the day is over in every chain.

        Raises:
            AirflowFailException: it ends after the timeout only; other days would wait behind it.
        """
        from logpipe.airflow.triggers.wait import PartitionTrigger

        day, deadline_s = day_of(context, self.date), time.time() + self.timeout
        ends_s = end_of_day_ms(day, settings.load().timezone) / 1000
        if ends_s > deadline_s:
            ends = datetime.fromtimestamp(ends_s, UTC).isoformat(timespec="minutes")
            raise AirflowFailException(
                f"Refused: {day} ends at {ends}, and {self.timeout / 3600:g} hours are waited: begin then"
            )
        return PartitionTrigger(
            days=[day.isoformat()],
            is_over=True,
            kafka_conn_id=self.kafka_conn_id,
            webhdfs_conn_id=self.webhdfs_conn_id,
            deadline_epoch_s=deadline_s,
            poll_interval_s=self.poke_interval,
        )

    def result(self, context: "Context", outcome: "WaitEvent") -> str:
        """The day, ISO."""
        return day_of(context, self.date).isoformat()
