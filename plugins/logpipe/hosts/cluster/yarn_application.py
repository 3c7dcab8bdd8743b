"""The windows job on YARN, as the command line sees it: its state, and the tables that its driver prints."""

import re
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import urlsplit

import httpx

from logpipe.settings import Settings

RESOURCE_MANAGER = "http://resourcemanager:8088"
TIMEOUT_S = 5.0
INTERVAL_S = 3.0
TAIL_BYTES = 262144
_LENGTH = re.compile(rb"^LogLength: *(\d+)$", re.MULTILINE)
_LOG_LINE = re.compile(rb"[0-9-]{10} [0-9:,]{12} (DEBUG|INFO|WARNING|ERROR) ")
_CONTENTS, _END = b"LogContents:\n", b"\nEnd of LogType:"


def application(settings: Settings) -> dict[str, Any] | None:
    """What the ResourceManager tells of the live application of this pipeline, or of the last one that was.

    None when there was none.
    """
    answer = httpx.get(
        f"{RESOURCE_MANAGER}/ws/v1/cluster/apps", params={"applicationTypes": "SPARK"}, timeout=TIMEOUT_S
    )
    rows = (answer.raise_for_status().json()["apps"] or {}).get("app", [])
    own = [row for row in rows if row["name"] == settings.spark_application]
    return max(own, key=lambda row: (row["finalStatus"] == "UNDEFINED", row["startedTime"])) if own else None


class DriverOutput:
    """The lines that the driver prints, read from the log of its container.

    On YARN the driver's log goes the same way; its lines are left out.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._container = ""
        self._seen_bytes = 0
        self._rest = b""
        self._looked_at = 0.0

    def new_lines(self) -> Iterable[str]:
        """Complete lines since the last call; what the job printed before the first call is left out."""
        if time.monotonic() - self._looked_at < INTERVAL_S:
            return []
        first_look = not self._looked_at
        self._looked_at = time.monotonic()
        try:
            fresh = self._fresh_bytes()
        except (httpx.HTTPError, KeyError, ValueError):
            return []
        if first_look:
            return []
        *lines, self._rest = (self._rest + fresh).split(b"\n")
        return [line.decode(errors="replace") for line in lines if not _LOG_LINE.match(line)]

    def _fresh_bytes(self) -> bytes:
        found = application(self._settings)
        if found is None or not found.get("amContainerLogs"):
            return b""
        address = urlsplit(found["amContainerLogs"])
        container = address.path.split("/containerlogs/")[1].split("/")[0]
        if container != self._container:
            self._container, self._seen_bytes, self._rest = container, 0, b""
        url = f"http://{address.netloc}/ws/v1/node/containers/{container}/logs/stdout"
        answer = httpx.get(url, params={"size": -TAIL_BYTES}, timeout=TIMEOUT_S).raise_for_status().content
        length = _LENGTH.search(answer)
        if length is None:
            return b""
        contents = answer.partition(_CONTENTS)[2].rpartition(_END)[0]
        size = int(length[1])
        fresh, self._seen_bytes = size - self._seen_bytes, size
        return contents[-fresh:] if fresh > 0 else b""
