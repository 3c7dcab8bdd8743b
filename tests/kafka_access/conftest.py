"""The data plane with a broker that lets nobody in without a login: TLS, SCRAM, rules."""

from collections.abc import Iterator

import psutil
import pytest

from tests.data_plane import DataPlane
from tests.machine import own_settings


@pytest.fixture(scope="session")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DataPlane]:
    settings = own_settings(
        tmp_path_factory.mktemp("secured") / "state",
        kafka_security_protocol="SASL_SSL",
        roll_interval_s=10,
    )
    plane = DataPlane(settings)
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
    left = [
        process
        for process in psutil.process_iter(["cmdline"])
        if str(settings.state_dir) in str(process.info)
    ]
    assert not left, f"left behind: {left}"
