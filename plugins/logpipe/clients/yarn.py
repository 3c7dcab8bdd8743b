"""Applications on YARN, over the ResourceManager's REST API."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from logpipe.clients.http import HttpService

_LIVE = frozenset({"NEW", "NEW_SAVING", "SUBMITTED", "ACCEPTED", "RUNNING"})


@dataclass(frozen=True, slots=True)
class YarnApplication:
    """An application as the ResourceManager tells of it."""

    application_id: str
    name: str
    state: str  # NEW, NEW_SAVING, SUBMITTED, ACCEPTED, RUNNING, FINISHED, FAILED or KILLED
    final_status: str  # SUCCEEDED, FAILED, KILLED; UNDEFINED while it is live
    diagnostics: str
    started_ms: int
    elapsed_ms: int

    @classmethod
    def from_reply(cls, reply: Mapping[str, Any]) -> Self:
        """Build from one ``app`` object."""
        return cls(
            application_id=reply["id"],
            name=reply["name"],
            state=reply["state"],
            final_status=reply["finalStatus"],
            diagnostics=reply.get("diagnostics", "").strip(),
            started_ms=reply["startedTime"],
            elapsed_ms=reply.get("elapsedTime", 0),
        )

    @property
    def live(self) -> bool:
        """Whether it runs, or YARN will start it; between two attempts it is ACCEPTED."""
        return self.state in _LIVE


class Yarn(HttpService):
    """Finds, watches and kills applications at a ResourceManager."""

    what = "ResourceManager"

    def applications(self, name: str, *, live: bool = False) -> list[YarnApplication]:
        """List the Spark applications of a name that YARN remembers, or only live ones; oldest first."""
        query = {"applicationTypes": "SPARK"} | ({"states": ",".join(sorted(_LIVE))} if live else {})
        rows = (self.get("/ws/v1/cluster/apps", query)["apps"] or {}).get("app", [])
        found = [YarnApplication.from_reply(row) for row in rows if row["name"] == name]
        return sorted(found, key=lambda application: (application.started_ms, application.application_id))

    def newest(self, name: str) -> YarnApplication | None:
        """The live application of a name, or else the last one that was; None when there was none."""
        found = self.applications(name)
        return next((application for application in found if application.live), found[-1] if found else None)

    def application(self, application_id: str) -> YarnApplication:
        """Return one application.

        Raises:
            RefusedError: there is none with this id.
        """
        return YarnApplication.from_reply(self.get(f"/ws/v1/cluster/apps/{application_id}")["app"])

    def kill(self, application_id: str) -> None:
        """Have YARN kill an application; one that has ended is left as it is."""
        path = f"/ws/v1/cluster/apps/{application_id}/state"
        answer = self.call("PUT", path, json={"state": "KILLED"})
        if answer.is_error:
            raise self.refusal(f"to kill {application_id}", answer)
