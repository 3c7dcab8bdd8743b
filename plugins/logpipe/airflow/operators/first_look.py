"""Deferring only what takes time."""

import asyncio
import time
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from logpipe.airflow.triggers.serializable import SerializableTrigger

WORKER_GONE_S = 3.0  # by then the scheduler knows, also on a busy machine; who fires sooner fails the task


class FirstLookMixin(BaseOperator):
    """Runs a trigger in the worker for a moment before it goes to the triggerer.

    A trip through the triggerer and back costs seconds, which most services that start well don't need.
    """

    def defer_unless_soon(self, trigger: "SerializableTrigger", first_look_s: float) -> Any:
        """Return the payload of the trigger's event when it comes within ``first_look_s``, else defer.

        The event of a deferred task reaches the operator's ``execute_complete(context, event)``.
        """
        try:
            return asyncio.run(asyncio.wait_for(trigger.event(), first_look_s)).to_payload()
        except TimeoutError:
            trigger.not_before_epoch_s = time.time() + WORKER_GONE_S
            self.defer(trigger=trigger, method_name="execute_complete")
