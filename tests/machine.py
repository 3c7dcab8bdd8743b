"""The one starter of Kafka, HDFS, agents and replayers: the product's own programs and configurations.

`DataPlane` starts all of them as a person would, under the process host. Here each is in the tests' own
hands: nobody else starts it again when it is killed.
"""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from confluent_kafka import Consumer, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic, OffsetSpec

from logpipe import settings as project_settings
from logpipe.clients.hdfs import Hdfs as Client
from logpipe.hosts import configuration
from logpipe.hosts.environment import service_environment
from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.process_host import Supervisord
from logpipe.hosts.machine.stack import Stack
from logpipe.hosts.services import Service as KnownService
from logpipe.hosts.services import named
from logpipe.settings import PROJECT_DIR, Settings
from tests.ports import free_port, port_settings
from tests.waiting import wait_until

HDFS_USER = "bigdata"
READY_S = 120.0
END_S = 20.0
AGENT_PORTS = ("thrift_port", "netcat_port", "agent1_metrics_port", "agent2_metrics_port")


def own_settings(state_dir: Path, **overrides: Any) -> Settings:
    """Settings of a copy with ports of its own."""
    return project_settings.parse(state_dir=state_dir, **port_settings() | overrides)


@dataclass
class Service:
    """A program of the product's table, in the tests' hands: killed, stopped and started again."""

    name: str
    command: tuple[str, ...]
    environment: dict[str, str]
    log: Path
    is_ready: Callable[[], bool]
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def of(cls, full_name: str, settings: Settings, log: Path, **environment: str) -> "Service":
        """A service, or ``service:variant``, of the copy that the settings describe."""
        name, _, variant = full_name.partition(":")
        known, layout = named(name), Layout.of(settings)
        assert known.command is not None
        return cls(
            full_name,
            known.command(settings, layout, variant),
            service_environment(settings) | known.environment(settings, layout) | environment,
            log,
            lambda: known.is_ready(settings),
        )

    def start(self, *, wait: bool = True) -> "Service":
        # The services run as who runs the tests, whoever the tests are on HDFS.
        inherited = {name: value for name, value in os.environ.items() if name != "HADOOP_USER_NAME"}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                env=inherited | self.environment,
                cwd=PROJECT_DIR,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            self.await_ready()
        return self

    def await_ready(self) -> None:
        wait_until(self._is_ready, READY_S, f"{self.name} to be ready, see {self.log}")

    def _is_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"{self.name} ended with {code}:\n{self.log.read_text()[-3000:]}"
        return self.is_ready()

    @property
    def is_running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def state(self) -> str:
        """R, S, T (stopped), Z …; as the kernel says."""
        assert self.process is not None
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def send_signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> int:
        """End it, also when it is stopped; returns its exit status."""
        assert self.process is not None
        if self.is_running:
            self.process.send_signal(number)
            self.process.send_signal(signal.SIGCONT)
            try:
                self.process.wait(END_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(END_S)
        return self.process.returncode

    def end(self) -> None:
        """At the end of a test: whatever became of it, it does not run."""
        if self.process is not None:
            self.kill(signal.SIGTERM)


class Record(NamedTuple):
    partition: int
    key: str | None
    value: bytes


@dataclass
class Kafka:
    """The broker, and what tests do with topics."""

    settings: Settings
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        stack = Stack(self.settings)
        configuration.write_all(self.settings, stack.layout)
        stack.prepare(named("kafka").preparation)
        self.data_dir = stack.layout.kafka_dir
        self.service = Service.of("kafka", self.settings, stack.layout.logs_dir / "kafka.log")

    @property
    def bootstrap(self) -> str:
        return self.settings.kafka_bootstrap

    def admin(self) -> AdminClient:
        """A client; it must outlive the futures that it gives."""
        return AdminClient(self.settings.kafka_client("admin") | {"log_level": 0})

    def create_topic(self, topic: str, partitions: int = 3, **config: str) -> None:
        """A topic; in names of its configuration an underscore stands for a dot."""
        admin = self.admin()
        named = {name.replace("_", "."): value for name, value in config.items()}
        admin.create_topics([NewTopic(topic, partitions, 1, config=named)])[topic].result(20)
        wait_until(lambda: self.exists(topic), 20, f"topic {topic}")

    def add_partitions(self, topic: str, total: int) -> None:
        """Give a topic so many partitions in all, and wait until the broker serves them."""
        admin = self.admin()
        admin.create_partitions([NewPartitions(topic, total)])[topic].result(30)
        wait_until(lambda: self._serves(topic, total), 30, f"{total} partitions of {topic}")

    def _serves(self, topic: str, partitions: int) -> bool:
        try:
            return len(self.end_offsets(topic)) == partitions
        except KafkaException:  # the broker does not know yet that it leads the new ones
            return False

    def delete_topic(self, topic: str) -> None:
        admin = self.admin()
        admin.delete_topics([topic])[topic].result(20)
        wait_until(lambda: not self.exists(topic), 20, f"topic {topic} to be gone")

    def exists(self, topic: str) -> bool:
        admin = self.admin()
        try:
            return bool(admin.describe_topics(TopicCollection([topic]))[topic].result(10).partitions)
        except KafkaException:
            return False

    def end_offsets(self, topic: str) -> dict[int, int]:
        """The next offset of each partition."""
        admin = self.admin()
        described = admin.describe_topics(TopicCollection([topic]))[topic].result(20)
        places = {TopicPartition(topic, one.id): OffsetSpec.latest() for one in described.partitions}
        found = admin.list_offsets(places)
        return {place.partition: answer.result(20).offset for place, answer in found.items()}

    def forget_before(self, topic: str, partition: int, offset: int) -> None:
        """What retention does: the records before the offset are gone."""
        admin = self.admin()
        place = TopicPartition(topic, partition, offset)
        admin.delete_records([place])[place].result(20)

    def read(self, topic: str, since: dict[int, int]) -> list[Record]:
        """Every record from these offsets on; in order within a partition."""
        consumer = Consumer(
            {
                **self.settings.kafka_client("admin"),
                "group.id": "none",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 10,
                "fetch.message.max.bytes": configuration.MAX_MESSAGE_BYTES * 2,
            }
        )
        try:
            consumer.assign([TopicPartition(topic, number, offset) for number, offset in since.items()])
            records: list[Record] = []
            at_end: set[int] = set()
            while len(at_end) < len(since):
                for message in consumer.consume(10000, 1.0):
                    error = message.error()
                    if error is None:
                        key = message.key()
                        records.append(
                            Record(message.partition(), key.decode() if key else None, message.value() or b"")
                        )
                    elif error.name() == "_PARTITION_EOF":
                        at_end.add(message.partition())
                    else:
                        raise KafkaException(error)
            return records
        finally:
            consumer.close()

    def will_lose_tail(self, topic: str, partition: int) -> Callable[[], None]:
        """Remember a partition as it is; the result has the broker lose what came after, as a crash may."""
        folder = self.data_dir / f"{topic}-{partition}"
        kept = self.data_dir.parent / f"kept-{folder.name}"
        self.service.kill()
        shutil.copytree(folder, kept)
        self.service.start()

        def lose() -> None:
            self.service.kill()
            shutil.rmtree(folder)
            shutil.move(kept, folder)
            self.service.start()

        return lose

    def ensure(self) -> "Kafka":
        """It runs, whatever the test before has left."""
        if not self.service.is_running or self.service.state() == "T":
            self.service.end()
            self.service.start()
            named("kafka").settle(self.settings)
        return self

    def end(self) -> None:
        self.service.end()


class Addressed:
    """An HDFS where its settings say."""

    settings: Settings

    @property
    def url(self) -> str:
        return self.settings.hdfs_url

    @property
    def webhdfs_url(self) -> str:
        return self.settings.webhdfs_url


@dataclass
class Hdfs(Addressed):
    """A NameNode and a DataNode; the pipeline's user owns its home."""

    settings: Settings
    namenode: Service = field(init=False)
    datanode: Service = field(init=False)

    def __post_init__(self) -> None:
        self.client = Client(self.settings.webhdfs_url, HDFS_USER)  # the pipeline's user
        self.stack = Stack(self.settings)
        configuration.write_all(self.settings, self.stack.layout)
        self.stack.prepare(named("namenode").preparation)
        logs = self.stack.layout.logs_dir
        self.namenode = Service.of("namenode", self.settings, logs / "namenode.log")
        self.datanode = Service.of("datanode", self.settings, logs / "datanode.log")

    @property
    def parts(self) -> tuple[Service, Service]:
        return self.namenode, self.datanode

    def is_writable(self) -> bool:
        return all(part.is_ready() for part in self.parts)

    def ensure(self) -> "Hdfs":
        """It runs, whatever the test before has left."""
        fallen = [part for part in self.parts if not part.is_running or part.state() == "T"]
        for part in fallen:
            part.end()
            part.start(wait=False)
        for part in fallen:
            part.await_ready()
        return self

    def start(self) -> "Hdfs":
        self.ensure()
        self.stack._make_hdfs_home()
        return self

    def end(self) -> None:
        for part in self.parts:
            part.end()


@contextmanager
def running(folder: Path, **overrides: Any) -> Iterator[tuple[Kafka, Hdfs]]:
    """Kafka and HDFS of one copy, ended with the block."""
    settings = own_settings(folder / "state", **overrides)
    kafka, hdfs = Kafka(settings), Hdfs(settings)
    try:
        yield kafka.ensure(), hdfs.start()
    finally:
        kafka.end()
        hdfs.end()


def process_host(settings: Settings, *services: KnownService) -> Supervisord:
    """The process host of a copy, which keeps these services; not started."""
    return Supervisord(settings, Layout.of(settings), services)


def agent(
    number: int, near: Settings, log: Path, *, profile: str = "durable", fault: str = "", **overrides: object
) -> Service:
    """A Flume agent with a profile's own configuration and ports of its own; not started.

    Args:
        near: the settings of its broker and HDFS.
        fault: what it meets, as `LOGPIPE_FAULT`.
        overrides: settings that are its own: its topic, its folders, ports that somebody else must know.
    """
    ports = {name: free_port() for name in AGENT_PORTS}
    settings = near.model_copy(update=ports | overrides)
    environment = {"LOGPIPE_FAULT": fault} if fault else {}
    return Service.of(f"flume-agent{number}:{profile}", settings, log, **environment)
