"""Sealing dies at each of its steps, under traffic; whoever comes next goes on."""

import json
import os
import signal
import subprocess
from datetime import UTC, datetime, timedelta

import pytest

from logpipe.hosts.environment import service_environment
from logpipe.hosts.layout import PYTHON
from logpipe.sealing.__main__ import DIE_AT, NOT_OVER
from logpipe.settings import zone_of
from tests.data_plane import IN_FLIGHT_LINES, PACE
from tests.faults.checker import check
from tests.faults.conftest import ROWS
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900), pytest.mark.last(1)]

STEPS = ("file-1", "merged", "committed", "old-out", "new-in", "looked-through")


def seal(plane, day, die_at=""):
    command = (str(PYTHON), "-m", "logpipe.sealing", str(day))
    environment = os.environ | service_environment(plane.settings) | {DIE_AT: die_at}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


def test_sealing_dies_at_each_step(shared, data_plane, load):
    zone, first_midnight = data_plane.settings.timezone, shared.midnight
    first = load.replay(PACE)  # a day without a line is not sealed
    wait_until(lambda: datetime.now(UTC) > first_midnight, 600, poll_s=1)
    day = first_midnight.astimezone(zone_of(zone)).date() - timedelta(days=1)
    replay_id = load.replay(PACE)
    data_plane.await_lines(replay_id, IN_FLIGHT_LINES)
    wait_until(lambda: data_plane.record(first).get("state") == "done", 120)
    wait_until(lambda: seal(data_plane, day, STEPS[0]).returncode != NOT_OVER, 120, poll_s=1)
    for step in STEPS:
        died = seal(data_plane, day, step)
        assert died.returncode == -signal.SIGKILL, (step, died.stdout, died.stderr)
    sealed = seal(data_plane, day)
    report = json.loads(sealed.stdout.splitlines()[-1])
    assert report["status"] == "sealed", report
    assert report["lines"] > 0
    ROWS.append(check(data_plane, load, "sealing dies at each of its steps"))
