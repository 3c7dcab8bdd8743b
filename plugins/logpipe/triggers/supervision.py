"""What a supervision did, where people and later triggers find it."""

import logging
import time
from datetime import UTC, datetime
from typing import Any, Self

from airflow.sdk.exceptions import AirflowRuntimeError

HEALS_KEY = "heals"

# What a call to Airflow's API raises; supervision goes on without it.
_UNREACHABLE = (AirflowRuntimeError, OSError, TypeError)

log = logging.getLogger(__name__)


class HealLog:
    """The heals of one task try, kept in XCom so that a restart of the triggerer forgets none.

    Each is ``{"at": ISO-8601 UTC, "reason": why, "took_s": seconds until healthy again, "pid": new}``.
    """

    def __init__(self, task_instance: Any, heals: list[dict[str, Any]]) -> None:
        self._task_instance = task_instance
        self.heals = heals

    @classmethod
    async def load(cls, task_instance: Any) -> Self:
        """Read what this try has healed so far; outside of Airflow nothing."""
        if task_instance is None:
            return cls(None, [])
        from airflow.sdk.execution_time.xcom import XCom

        try:
            heals = await XCom.aget_one(key=HEALS_KEY, **_place(task_instance))
        except _UNREACHABLE as error:
            log.warning("Earlier heals of this task are not known: %s", error)
            heals = None
        return cls(task_instance, heals or [])

    @property
    def last_pid(self) -> int:
        """Process that the last heal brought up; 0 before the first."""
        return int(self.heals[-1]["pid"]) if self.heals else 0

    async def add(self, reason: str, took_s: float, pid: int) -> None:
        """Remember a heal that has just been finished."""
        at = datetime.now(UTC).isoformat(timespec="seconds")
        self.heals.append({"at": at, "reason": reason, "took_s": round(took_s, 1), "pid": pid})
        if self._task_instance is not None:
            from airflow.sdk.execution_time.xcom import XCom

            try:
                await XCom.aset(key=HEALS_KEY, value=self.heals, **_place(self._task_instance))
            except _UNREACHABLE as error:
                log.warning("XCom %s lacks a heal until the next one: %s", HEALS_KEY, error)

    def within(self, window_s: float) -> int:
        """Count the heals of the last ``window_s`` seconds."""
        since = time.time() - window_s
        return sum(datetime.fromisoformat(heal["at"]).timestamp() >= since for heal in self.heals)


def _place(task_instance: Any) -> dict[str, Any]:
    return {name: getattr(task_instance, name) for name in ("dag_id", "run_id", "task_id", "map_index")}
