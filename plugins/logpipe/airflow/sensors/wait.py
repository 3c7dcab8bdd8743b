"""What all sensors of the pipeline have in common: a trigger that looks until it is content."""

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from logpipe.airflow.operators.first_look import FirstLookMixin

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.wait import WaitEvent, WaitTrigger


class WaitSensor(FirstLookMixin, BaseSensorOperator):
    """Waits deferred, unless what it waits for comes at once.

    Args:
        first_look_s: the task keeps its worker this long before it defers.
        kwargs: ``timeout`` and ``poke_interval`` as in every sensor, in seconds.
    """

    def __init__(self, *, first_look_s: float = 3, poke_interval: float = 1, **kwargs: Any) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.first_look_s = first_look_s

    @abstractmethod
    def waiting(self, context: "Context") -> "WaitTrigger":
        """Return the trigger that looks."""

    def result(self, context: "Context", outcome: "WaitEvent") -> Any:
        """What the task returns once the wait is over."""
        return outcome.told

    def execute(self, context: "Context") -> Any:
        """Wait; return what was found."""
        return self.execute_complete(
            context, self.defer_unless_soon(self.waiting(context), self.first_look_s)
        )

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> Any:
        """Return what was found.

        Raises:
            AirflowFailException: it will never come; the message says why.
            AirflowSensorTimeout: time was over; the message says what was still missing.
        """
        from logpipe.airflow.triggers.wait import WaitEvent

        outcome = WaitEvent.from_payload(event)
        if outcome.refused:
            raise AirflowFailException(f"Refused: {outcome.told}")
        if not outcome.complete:
            raise AirflowSensorTimeout(f"{outcome.told} (given up after {outcome.waited_s} s)")
        self.log.info("After %.1f s: %s", outcome.waited_s, outcome.told)
        return self.result(context, outcome)
