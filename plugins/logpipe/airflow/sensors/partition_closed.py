"""Waiting for the end of a day."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowSensorTimeout

from logpipe.airflow.operators.days import day_of
from logpipe.airflow.operators.first_look import FirstLookMixin

if TYPE_CHECKING:
    from airflow.sdk import Context


class HdfsPartitionClosedSensor(FirstLookMixin, BaseSensorOperator):
    """True once a day is over: agent 2 has made final all of its lines.

    Args:
        date: the day, ISO; without one the day before the run's logical date.
        zone: whose midnight parts the days.
        first_look_s: the task keeps its worker this long before it defers.
        kwargs: ``timeout`` and ``poke_interval`` as in every sensor, in seconds.
    """

    template_fields: Sequence[str] = ("date",)

    def __init__(
        self, *, date: str | None = None, zone: str = "UTC", first_look_s: float = 3, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.date = date
        self.zone = zone
        self.first_look_s = first_look_s

    def execute(self, context: "Context") -> str:
        """Wait; return the day as an ISO date."""
        from logpipe.airflow.triggers.partition_closed import PartitionClosedTrigger

        trigger = PartitionClosedTrigger(
            day=day_of(context, self.date, self.zone).isoformat(),
            deadline_epoch_s=time.time() + self.timeout,
            poll_interval_s=self.poke_interval,
        )
        self.log.info("Waiting until %s is over", trigger.day)
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> str:
        """Return the day.

        Raises:
            AirflowSensorTimeout: time was over; the message says what was missing.
        """
        from logpipe.airflow.triggers.partition_closed import PartitionClosedEvent

        outcome = PartitionClosedEvent.from_payload(event)
        if not outcome.closed:
            raise AirflowSensorTimeout(f"Not over after {outcome.waited_s} s: {outcome.still_open}")
        day = day_of(context, self.date, self.zone).isoformat()
        self.log.info("%s is over, after %.1f s", day, outcome.waited_s)
        return day
