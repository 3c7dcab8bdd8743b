"""The logs of real servers are followed through rotations and kills: each line is everywhere, once."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.data_plane import DataPlane
from tests.faults.checker import Expected
from tests.faults.conftest import short_rolls
from tests.servers.campaign import Campaign, run
from tests.servers.site import not_installed

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    made = DataPlane(short_rolls(tmp_path_factory.mktemp("plane") / "state"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture(scope="module")
def written() -> Expected:
    return Expected()


def test_nginx_and_caddy(plane: DataPlane, written: Expected, tmp_path: Path) -> None:
    if lacking := not_installed("nginx", "caddy"):
        pytest.skip(lacking)
    rotations = {"nginx": "delaycompress", "caddy": "own"}
    campaign = Campaign(1, rotations, rotated=4, kills=2, power_cuts=1, duration_s=12)
    run(plane, tmp_path, campaign, written, audits=False)


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
        run(plane, tmp_path / str(round_), campaign, written, audits=False)
