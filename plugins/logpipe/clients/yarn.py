"""Applications on YARN, over the ResourceManager's REST API."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

from logpipe.clients.errors import UnreachableError
from logpipe.clients.http import HttpService

_LENGTH = re.compile(rb"^LogLength: *(\d+)$", re.MULTILINE)
_CONTENTS, _END = b"LogContents:\n", b"\nEnd of LogType:"
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
    driver_log_url: str  # of the newest attempt's container; empty when there is none

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
            driver_log_url=reply.get("amContainerLogs", ""),
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

    def driver_output(self, application: YarnApplication, tail_bytes: int) -> tuple[str, int, bytes]:
        """What the driver of the newest attempt has printed, as its node tells.

        Returns:
            Its container, how many bytes there are, and the last ones of them, ``tail_bytes`` at most.

        Raises:
            UnreachableError: the node does not answer, or there is no output yet.
        """
        address = urlsplit(application.driver_log_url)
        container = address.path.partition("/containerlogs/")[2].split("/")[0]
        if not container or not address.hostname or not address.port:
            raise UnreachableError(f"{self} knows no driver of {application.application_id} yet")
        node = self.beside(address.hostname, address.port)
        path = f"/ws/v1/node/containers/{container}/logs/stdout"
        answer = node.call("GET", path, query={"size": -tail_bytes})
        length = _LENGTH.search(answer.content)
        if answer.is_error or length is None:
            raise UnreachableError(f"{node} has no output of {container}: HTTP {answer.status_code}")
        return container, int(length[1]), answer.content.partition(_CONTENTS)[2].rpartition(_END)[0]
