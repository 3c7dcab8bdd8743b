"""Real services for the replayer's tests: Kafka and Flume, FTP and web servers, the replayer itself."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .process import ReplayerProcess
from .stack import DURABLE_TOPIC, MEMORY_TOPIC, Agent, Broker, Hdfs, Stack, free_port, missing_jars


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    if missing := missing_jars():
        pytest.skip(f"no jars in {', '.join(missing)}: resolve them with Maven from the poms first")
    folder = tmp_path_factory.mktemp("stack")
    started: list[Callable[[], None]] = []
    try:
        broker = Broker(folder / "kafka", free_port(21100, 21200), free_port(21200, 21300))
        started.append(broker.java.stop)
        for topic in (DURABLE_TOPIC, MEMORY_TOPIC):
            broker.create_topic(topic)
        thrift_port, netcat_port = free_port(21300, 21400), free_port(21400, 21450)
        durable = Agent(folder / "durable", "durable", thrift_port, broker.bootstrap, DURABLE_TOPIC).start()
        started.append(durable.stop)
        memory = Agent(folder / "memory", "memory", netcat_port, broker.bootstrap, MEMORY_TOPIC).start()
        started.append(memory.stop)
        durable.wait_ready()
        memory.wait_ready()
        yield Stack(broker, durable, memory, thrift_port, netcat_port)
    finally:
        for stop in reversed(started):
            stop()


@pytest.fixture(scope="session")
def hdfs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hdfs]:
    if missing := missing_jars():
        pytest.skip(f"no jars in {', '.join(missing)}: resolve them with Maven from the poms first")
    running = Hdfs(tmp_path_factory.mktemp("hdfs"), free_port(21700, 21990))
    try:
        running.wait_ready()
        yield running
    finally:
        running.stop()


@pytest.fixture
def start_replayer(tmp_path: Path) -> Iterator[Callable[..., ReplayerProcess]]:
    """Starts replayers over one state folder unless told otherwise, and ends those that are left."""
    processes: list[ReplayerProcess] = []

    def start(state_name: str = "state", **settings: object) -> ReplayerProcess:
        process = ReplayerProcess(tmp_path / state_name, free_port(21500, 21600), settings)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.end()


@pytest.fixture(scope="session")
def replayer(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ReplayerProcess]:
    """One replayer that sends to the stack, shared: each test takes replay ids of its own."""
    state_dir = tmp_path_factory.mktemp("shared") / "state"
    process = ReplayerProcess(state_dir, free_port(21600, 21650), stack.settings)
    yield process
    process.end()
