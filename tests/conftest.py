"""For all suites: one broker and one HDFS a test process; each test has a topic and folders of its own."""

import os
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import psutil
import pytest
from xdist.scheduler import LoadScopeScheduling

from logpipe.settings import Settings
from tests.machine import Hdfs, Kafka, own_settings

# Tests start many Java programs that live for seconds: compiled quickly is better than compiled well.
os.environ.setdefault("JAVA_TOOL_OPTIONS", "-XX:TieredStopAtLevel=1")

# What a shell starts in the background ignores Ctrl+C, and so would all that the tests start and send it to.
signal.signal(signal.SIGINT, signal.default_int_handler)

# What an example takes is the machine's matter, and says nothing about the code.
hypothesis.settings.register_profile(  # what is slow here is a busy machine
    "tests", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("tests")

# Logs of the tests stand in temporary folders; what a test starts finds it in its environment.
os.environ.setdefault("LOGPIPE_FILE_ROOTS", tempfile.gettempdir())
# And their servers are on this machine.
os.environ.setdefault("LOGPIPE_SOURCE_HOSTS", "public,127.0.0.0/8,::1")

# Airflow reads its configuration when it is imported, which is after this.
_AIRFLOW_HOME = tempfile.TemporaryDirectory(prefix="logpipe-airflow-")
os.environ["AIRFLOW_HOME"] = _AIRFLOW_HOME.name
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"

TESTS_DIR = Path(__file__).parent


def pytest_addoption(parser):
    parser.addoption("--short-faults", action="store_true", help="one fault of each kind only")
    parser.addoption(
        "--engine",
        choices=("found", "own"),
        default="found",
        help="tests of the cluster: the Docker engine that is there, or on Debian as root one of their own",
    )


class SuiteScheduling(LoadScopeScheduling):
    """Suites run side by side, each as a whole in one process: its tests share what it has started."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid.split("/")[1]


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> SuiteScheduling:
    return SuiteScheduling(config, log)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """How many suites run side by side: one that waits leaves its core to others; one takes up to 4 GiB."""
    return max(1, min((psutil.cpu_count() or 1) + 2, psutil.virtual_memory().available // (4 << 30)))


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Within a suite, what leaves its mark on what is shared comes last."""
    suites = list(dict.fromkeys(_suite(item) for item in items))

    def place(item: pytest.Item) -> tuple[int, int]:
        last = item.get_closest_marker("last")
        return suites.index(_suite(item)), last.args[0] if last else 0

    items.sort(key=place)


def _suite(item: pytest.Item) -> str:
    return item.path.relative_to(TESTS_DIR).parts[0]


@pytest.fixture(scope="session")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """The copy that the shared broker and HDFS are of."""
    return own_settings(tmp_path_factory.mktemp("machine") / "state")


@pytest.fixture(scope="session")
def kafka_of_all(machine: Settings) -> Iterator[Kafka]:
    made = Kafka(machine)
    yield made
    made.end()


@pytest.fixture(scope="session")
def hdfs_of_all(machine: Settings) -> Iterator[Hdfs]:
    made = Hdfs(machine)
    try:
        yield made.start()
    finally:
        made.end()


@pytest.fixture
def kafka(kafka_of_all: Kafka) -> Kafka:
    """The broker; it runs, whatever the test before has done to it."""
    return kafka_of_all.ensure()


@pytest.fixture
def hdfs(hdfs_of_all: Hdfs) -> Hdfs:
    """HDFS; it runs, whatever the test before has done to it."""
    return hdfs_of_all.ensure()
