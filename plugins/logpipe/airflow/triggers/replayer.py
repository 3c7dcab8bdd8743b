"""Waiting for the replayer service."""

from dataclasses import dataclass

from logpipe.airflow.hooks.replayer import ReplayerHook
from logpipe.airflow.triggers.service import ServiceTrigger


@dataclass(kw_only=True, eq=False)
class ReplayerTrigger(ServiceTrigger):
    """Fires once the replayer answers its health check."""

    service: str = "replayer"
    replayer_conn_id: str = ReplayerHook.default_conn_name

    async def probe(self) -> str:
        """Return how many replays run."""
        return f"{await ReplayerHook(self.replayer_conn_id).health()} replays running"
