"""Waiting for a log file on a server."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logpipe.airflow.sensors.wait import WaitSensor

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.airflow.triggers.wait import WaitTrigger


class SourceFileSensor(WaitSensor):
    """True once a log can be opened and is not empty: ftp, ftps, http, https or file. Returns size and time.

    Args:
        url: the log.
        source_conn_id: connection with user and password for the log's server; None when it asks for none.
        wait_s: wait so long for it; 0 looks once.
        kwargs: as in `WaitSensor`.
    """

    template_fields: Sequence[str] = ("url", "source_conn_id", "wait_s")

    def __init__(
        self,
        *,
        url: str,
        source_conn_id: str | None = None,
        wait_s: float = 3600,
        poke_interval: float = 5,
        **kwargs: Any,
    ) -> None:
        super().__init__(poke_interval=poke_interval, **kwargs)
        self.url = url
        self.source_conn_id = source_conn_id
        self.wait_s = wait_s

    def waiting(self, context: "Context") -> "WaitTrigger":
        """Look whether it can be read."""
        from logpipe.airflow.triggers.wait import SourceFileTrigger

        return SourceFileTrigger(
            url=self.url,
            source_conn_id=self.source_conn_id,
            deadline_epoch_s=time.time() + float(self.wait_s),
            poll_interval_s=self.poke_interval,
        )
