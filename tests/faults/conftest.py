import os
from pathlib import Path

import psutil
import pytest

from logpipe import settings as project_settings
from logpipe.settings import PROJECT_DIR
from tests.data_plane import DataPlane, Row, write_table
from tests.ports import free_ports

ROWS: list[Row] = []


def own_settings(state_dir: Path, **overrides):
    ports = {name.removeprefix("LOGPIPE_").lower(): value for name, value in free_ports().items()}
    return project_settings.parse(state_dir=state_dir, roll_interval_s=10, **ports, **overrides)


@pytest.fixture
def long_form(request):
    if request.config.getoption("--short-faults"):
        pytest.skip("not part of the short form")


@pytest.fixture(scope="module")
def data_plane(tmp_path_factory):
    plane = DataPlane(own_settings(tmp_path_factory.mktemp("faults") / "state"))
    try:
        plane.start()
        yield plane
    finally:
        plane.stop()
        state_dir = str(plane.settings.state_dir)
        left = [process for process in psutil.process_iter(["cmdline"]) if state_dir in str(process.info)]
        for process in left:
            process.kill()
    assert not left, f"left behind: {left}"


def pytest_sessionfinish():
    if ROWS and os.environ.get("WRITE_RELIABILITY"):
        write_table(ROWS, PROJECT_DIR / "docs" / "reliability.md")
