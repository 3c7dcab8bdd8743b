"""The replayer, over its HTTP interface."""

import json
from datetime import UTC, datetime
from typing import Any, ClassVar

from logpipe.airflow.hooks.http_service import HttpReply, HttpServiceHook, ServiceUnreachableError
from logpipe.airflow.hooks.source_login import source_login

ReplayRecord = dict[str, Any]


class ReplayRefusedError(RuntimeError):
    """The replayer refused a request: a bad value, an unknown id, or an id that stands for another replay."""


class ReplayerHook(HttpServiceHook):
    """Submits, follows and stops replays at the replayer of a connection (host, port, login, password)."""

    conn_name_attr = "replayer_conn_id"
    default_conn_name: ClassVar[str] = "replayer_default"
    hook_name: ClassVar[str] = "Log replayer"

    def __init__(self, replayer_conn_id: str = default_conn_name) -> None:
        super().__init__(replayer_conn_id)

    async def health(self) -> int:
        """Return the number of running replays.

        Raises:
            ServiceUnreachableError: the replayer does not answer as a healthy one does.
        """
        reply = await self.call("GET", "/health", authenticate=False)
        if reply.status != 200:
            raise ServiceUnreachableError(
                f"The replayer of connection {self.conn_id} answered GET /health with HTTP {reply.status}"
            )
        return int(json.loads(reply.body)["replays_running"])

    async def submit(self, replay_id: str, spec: dict[str, Any]) -> ReplayRecord:
        """Start a replay, or find the one with this id: a running one is joined, a failed one goes on.

        ``spec`` holds url, pace, profile, limit (lines, or null), and may hold source_conn_id: the connection
        whose login goes along.

        Raises:
            ReplayRefusedError: a value is refused, or the id stands for another spec.
            SourceLoginError: the connection is not for the log's server.
        """
        body = {"replay_id": replay_id, **spec}
        body["login"] = await source_login(body.pop("source_conn_id", None), spec["url"])
        return self._record(await self.call("POST", "/replays", json=body))

    async def get(self, replay_id: str) -> ReplayRecord:
        """Return the record of a replay.

        Raises:
            ReplayRefusedError: there is none with this id.
        """
        return self._record(await self.call("GET", f"/replays/{replay_id}"))

    async def replays(self) -> list[ReplayRecord]:
        """List the records of all replays, oldest first."""
        reply = await self.call("GET", "/replays")
        if reply.status != 200:
            raise ServiceUnreachableError(
                f"The replayer of connection {self.conn_id} answered GET /replays with HTTP {reply.status}"
            )
        records: list[ReplayRecord] = json.loads(reply.body)["replays"]
        return records

    async def stop(self, replay_id: str) -> ReplayRecord:
        """Stop a replay once what is in flight is acknowledged; return its record."""
        return self._record(await self.call("POST", f"/replays/{replay_id}/stop"))

    async def seal(self, replay_id: str) -> ReplayRecord:
        """Have a replay sealed, which is done and equal everywhere; return its record."""
        body = {"sealed_at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        return self._record(await self.call("POST", f"/replays/{replay_id}/seal", json=body))

    def _record(self, reply: HttpReply) -> ReplayRecord:
        if reply.status in {200, 201}:
            record: ReplayRecord = json.loads(reply.body)
            return record
        if reply.status >= 500:
            raise ServiceUnreachableError(
                f"The replayer of connection {self.conn_id} answered HTTP {reply.status}"
            )
        try:
            reason = json.loads(reply.body)["error"]
        except (ValueError, KeyError, TypeError):
            reason = f"HTTP {reply.status}"
        raise ReplayRefusedError(f"The replayer of connection {self.conn_id} refused: {reason}")
