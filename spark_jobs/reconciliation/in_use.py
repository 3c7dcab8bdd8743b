"""Files that a Flume agent has, or had, in use: told apart, waited for, recovered.

The sink writes ``_apache_logs….log.tmp`` and renames it to ``apache_logs….log`` once it is closed. An agent
that was killed leaves the first for ever.
"""

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from reconciliation.day import Day
from reconciliation.errors import ReconcileError, StillOpenError
from reconciliation.hdfs import LogFiles
from reconciliation.options import Options
from reconciliation.topic import Topic
from windows.hdfs import Entry

LOG = logging.getLogger("reconcile")
PREFIX = "apache_logs"
WRITTEN_HERE = f"{PREFIX}-reconciled"
RECOVERY_DEADLINE_S = 120.0
CLOSING_S = 10.0  # between a living agent's close and rename
_POLL_S = 0.5


def is_in_use(name: str) -> bool:
    """Tell an in-use file by its name."""
    return name.endswith(".tmp") and name.lstrip("_").startswith(PREFIX)


def is_final(name: str) -> bool:
    """Tell a file of lines that readers see by its name."""
    return name.startswith(PREFIX) and not name.endswith(".tmp")


class Writers(NamedTuple):
    """Tells whether a partition is still being written."""

    hdfs: LogFiles
    options: Options
    connect: Callable[[], Topic]

    def reasons(self, day: Day) -> list[str]:
        """Why the day is open, in words; empty when it is closed."""
        if self.options.agent_stopped:
            return []
        topic = self.connect()
        entries = self.hdfs.list(f"{self.options.logs_url}/{day.partition}")
        agent = topic.has_agent()
        now_ms = time.time_ns() // 1_000_000
        reasons = []
        if agent:
            reasons += [reason for entry in entries if (reason := self._held(entry, now_ms))]
        unwritten = topic.unwritten(day)
        if unwritten:
            rest = "" if agent else "; no agent 2 is running: start it, or give --agent-stopped"
            reasons.append(
                f"consumer group {self.options.group} has {unwritten:,} records of the day to write{rest}"
            )
        if agent and not reasons:
            since_ms = now_ms - self.options.settle_s * 1000
            written_ms = max(
                (e.modified_ms for e in entries if is_final(e.name) and not e.name.startswith(WRITTEN_HERE)),
                default=0,
            )
            if written_ms > since_ms or topic.arrived_since(day, since_ms):
                reasons.append(
                    f"an agent is running, and lines came within the last {self.options.settle_s} s"
                )
        return reasons

    def _held(self, entry: Entry, now_ms: int) -> str:
        """Why a file may have a living writer; empty when it has none."""
        if not is_in_use(entry.name):
            return ""
        age_s = (now_ms - entry.modified_ms) / 1000
        closes_after_s = self.options.roll_interval_s + self.options.in_use_margin_s
        if age_s > closes_after_s:
            return ""
        try:
            if age_s > CLOSING_S and self.hdfs.is_closed(entry.path):
                return ""
        except FileNotFoundError:
            return ""
        return f"an agent may be writing {entry.name} ({age_s:.0f} s old; abandoned after {closes_after_s} s)"

    def wait_until_closed(self, day: Day) -> None:
        """Return once the day is closed.

        Raises:
            StillOpenError: it isn't after ``wait_s``.
        """
        end = time.monotonic() + self.options.wait_s
        while reasons := self.reasons(day):
            if time.monotonic() >= end:
                raise StillOpenError(day.partition, reasons)
            LOG.info("%s is still open: %s; waiting", day.partition, "; ".join(reasons))
            time.sleep(min(_POLL_S * 4, max(0.0, end - time.monotonic())))


def recover(hdfs: LogFiles, folder: str, reached: Callable[[str], None]) -> int:
    """Close and rename the in-use files of a directory that nobody writes; returns their number.

    Raises:
        ReconcileError: a lease was not recovered in time, which is so while no DataNode has the last block.
    """
    entries = [entry for entry in hdfs.list(folder) if is_in_use(entry.name)]
    end = time.monotonic() + RECOVERY_DEADLINE_S
    waiting = [
        entry for entry in entries if not hdfs.is_closed(entry.path) and not hdfs.recover_lease(entry.path)
    ]
    while waiting := [entry for entry in waiting if not hdfs.is_closed(entry.path)]:
        if time.monotonic() > end:
            raise ReconcileError(
                f"{waiting[0].path} was not closed {RECOVERY_DEADLINE_S:.0f} s after its lease was taken: "
                "see whether every DataNode that holds its last block is up, then run again"
            )
        time.sleep(_POLL_S)
    if entries:
        reached("lease-recovered")
    for entry in entries:
        name = entry.name.lstrip("_").removesuffix(".tmp")
        if hdfs.size_bytes(entry.path) == 0:
            hdfs.delete(entry.path)
        else:
            hdfs.rename(entry.path, f"{folder}/{name}")
        LOG.info("recovered %s", entry.path)
    if entries:
        reached("in-use-renamed")
    return len(entries)
