"""Waiting for the end of the following of a log."""

from dataclasses import dataclass, replace

from logpipe.airflow.services import kinds
from logpipe.airflow.triggers.replay import ReplayerTrigger
from logpipe.clients.replayer import Record

_GOING_ON = frozenset({"waiting", "following", "behind"})


@dataclass(kw_only=True, eq=False)
class FollowTrigger(ReplayerTrigger):
    """Fires when a log is followed no longer, or cannot be.

    A replayer that was stopped on request has it fire too: the log is followed on, from where it was, as soon
    as a replayer runs again.

    Attributes:
        follow_id: of the followed log, or of the pattern of logs.
    """

    follow_id: str

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
        return record["state"] in _GOING_ON

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
