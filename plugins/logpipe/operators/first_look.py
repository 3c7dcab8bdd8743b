"""Deferring only what takes time."""

import asyncio
from typing import Any

from airflow.sdk import BaseOperator
from airflow.triggers.base import BaseTrigger, TriggerEvent


async def _first_event(trigger: BaseTrigger) -> TriggerEvent:
    return await anext(trigger.run())


class FirstLookMixin(BaseOperator):
    """Runs a trigger in the worker for a moment before it goes to the triggerer.

    A trip through the triggerer and back costs seconds, which most services that start well don't need.
    """

    def defer_unless_soon(self, trigger: BaseTrigger, first_look_s: float) -> Any:
        """Return the payload of the trigger's event when it comes within ``first_look_s``, else defer.

        The event of a deferred task reaches the operator's ``execute_complete(context, event)``.
        """
        try:
            return asyncio.run(asyncio.wait_for(_first_event(trigger), first_look_s)).payload
        except TimeoutError:
            self.defer(trigger=trigger, method_name="execute_complete")
