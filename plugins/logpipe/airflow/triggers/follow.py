"""Waiting for the end of the following of a log."""

import time
from dataclasses import dataclass, replace

from logpipe.airflow.services import kinds
from logpipe.airflow.triggers.replay import ReplayerTrigger
from logpipe.clients.replayer import Record


@dataclass(kw_only=True, eq=False)
class FollowTrigger(ReplayerTrigger):
    """Fires when a log is followed no longer, or cannot be for a while: the replayer tries again by itself.

    A replayer that was stopped on request has it fire too: the log is followed on, from where it was, as soon
    as a replayer runs again.

    Attributes:
        follow_id: of the followed log, or of the pattern of logs.
        patience_s: it may fail for so long.
    """

    follow_id: str
    patience_s: float = 60

    def __post_init__(self) -> None:
        super().__post_init__()
        self._failing_since: float | None = None

    def __str__(self) -> str:
        return f"the following {self.follow_id}"

    @property
    def _kept(self) -> kinds.Replayer:
        return replace(super()._kept, follow_id=self.follow_id)

    def _record(self) -> Record:
        return self._replayer.followed(self.follow_id)

    def _stop(self) -> Record:
        return self._replayer.unfollow(self.follow_id)

    def _goes_on(self, record: Record) -> bool:
        if record["state"] != "failed":
            self._failing_since = None
            return bool(record["state"] != "stopped")
        self._failing_since = self._failing_since or time.monotonic()
        return time.monotonic() - self._failing_since < self.patience_s

    def _progress(self, record: Record) -> str:
        return follow_progress(record)

    def _ends_with_replayer(self) -> Record | None:
        return {
            "follow_id": self.follow_id,
            "state": "paused",
            "reason": "the replayer was stopped; the log is followed on as soon as one runs",
        }


def follow_progress(record: Record) -> str:
    """Say in one line how far a followed log is."""
    lines, behind = record.get("lines", 0), record.get("bytes_behind", 0)
    reason = f": {record['reason']}" if record.get("reason") else ""
    return f"{record['state']}, {lines:,} lines acknowledged, {behind:,} bytes behind{reason}"
