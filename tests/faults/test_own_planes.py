"""Cases that need a data plane of their own: disks that fill, and a midnight in the middle of a replay."""

import threading
from datetime import UTC, datetime, timedelta

import pytest

from logpipe.settings import zone_of
from tests.data_plane import DataPlane
from tests.faults.cases import in_flight
from tests.faults.checker import check
from tests.faults.conftest import ROWS, short_rolls, zone_with_midnight
from tests.faults.load import Load
from tests.small_disk import SmallDisk
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

FULL_S = 30
START_S = 180  # that the services take at most


@pytest.mark.parametrize(("store", "size_mb"), [("kafka", 200), ("hadoop", 2000)])
def test_disk_full(tmp_path_factory, long_form, store, size_mb):
    folder = tmp_path_factory.mktemp("disk")
    settings = short_rolls(folder / "state", keep_free_mb=0)  # by somebody else's files
    disk = SmallDisk(settings.state_dir / store, size_mb)
    plane = DataPlane(settings)

    def fault():
        disk.fill()
        threading.Event().wait(FULL_S)
        assert plane.record("r1").get("state") != "failed", plane.record("r1")
        disk.free()

    try:
        plane.start()
        in_flight(plane, Load(plane, folder / "logs"), f"disk of {store} full for {FULL_S} s", fault)
    finally:
        plane.stop()
        disk.unmount()


def test_midnight_passes_during_a_replay(tmp_path_factory, long_form):
    """In a zone where it is about to strike twelve: each line ends in the directory of its arrival."""
    zone, midnight = zone_with_midnight(START_S)
    folder = tmp_path_factory.mktemp("midnight")
    plane = DataPlane(short_rolls(folder / "state", timezone=zone))
    try:
        plane.start()
        load = Load(plane, folder / "logs")
        wait_until(lambda: datetime.now(UTC) > midnight - timedelta(seconds=20), START_S + 60)
        load.replay("speed:600")
        assert datetime.now(UTC) < midnight, "the services took too long to start"
        ROWS.append(check(plane, load, "midnight passes during a replay"))
        day = midnight.astimezone(zone_of(zone)).date()
        assert plane.days() == [f"{day - timedelta(days=1):%y-%m-%d}", f"{day:%y-%m-%d}"]
    finally:
        plane.stop()
