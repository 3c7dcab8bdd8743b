"""Real Kafka and Flume for tests: one broker, one agent, own ports, own folder."""

import getpass
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar
from urllib.request import Request, urlopen

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

PROJECT_DIR = Path(__file__).resolve().parents[2]
JARS_DIR = PROJECT_DIR / "build" / "jars"
START_DEADLINE_S = 120.0
DURABLE_TOPIC = "durable_lines"
MEMORY_TOPIC = "memory_lines"
T = TypeVar("T")
_QUICK_START = ("-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xshare:auto")  # tests are short
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
MAX_MESSAGE_BYTES = 2 * 1024 * 1024

_LOG4J = """\
status=warn
appender.c.type=Console
appender.c.name=C
appender.c.layout.type=PatternLayout
appender.c.layout.pattern=%d %p %c{1}: %m%n
rootLogger.level=info
rootLogger.appenderRef.c.ref=C
"""
_BROKER = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@localhost:{controller_port}
listeners=PLAINTEXT://localhost:{port},CONTROLLER://localhost:{controller_port}
advertised.listeners=PLAINTEXT://localhost:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
message.max.bytes={max_message_bytes}
"""
_MEMORY = """\
a.sources = r
a.channels = c
a.sinks = k
a.sources.r.type = netcat
a.sources.r.bind = localhost
a.sources.r.port = {port}
a.sources.r.max-line-length = {max_line_length}
a.sources.r.encoding = ISO-8859-1
a.sources.r.channels = c
a.channels.c.type = memory
a.channels.c.capacity = {capacity}
a.channels.c.transactionCapacity = {transaction_capacity}
a.channels.c.byteCapacity = 134217728
a.sinks.k.type = org.apache.flume.sink.kafka.KafkaSink
a.sinks.k.channel = c
a.sinks.k.kafka.bootstrap.servers = {kafka}
a.sinks.k.kafka.topic = {topic}
a.sinks.k.flumeBatchSize = {transaction_capacity}
a.sinks.k.kafka.producer.acks = all
a.sinks.k.kafka.producer.max.request.size = {max_message_bytes}
"""


def missing_jars() -> list[str]:
    """Folders of jars that the stack needs and that are not there."""
    return [
        str(JARS_DIR / name)
        for name in ("kafka", "flume", "hadoop")
        if not any((JARS_DIR / name).glob("*.jar"))
    ]


def wait_for(what: str, probe: Callable[[], T | None], deadline_s: float = 30.0) -> T:
    """Ask ``probe`` until it gives something; fails with what it gave last."""
    until_s = time.monotonic() + deadline_s
    while True:
        seen = probe()
        if seen:
            return seen
        if time.monotonic() > until_s:
            raise AssertionError(f"{what} did not happen within {deadline_s} s; last seen: {seen!r}")
        time.sleep(0.02)


def is_listening(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("localhost", port)) == 0


class Record(NamedTuple):
    partition: int
    key: str | None
    value: bytes


class JavaProcess:
    """One JVM, its log in its folder."""

    def __init__(
        self, name: str, folder: Path, arguments: list[str], environment: dict[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "log4j2.properties").write_text(_LOG4J)
        self.log_path = folder / f"{name}.log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                ["java", *_QUICK_START, f"-Dlog4j2.configurationFile={folder}/log4j2.properties", *arguments],
                stdout=log, stderr=log, stdin=subprocess.DEVNULL, env={**os.environ, **(environment or {})},
            )  # fmt: skip

    def wait_listening(self, port: int) -> None:
        def probe() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"it ended with {self.process.returncode}:\n{self.log_path.read_text()[-3000:]}"
                )
            return is_listening(port)

        wait_for(f"listening at {port} ({self.log_path})", probe, START_DEADLINE_S)

    def send_signal(self, number: int) -> None:
        self.process.send_signal(number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


class Broker:
    """A broker that is its own controller."""

    def __init__(self, folder: Path, port: int, controller_port: int) -> None:
        self.bootstrap = f"localhost:{port}"
        folder.mkdir(parents=True, exist_ok=True)
        config = folder / "server.properties"
        config.write_text(
            _BROKER.format(
                folder=folder, port=port, controller_port=controller_port, max_message_bytes=MAX_MESSAGE_BYTES
            )
        )
        class_path = f"{JARS_DIR}/kafka/*"
        formatting = JavaProcess(
            "format", folder,
            ["-cp", class_path, "kafka.tools.StorageTool", "format", "--ignore-formatted",
             "-t", CLUSTER_ID, "-c", str(config)],
        )  # fmt: skip
        assert formatting.process.wait(START_DEADLINE_S) == 0, formatting.log_path.read_text()
        self.java = JavaProcess("kafka", folder, ["-Xmx512m", "-cp", class_path, "kafka.Kafka", str(config)])
        self.java.wait_listening(port)

    def create_topic(self, name: str, partitions: int = 3) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        topic = NewTopic(name, partitions, 1, config={"max.message.bytes": str(MAX_MESSAGE_BYTES)})
        admin.create_topics([topic])[name].result(30)

    def add_partitions(self, name: str, partitions: int) -> None:
        """Give a topic so many partitions in all, and wait until the broker serves them."""
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        admin.create_partitions([NewPartitions(name, partitions)])[name].result(30)

        def served() -> bool:
            try:
                return len(self.end_offsets(name)) == partitions
            except KafkaException:  # the broker does not know yet that it leads the new ones
                return False

        wait_for(f"{partitions} partitions", served)

    def end_offsets(self, name: str) -> dict[int, int]:
        """The next offset of each partition."""
        consumer = self._consumer()
        try:
            numbers = consumer.list_topics(name, 10).topics[name].partitions
            return {
                number: consumer.get_watermark_offsets(TopicPartition(name, number), 10)[1]
                for number in numbers
            }
        finally:
            consumer.close()

    def read(self, name: str, since: dict[int, int]) -> list[Record]:
        """Every record from these offsets on; in order within a partition."""
        consumer = self._consumer()
        try:
            consumer.assign([TopicPartition(name, number, offset) for number, offset in since.items()])
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

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "none",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.queue.backoff.ms": 10,
                "fetch.message.max.bytes": MAX_MESSAGE_BYTES * 2,
            }
        )


class Hdfs:
    """A NameNode and a DataNode, with permissions as in production."""

    def __init__(self, folder: Path, first_port: int) -> None:
        self.http_port = first_port
        sites = {
            "core-site.xml": {
                "fs.defaultFS": f"hdfs://localhost:{first_port + 1}",
                "hadoop.tmp.dir": str(folder / "tmp"),
            },
            "hdfs-site.xml": {
                "dfs.replication": "1",
                "dfs.namenode.rpc-address": f"localhost:{first_port + 1}",
                "dfs.namenode.http-address": f"localhost:{first_port}",
                "dfs.datanode.address": f"localhost:{first_port + 2}",
                "dfs.datanode.http.address": f"localhost:{first_port + 3}",
                "dfs.datanode.ipc.address": f"localhost:{first_port + 4}",
                "dfs.datanode.hostname": "localhost",
                "dfs.namenode.safemode.extension": "0",
            },
        }
        for part in ("hdfs", "datanode"):
            descriptor = folder / "webapps" / part / "WEB-INF" / "web.xml"
            descriptor.parent.mkdir(parents=True)
            descriptor.write_text("<web-app></web-app>")
        (folder / "webapps" / "static").mkdir()
        for name, values in sites.items():
            properties = "".join(
                f"<property><name>{key}</name><value>{value}</value></property>"
                for key, value in values.items()
            )
            (folder / name).write_text(f"<configuration>{properties}</configuration>")
        (folder / "log4j.properties").write_text(
            "log4j.rootLogger=INFO, C\nlog4j.appender.C=org.apache.log4j.ConsoleAppender\n"
            "log4j.appender.C.layout=org.apache.log4j.SimpleLayout\n"
        )
        self._class_path = f"{folder}:{JARS_DIR}/hadoop/*"
        self._folder = folder
        server = "org.apache.hadoop.hdfs.server"
        formatting = self._java("format", [f"{server}.namenode.NameNode", "-format", "-nonInteractive"])
        assert formatting.process.wait(START_DEADLINE_S) == 0, formatting.log_path.read_text()
        self.namenode = self._java("namenode", [f"{server}.namenode.NameNode"])
        self.datanode = self._java("datanode", [f"{server}.datanode.DataNode"])

    def wait_ready(self) -> None:
        """Until the DataNode is known to the NameNode."""
        self.namenode.wait_listening(self.http_port)
        bean = "Hadoop:service=NameNode,name=FSNamesystemState"

        def live() -> bool:
            try:
                with urlopen(f"http://localhost:{self.http_port}/jmx?qry={bean}", timeout=10) as response:
                    beans = json.load(response)["beans"]
            except OSError:  # not up yet, or too busy to answer in time
                return False
            return bool(beans) and beans[0]["NumLiveDataNodes"] == 1 and beans[0]["FSState"] == "Operational"

        wait_for("a live DataNode", live, START_DEADLINE_S)

    def request(self, method: str, path: str, query: str) -> bytes:
        """One WebHDFS request as the superuser."""
        url = f"http://localhost:{self.http_port}/webhdfs/v1{path}?user.name={getpass.getuser()}&{query}"
        with urlopen(Request(url, method=method), timeout=10) as response:
            content: bytes = response.read()
            return content

    def stop(self) -> None:
        self.datanode.stop(signal.SIGKILL)
        self.namenode.stop(signal.SIGKILL)

    def _java(self, name: str, arguments: list[str]) -> JavaProcess:
        return JavaProcess(name, self._folder, ["-Xmx256m", "-cp", self._class_path, *arguments])


class Agent:
    """A Flume agent that writes to a topic, by the profile ``durable`` or ``memory``."""

    def __init__(
        self,
        folder: Path,
        profile: str,
        port: int,
        kafka: str,
        topic: str,
        *,
        max_line_length: int = 1048577,
        capacity: int = 10000,
        heap_mb: int = 512,
    ) -> None:
        self._folder = folder
        self._port = port
        self._heap_mb = heap_mb
        folder.mkdir(parents=True, exist_ok=True)
        self._environment: dict[str, str] = {}
        self._file, self._name = folder / "agent.properties", "a"
        self.java: JavaProcess | None = None
        if profile == "durable":  # the product's own
            self._file, self._name = PROJECT_DIR / "flume_conf" / "durable" / "agent1.properties", "agent1"
            self._environment = {
                "LOGPIPE_THRIFT_PORT": str(port),
                "LOGPIPE_NETCAT_PORT": str(free_port(21450, 21500)),
                "LOGPIPE_KAFKA_BOOTSTRAP": kafka,
                "LOGPIPE_TOPIC": topic,
            }
            return
        self._file.write_text(
            _MEMORY.format(
                port=port, kafka=kafka, topic=topic, max_line_length=max_line_length, capacity=capacity,
                transaction_capacity=min(1000, capacity), max_message_bytes=MAX_MESSAGE_BYTES,
            )
        )  # fmt: skip

    def start(self) -> "Agent":
        self.java = JavaProcess(
            "flume", self._folder,
            [f"-Xmx{self._heap_mb}m", "-cp", f"{JARS_DIR}/flume/*", "org.apache.flume.node.Application",
             "--no-reload-conf", "-f", str(self._file), "-n", self._name],
            self._environment,
        )  # fmt: skip
        return self

    def wait_ready(self) -> "Agent":
        assert self.java is not None
        self.java.wait_listening(self._port)
        return self

    def stop(self, number: int = signal.SIGTERM) -> None:
        if self.java is not None:
            self.java.stop(number)
            self.java = None


@dataclass(frozen=True)
class Stack:
    """A broker, and an agent and a topic for each delivery profile."""

    broker: Broker
    durable: Agent
    memory: Agent
    thrift_port: int
    netcat_port: int

    @property
    def settings(self) -> dict[str, object]:
        """What a replayer has to be told; it asks Kafka about the topic of profile `durable`."""
        return {
            "thrift_port": self.thrift_port,
            "netcat_port": self.netcat_port,
            "kafka_bootstrap": self.broker.bootstrap,
            "topic": DURABLE_TOPIC,
        }

    def topic(self, profile: str) -> str:
        return {"durable": DURABLE_TOPIC, "memory": MEMORY_TOPIC}[profile]


def free_port(first: int, last: int) -> int:
    """A port nobody listens at; the process id spreads test sessions that run side by side."""
    span = last - first
    for step in range(span):
        port = first + (os.getpid() + step) % span
        with socket.socket() as probe:
            try:
                probe.bind(("localhost", port))
            except OSError:
                continue
            return port
    raise AssertionError(f"no port between {first} and {last} is free")
