"""Waiting for alerts that somebody has to be told of."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any

from logpipe.airflow.hooks.services import PageHook
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger, off_loop
from logpipe.clients.errors import ClientError


@dataclass(frozen=True, slots=True)
class AlertEvent(Event):
    """Changes of alerts that nobody was told yet, or why there can be none.

    Attributes:
        changes: as `logpipe.alerts.state.Change`, in JSON's form; none when the wait is over.
        error: the rules cannot work, or the page's service is away.
    """

    changes: tuple[dict[str, Any], ...]
    error: str = ""


@dataclass(kw_only=True, eq=False)
class AlertTrigger(SerializableTrigger):
    """Has the rules looked at again and again; fires when there is something to tell.

    A failure raised here would skip the task's retries and mails (Airflow 3.3), so it is an event too.

    Attributes:
        poll_interval_s: between two looks.
        patience_s: for a page's service that is away.
        at_most_s: fires after so long even with nothing to tell; None: waits for ever.
    """

    page_conn_id: str = PageHook.default_conn_name
    poll_interval_s: float = 10
    patience_s: float = 300
    at_most_s: float | None = None

    async def event(self) -> AlertEvent:
        """Wait for something to tell; where there is no page's service at all, for ever."""
        from airflow.exceptions import AirflowNotFoundException

        began_s = heard_s = time.monotonic()
        told = ""
        while self.at_most_s is None or time.monotonic() - began_s < self.at_most_s:
            try:
                found = await off_loop(lambda: PageHook(self.page_conn_id).get_conn().look())
            except ClientError as error:
                if time.monotonic() - heard_s > self.patience_s:
                    return AlertEvent((), str(error))
                told = self._say(str(error), told)
            except AirflowNotFoundException:
                told = self._say(
                    f"There is no connection {self.page_conn_id}: nobody looks at rules here", told
                )
            else:
                heard_s = time.monotonic()
                if found["changes"] or found["error"]:
                    return AlertEvent(tuple(found["changes"]), found["error"])
            await asyncio.sleep(self.poll_interval_s)
        return AlertEvent(())

    def _say(self, text: str, before: str) -> str:
        if text != before:
            self.log.warning("Waiting: %s", text)
        return text
