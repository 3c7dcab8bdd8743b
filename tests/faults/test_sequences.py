"""Sequences of faults at random moments, over paced replays and some as fast as they go."""

import random
import threading

import pytest

from tests.data_plane import IN_FLIGHT_LINES
from tests.faults import faults
from tests.faults.checker import check
from tests.faults.conftest import ROWS
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1200)]

SHORT_STEPS = 10


def under_load(plane, load, steps, case):
    """Do the steps while replays run, then have everything checked."""
    print(case, *steps, sep="\n  ")
    enough = threading.Event()
    failures = []

    def keep_on():
        try:
            load.keep_on(enough)
        except BaseException as error:  # noqa: BLE001 (told by the other thread)
            failures.append(error)

    worker = threading.Thread(target=keep_on)
    worker.start()
    try:
        wait_until(lambda: failures or len(load.replays) >= 2, 60)
        plane.await_lines(load.replays[1], IN_FLIGHT_LINES)
        faults.run(plane, steps)
    finally:
        enough.set()
        worker.join()
    assert not failures, failures
    ROWS.append(check(plane, load, case))


def test_sequence(data_plane, load, seed, is_short):
    steps = faults.sequence(seed, SHORT_STEPS if is_short else faults.MOST)
    under_load(data_plane, load, steps, f"sequence {seed}: {len(steps)} faults")


def test_those_that_could_make_a_wrong_mark_one_and_two_at_a_time(data_plane, load, long_form):
    """Who sends a line again after a kill, or has it twice, may not make another one a repeat."""
    seed = random.SystemRandom().randrange(1, 1_000_000)
    steps = faults.campaign(seed)
    under_load(data_plane, load, steps, f"campaign {seed}: agent 1, broker, replayer, one and two at a time")


def test_a_seed_tells_its_sequence_and_a_short_one_is_its_beginning():
    whole = faults.sequence(7)
    assert whole == faults.sequence(7) != faults.sequence(8)
    assert faults.LEAST <= len(whole) <= faults.MOST
    assert faults.sequence(7, 10) == whole[:10]
