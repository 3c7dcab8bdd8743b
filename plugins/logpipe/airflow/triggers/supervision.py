"""What a supervision did, where people and later triggers find it."""

import logging
import time
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, Self

from airflow.sdk.exceptions import AirflowRuntimeError

from logpipe.airflow.triggers.ownership import place_of

HEALS_KEY = "heals"
_KEPT_HEALS = 100

# What a call to Airflow's API raises; supervision goes on without it.
_UNREACHABLE = (AirflowRuntimeError, OSError, TypeError)

log = logging.getLogger(__name__)


class HealLog:
    """The last 100 heals of one task try, kept in XCom so that a restart of the triggerer forgets none.

    Each is ``{"number": counted from 1, "at": ISO-8601 UTC, "reason": why, "took_s": seconds until healthy
    again, "process": the new one, a pid or the id of a YARN application, "boot": of the machine, "up_s": its
    age at the heal}``. The last two tell how long ago a heal was when the clock has been set since.
    """

    def __init__(self, task_instance: Any, heals: list[dict[str, Any]]) -> None:
        self._task_instance = task_instance
        self.heals = heals
        self._healed_at_s = [time.monotonic() - _age_s(heal) for heal in heals]

    @classmethod
    async def load(cls, task_instance: Any) -> Self:
        """Read what this try has healed so far; outside of Airflow nothing."""
        if task_instance is None:
            return cls(None, [])
        from airflow.sdk.execution_time.xcom import XCom

        try:
            heals = await XCom.aget_one(key=HEALS_KEY, **place_of(task_instance))
        except _UNREACHABLE as error:
            log.warning("Earlier heals of this task are not known: %s", error)
            heals = None
        return cls(task_instance, heals or [])

    @property
    def last_process(self) -> str:
        """Process that the last heal brought up; empty before the first."""
        return str(self.heals[-1].get("process", "")) if self.heals else ""

    async def add(self, reason: str, took_s: float, process: str) -> None:
        """Remember a heal that has just been finished."""
        now_s = time.monotonic()
        heal = {
            "number": self.heals[-1].get("number", len(self.heals)) + 1 if self.heals else 1,
            "at": datetime.now(UTC).isoformat(timespec="seconds"),
            "reason": reason,
            "took_s": round(took_s, 1),
            "process": process,
            "boot": _boot_id(),
            "up_s": round(now_s),
        }
        self.heals = [*self.heals, heal][-_KEPT_HEALS:]
        self._healed_at_s = [*self._healed_at_s, now_s][-_KEPT_HEALS:]
        if self._task_instance is not None:
            from airflow.sdk.execution_time.xcom import XCom

            try:
                await XCom.aset(key=HEALS_KEY, value=self.heals, **place_of(self._task_instance))
            except _UNREACHABLE as error:
                log.warning("XCom %s lacks a heal until the next one: %s", HEALS_KEY, error)

    def within(self, window_s: float) -> int:
        """Count the heals of the last ``window_s`` seconds."""
        since_s = time.monotonic() - window_s
        return sum(healed_at_s >= since_s for healed_at_s in self._healed_at_s)


def _age_s(heal: dict[str, Any]) -> float:
    """How long ago a heal was: by the machine's own age, or by the clock where it was started anew since."""
    if heal.get("boot") == _boot_id():
        return float(time.monotonic() - heal["up_s"])
    return max(0.0, time.time() - datetime.fromisoformat(heal["at"]).timestamp())


@cache
def _boot_id() -> str:
    """What tells one start of this machine from another; empty where the kernel does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""
