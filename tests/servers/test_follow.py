"""The logs of real servers are followed through rotations and kills: each line is everywhere, once."""

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from logpipe.accounting.verify import verify
from tests.data_plane import DataPlane
from tests.faults.checker import Expected, check_bytes
from tests.machine import own_settings
from tests.servers.campaign import Campaign, run
from tests.servers.site import Load, not_installed, site
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    made = DataPlane(own_settings(tmp_path_factory.mktemp("plane") / "state", roll_interval_s=3))
    try:
        made.start()
        yield made
        made.stack.stop(print)  # in order, which is quick where all is well
    finally:
        if made.stack.host.is_running():
            made.stop()


@pytest.fixture(scope="module")
def written() -> Expected:
    return Expected()


def test_nginx_and_caddy(plane: DataPlane, written: Expected, tmp_path: Path) -> None:
    if lacking := not_installed("nginx", "caddy"):
        pytest.skip(lacking)
    rotations = {"nginx": "delaycompress", "caddy": "own"}
    campaign = Campaign(1, rotations, rotated=4, kills=2, power_cuts=1, duration_s=8)
    run(plane, tmp_path, campaign, written, audits=False)


@pytest.mark.slow
def test_what_copytruncate_may_have_lost_is_unknown_and_the_rest_is_there_once(
    plane: DataPlane, written: Expected, tmp_path: Path
) -> None:
    """What nginx wrote is known by a twin of its log, which nobody rotates."""
    if lacking := not_installed("nginx"):
        pytest.skip(lacking)
    rotations = 4
    with site("nginx", tmp_path, ["combined", "twin"], "copytruncate") as running:
        log, twin = running.logs
        running.rotates([log])
        (record,) = plane.follow(log, "nginx")
        load = Load.begin(running.server, "cut", 1000, 2 * rotations)
        began = time.monotonic()
        for number in range(rotations):
            wait_until(lambda at=2 * number + 1: time.monotonic() - began > at, 20)
            running.rotate()
        load.end()

        def followed() -> dict[str, Any] | None:
            seen = plane.replayer.followed(record["follow_id"])
            is_done = seen["generation"] > rotations and not seen["bytes_behind"] and not seen["reason"]
            return seen if is_done else None

        seen = wait_until(followed, 60)
        plane.await_drained()
        wrote = Counter(twin.read_bytes().split(b"\n")[:-1])
    found = Counter(line for line in plane.lines() if line in wrote)
    assert found <= wrote, "a line is there that was not written, or twice"
    assert found.total() == seen["lines"]
    assert len(seen["unknown"]) == rotations, seen
    print(f"{wrote.total() - found.total()} of {wrote.total()} lines are lost to copytruncate")
    written.lines = found
    check_bytes(plane, written)
    written.settle()
    plane.replayer.unfollow(record["follow_id"])
    accounting = verify(plane.settings)
    assert (accounting.lost, accounting.doubled, accounting.unknown) == (0, 0, rotations), accounting


@pytest.mark.slow
@pytest.mark.faults
@pytest.mark.parametrize("seed", [random.SystemRandom().randrange(1, 1_000_000)])
def test_all_servers_for_minutes(plane: DataPlane, written: Expected, tmp_path: Path, seed: int) -> None:
    if lacking := not_installed("nginx", "apache", "caddy"):
        pytest.skip(lacking)
    for round_, nginx in enumerate(("dateext", "compress", "create")):
        rotations = {"nginx": nginx, "apache": "delaycompress", "caddy": "own"}
        campaign = Campaign(
            seed + round_, rotations, rotated=15, kills=7, power_cuts=2, duration_s=90, requests_per_s=600
        )
        run(plane, tmp_path / str(round_), campaign, written)
