"""Real services for the replayer's tests: Kafka and Flume, FTP and web servers, the replayer itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.machine import Hdfs, Kafka

from .following import QUICK, Follower
from .process import ReplayerProcess, Stack


@pytest.fixture(scope="package")
def stack_of_all(kafka_of_all: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    kafka_of_all.ensure()
    made = Stack(kafka_of_all, tmp_path_factory.mktemp("stack"), "lines")
    try:
        for each in made.agents:
            each.start(wait=False)
        yield made
    finally:
        for each in made.agents:
            each.end()


@pytest.fixture
def stack(stack_of_all: Stack, kafka: Kafka) -> Stack:
    """The broker and both agents; they run, whatever the test before has done to them."""
    for each in stack_of_all.agents:
        if not each.is_running:
            each.start(wait=False)
        each.await_ready()
    return stack_of_all


@pytest.fixture
def start_replayer(tmp_path: Path) -> Iterator[Callable[..., ReplayerProcess]]:
    """Starts replayers over one state folder unless told otherwise, and ends those that are left."""
    processes: list[ReplayerProcess] = []

    def start(
        state_name: str = "state", through: tuple[str, ...] = (), **settings: object
    ) -> ReplayerProcess:
        process = ReplayerProcess(tmp_path / state_name, settings, through)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.end()


@pytest.fixture(scope="package")
def replayer(stack_of_all: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayerProcess]:
    """One replayer that sends to the stack, shared: each test takes replay ids of its own."""
    process = ReplayerProcess(tmp_path_factory.mktemp("shared") / "state", stack_of_all.settings)
    yield process
    process.end()


@pytest.fixture(scope="package")
def following(
    stack_of_all: Stack, hdfs_of_all: Hdfs, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReplayerProcess]:
    """One replayer that follows, shared: each test has logs of its own. Formats are registered on HDFS."""
    settings = stack_of_all.settings | QUICK | {"webhdfs_url": hdfs_of_all.webhdfs_url}
    process = ReplayerProcess(tmp_path_factory.mktemp("following") / "state", settings)
    yield process
    process.end()


@pytest.fixture
def follower(stack: Stack, hdfs: Hdfs, following: ReplayerProcess) -> Follower:
    return Follower(stack, following)
