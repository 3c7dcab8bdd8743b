"""Waiting for a log file on a server."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseSensorOperator
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout

from logpipe.airflow.operators.first_look import FirstLookMixin

if TYPE_CHECKING:
    from airflow.sdk import Context


class SourceFileSensor(FirstLookMixin, BaseSensorOperator):
    """True once a log can be opened and is not empty: ftp, ftps, http, https or file.

    Args:
        url: the log.
        source_conn_id: connection with user and password for the log's server; None when it asks for none.
        wait_s: wait so long for it; 0 looks once.
        first_look_s: the task keeps its worker this long before it defers.
        kwargs: ``poke_interval`` as in every sensor, in seconds.
    """

    template_fields: Sequence[str] = ("url", "source_conn_id", "wait_s")

    def __init__(
        self,
        *,
        url: str,
        source_conn_id: str | None = None,
        wait_s: float = 3600,
        first_look_s: float = 3,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.source_conn_id = source_conn_id
        self.wait_s = wait_s
        self.first_look_s = first_look_s

    def execute(self, context: "Context") -> str:
        """Wait; return the size and the time of the source, in words."""
        from logpipe.airflow.triggers.source_file import SourceFileTrigger

        trigger = SourceFileTrigger(
            url=self.url,
            source_conn_id=self.source_conn_id,
            deadline_epoch_s=time.time() + float(self.wait_s),
            poll_interval_s=self.poke_interval,
        )
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> str:
        """Return what the event tells.

        Raises:
            AirflowFailException: the source may not be read, by this login or at all.
            AirflowSensorTimeout: the source could not be read in time; the message names it and the reason.
        """
        from logpipe.airflow.triggers.source_file import SourceFileEvent

        outcome = SourceFileEvent.from_payload(event)
        if outcome.refused:
            raise AirflowFailException(f"The source is refused: {outcome.told}")
        if not outcome.readable:
            raise AirflowSensorTimeout(f"{self.url} cannot be read: {outcome.told}")
        self.log.info("Found %s: %s", self.url, outcome.told)
        return outcome.told
