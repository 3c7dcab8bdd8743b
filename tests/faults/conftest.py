import os
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from logpipe.settings import PROJECT_DIR
from tests.data_plane import DataPlane, Row, write_table
from tests.faults.load import Load
from tests.machine import own_settings

ROWS: list[Row] = []
HAS_FAILED = pytest.StashKey[bool]()
SEEDS_FILE = Path(__file__).with_name("seeds.txt")
SHORT_SEEDS = (1, 2, 3)
MIDNIGHT_AFTER_S = 200  # the shared data plane's first day is over by the time that it is sealed


def short_rolls(state_dir: Path, **overrides):
    """Settings of a copy with ports of its own, whose agent 2 makes its files final soon."""
    return own_settings(state_dir, roll_interval_s=10, **overrides)


def zone_with_midnight(after_s: float) -> tuple[str, datetime]:
    """A zone in which the next midnight is the first full minute after so many seconds; and when, in UTC."""
    midnight = (datetime.now(UTC) + timedelta(seconds=after_s + 60)).replace(second=0, microsecond=0)
    minutes = -(midnight.hour * 60 + midnight.minute) % (24 * 60)
    minutes -= 24 * 60 if minutes > 12 * 60 else 0
    return f"GMT{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}", midnight


def pytest_generate_tests(metafunc):
    """Seeds: those that are asked for; the short form's; or all that ever failed and thirty fresh ones."""
    if "seed" not in metafunc.fixturenames:
        return
    if asked := os.environ.get("SEEDS"):
        seeds = [int(seed) for seed in asked.split(",")]
    elif metafunc.config.getoption("--short-faults"):
        seeds = list(SHORT_SEEDS)
    else:
        kept = [line.split()[0] for line in SEEDS_FILE.read_text().splitlines() if line[:1].isdigit()]
        chance = random.SystemRandom()
        fresh = [chance.randrange(1, 1_000_000) for _ in range(int(os.environ.get("SEQUENCES") or 30))]
        seeds = [*map(int, kept), *fresh]
    metafunc.parametrize("seed", seeds)


@pytest.fixture
def is_short(request):
    return request.config.getoption("--short-faults")


@pytest.fixture
def long_form(is_short):
    if is_short:
        pytest.skip("not part of the short form")


class Shared:
    """The data plane of most cases; a case that fails leaves the next one a new one."""

    def __init__(self, make_folder):
        self._make_folder = make_folder
        self.plane = None
        self.load = None
        self.midnight = None

    def start(self):
        if self.plane is None:
            folder = self._make_folder("faults")
            zone, self.midnight = zone_with_midnight(MIDNIGHT_AFTER_S)
            self.plane = DataPlane(short_rolls(folder / "state", timezone=zone))
            self.load = Load(self.plane, folder / "logs")
            try:
                self.plane.start()
            except Exception:
                self.stop()
                raise
        return self

    def stop(self):
        if self.plane is None:
            return
        plane, self.plane = self.plane, None
        plane.stop()
        state_dir = str(plane.settings.state_dir)
        left = [process for process in psutil.process_iter(["cmdline"]) if state_dir in str(process.info)]
        for process in left:
            process.kill()
        assert not left, f"left behind: {left}"


@pytest.fixture(scope="session")
def shared_for_all(tmp_path_factory):
    made = Shared(tmp_path_factory.mktemp)
    yield made
    made.stop()


@pytest.fixture
def shared(shared_for_all, request):
    yield shared_for_all.start()
    if request.node.stash.get(HAS_FAILED, False):
        shared_for_all.stop()


@pytest.fixture
def data_plane(shared):
    return shared.plane


@pytest.fixture
def load(shared):
    return shared.load


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if call.when == "call":
        item.stash[HAS_FAILED] = report.failed
    return report


def pytest_runtest_logfinish():
    """After each case, so that a run that is cut short leaves what it has shown."""
    if ROWS and os.environ.get("WRITE_RELIABILITY"):
        write_table(ROWS, PROJECT_DIR / "docs" / "reliability.md")
