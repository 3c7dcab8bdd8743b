"""What counts time goes on well when the clock is set meanwhile."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logpipe.airflow.triggers import serializable
from logpipe.airflow.triggers.supervision import HealLog
from logpipe.airflow.triggers.wait import SourceFileTrigger, WaitEvent

HOUR_S = 3600.0
SetClock = Callable[[float], None]


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> SetClock:
    real = time.time
    return lambda step_s: monkeypatch.setattr(time, "time", lambda: real() + step_s)


@pytest.mark.parametrize("step_s", [-HOUR_S, 0.0, HOUR_S])
async def test_a_clock_that_is_set_neither_adds_nor_forgets_a_heal(
    set_clock: SetClock, step_s: float
) -> None:
    heals = HealLog(None, [])
    await heals.add("it died", 1.0, "7")
    set_clock(step_s)
    assert heals.within(600) == 1
    assert HealLog(None, heals.heals).within(600) == 1  # as another triggerer reads them
    old = heals.heals[0] | {"up_s": time.monotonic() - 700}
    assert HealLog(None, [old]).within(600) == 0


async def test_after_a_start_of_the_machine_a_heals_age_is_by_the_clock() -> None:
    at = (datetime.now(UTC) - timedelta(seconds=HOUR_S)).isoformat()
    heal = {"number": 1, "at": at, "reason": "", "took_s": 1.0, "process": "7", "boot": "another", "up_s": 1}
    assert HealLog(None, [heal]).within(600) == 0
    assert HealLog(None, [heal]).within(4000) == 1


async def test_the_last_hundred_heals_are_kept_and_all_are_counted() -> None:
    heals = HealLog(None, [])
    for pid in range(1, 251):
        await heals.add("it died", 1.0, str(pid))
    assert [heals.heals[0]["process"], heals.last_process, len(heals.heals)] == ["151", "250", 100]
    assert heals.heals[-1]["number"] == 250


async def test_a_clock_set_forth_ends_no_wait_early(set_clock: SetClock, tmp_path: Path) -> None:
    log = tmp_path / "log"
    trigger = SourceFileTrigger(url=log.as_uri(), deadline_epoch_s=time.time() + 60, poll_interval_s=0.05)
    watching = asyncio.create_task(trigger.event())
    await asyncio.wait({watching}, timeout=0.3)
    set_clock(HOUR_S)
    ended, _ = await asyncio.wait({watching}, timeout=0.5)
    assert not ended
    log.write_text("a line\n")
    assert (await asyncio.wait_for(watching, 30)).complete


async def test_a_clock_set_back_holds_no_event_for_an_hour(
    set_clock: SetClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serializable, "_LONGEST_HOLD_S", 0.1)
    log = tmp_path / "log"
    log.write_text("a line\n")
    trigger = SourceFileTrigger(url=log.as_uri(), deadline_epoch_s=0, not_before_epoch_s=time.time())
    set_clock(-HOUR_S)
    event = await asyncio.wait_for(anext(aiter(trigger.run())), 30)
    assert WaitEvent.from_payload(event.payload).complete
