"""Applications on YARN, over the ResourceManager's REST API."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

from logpipe.airflow.hooks.http_service import HttpServiceHook, ServiceUnreachableError

_LIVE = frozenset({"NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING"})


class YarnError(RuntimeError):
    """The ResourceManager refused a request; the message holds its own words."""


@dataclass(frozen=True, slots=True)
class YarnApplication:
    """An application as the ResourceManager tells of it."""

    application_id: str
    name: str
    state: str  # NEW, NEW_SAVING, SUBMITTED, ACCEPTED, RUNNING, FINISHED, FAILED or KILLED
    final_status: str  # SUCCEEDED, FAILED, KILLED; UNDEFINED while it is live
    diagnostics: str
    started_ms: int

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any]) -> Self:
        """Build from one ``app`` object."""
        return cls(
            application_id=reply["id"],
            name=reply["name"],
            state=reply["state"],
            final_status=reply["finalStatus"],
            diagnostics=reply.get("diagnostics", ""),
            started_ms=reply["startedTime"],
        )

    @property
    def live(self) -> bool:
        """Whether it runs, or YARN will start it; between two attempts it is ACCEPTED."""
        return self.state in _LIVE


class YarnHook(HttpServiceHook):
    """Finds, watches and kills applications at the ResourceManager of a connection (host and port)."""

    conn_name_attr = "yarn_conn_id"
    default_conn_name: ClassVar[str] = "yarn_default"
    hook_name: ClassVar[str] = "YARN ResourceManager"

    def __init__(self, yarn_conn_id: str = default_conn_name) -> None:
        super().__init__(yarn_conn_id)

    async def _get(self, path: str, query: Mapping[str, str] | None = None) -> dict[str, Any]:
        reply = await self.call("GET", f"/ws/v1/cluster/{path}", query=query)
        if reply.status >= 500:
            raise ServiceUnreachableError(
                f"The ResourceManager of connection {self.conn_id} answered {path} with HTTP {reply.status}"
            )
        if reply.status != 200:
            raise YarnError(
                f"The ResourceManager of connection {self.conn_id} refused {path} with HTTP {reply.status}: "
                f"{reply.body[:500].decode(errors='replace')}"
            )
        answer: dict[str, Any] = json.loads(reply.body)
        return answer

    async def live(self, name: str) -> list[YarnApplication]:
        """List the live applications of a name, oldest first."""
        answer = await self._get("apps", {"states": ",".join(sorted(_LIVE)), "applicationTypes": "SPARK"})
        rows = (answer["apps"] or {}).get("app", [])
        found = [YarnApplication.from_reply(row) for row in rows if row["name"] == name]
        return sorted(found, key=lambda application: (application.started_ms, application.application_id))

    async def application(self, application_id: str) -> YarnApplication:
        """Return one application.

        Raises:
            YarnError: there is none with this id.
        """
        return YarnApplication.from_reply((await self._get(f"apps/{application_id}"))["app"])

    async def kill(self, application_id: str) -> None:
        """Have YARN kill an application; one that has ended is left as it is."""
        path = f"/ws/v1/cluster/apps/{application_id}/state"
        reply = await self.call("PUT", path, json={"state": "KILLED"})
        if reply.status not in {200, 202}:
            raise YarnError(
                f"The ResourceManager of connection {self.conn_id} did not kill {application_id}: HTTP "
                f"{reply.status} {reply.body[:500].decode(errors='replace')}"
            )
