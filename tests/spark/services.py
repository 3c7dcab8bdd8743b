"""Real Kafka and HDFS for the tests, each a process of this test run on ports and in a folder of its own."""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

JARS_DIR = Path(__file__).resolve().parents[2] / "build" / "jars"
HDFS_USER = "bigdata"


def wait_until(condition: Callable[[], Any], deadline_s: float, waiting_for: str) -> Any:
    """Poll until the condition gives something true; on the deadline say what it last gave."""
    end = time.monotonic() + deadline_s
    while True:
        last = condition()
        if last:
            return last
        if time.monotonic() > end:
            raise AssertionError(f"waited {deadline_s} s for {waiting_for}; last seen: {last!r}")
        time.sleep(0.2)


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports


@dataclass
class Service:
    """One JVM that can be killed, paused and started again."""

    name: str
    command: list[str]
    log: Path
    ready: Callable[[], bool]
    environment: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    def start(self, deadline_s: float = 90) -> None:
        # The services run as who runs the tests, whoever the tests are on HDFS.
        environment = {name: value for name, value in os.environ.items() if name != "HADOOP_USER_NAME"}
        environment |= self.environment
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                self.command,
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env=environment,
            )
        wait_until(self._ready_or_dead, deadline_s, f"{self.name} to be ready, see {self.log}")

    def _ready_or_dead(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, (
            f"{self.name} ended with {self.process.returncode}, see {self.log}"
        )
        return self.ready()

    def kill(self, signal_number: int = signal.SIGKILL) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal_number)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        self.process = None


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2):
            return True
    except (urllib.error.URLError, OSError):
        return False


def _log4j2(folder: Path) -> Path:
    path = folder / "log4j2.properties"
    path.write_text(
        "status=warn\nappender.c.type=Console\nappender.c.name=C\nappender.c.layout.type=PatternLayout\n"
        "appender.c.layout.pattern=%d %p %c{1}: %m%n\nrootLogger.level=info\nrootLogger.appenderRef.c.ref=C\n"
    )
    return path


@dataclass
class Kafka:
    """A KRaft broker and what tests do with topics."""

    folder: Path
    port: int
    controller_port: int
    service: Service = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        config = self.folder / "server.properties"
        config.write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            f"controller.quorum.voters=1@localhost:{self.controller_port}\n"
            f"listeners=PLAINTEXT://localhost:{self.port},CONTROLLER://localhost:{self.controller_port}\n"
            f"advertised.listeners=PLAINTEXT://localhost:{self.port}\n"
            "controller.listener.names=CONTROLLER\n"
            "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n"
            f"log.dirs={self.folder}/log\nauto.create.topics.enable=false\n"
            "offsets.topic.replication.factor=1\noffsets.topic.num.partitions=4\n"
            "transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n"
            "share.coordinator.state.topic.replication.factor=1\nshare.coordinator.state.topic.min.isr=1\n"
            "group.initial.rebalance.delay.ms=0\n"
        )
        java = [
            "java", "-Xms128m", "-Xmx384m", f"-Dlog4j2.configurationFile={_log4j2(self.folder)}",
            "-cp", f"{JARS_DIR}/kafka/*",
        ]  # fmt: skip
        if not (self.folder / "log").exists():
            subprocess.run(
                [
                    *java, "kafka.tools.StorageTool", "format", "-t", "abcdefghijklmnopqrstuv",
                    "-c", str(config),
                ],
                check=True,
                capture_output=True,
            )  # fmt: skip
        self.service = Service(
            "kafka", [*java, "kafka.Kafka", str(config)], self.folder / "kafka.log", self._listening
        )

    @property
    def bootstrap(self) -> str:
        return f"localhost:{self.port}"

    def admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, "log_level": 0})

    def _listening(self) -> bool:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", self.port)) != 0:
                return False
        try:
            return bool(self.admin().list_topics(timeout=2).brokers)
        except KafkaException:
            return False

    def create_topic(self, topic: str, partitions: int = 3) -> None:
        admin = self.admin()  # must outlive its futures
        admin.create_topics([NewTopic(topic, partitions, 1)])[topic].result(20)
        wait_until(lambda: self.exists(topic), 20, f"topic {topic}")

    def add_partitions(self, topic: str, total: int) -> None:
        admin = self.admin()
        admin.create_partitions([NewPartitions(topic, total)])[topic].result(30)

    def will_lose_tail(self, topic: str, partition: int) -> Callable[[], None]:
        """Remember a partition as it is; the result has the broker lose what came after, as a crash may."""
        folder = self.folder / "log" / f"{topic}-{partition}"
        kept = self.folder / f"kept-{folder.name}"
        self.service.kill()
        shutil.copytree(folder, kept)
        self.service.start()

        def lose() -> None:
            self.service.kill()
            shutil.rmtree(folder)
            shutil.move(kept, folder)
            self.service.start()

        return lose

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


@dataclass
class Hdfs:
    """A NameNode and a DataNode with permissions on; the pipeline's user owns /user/bigdata."""

    folder: Path
    rpc_port: int
    http_port: int
    data_ports: list[int]
    namenode: Service = field(init=False)
    datanode: Service = field(init=False)

    def __post_init__(self) -> None:
        etc = self.folder / "etc"
        for webapp in ("hdfs", "datanode"):
            (etc / "webapps" / webapp / "WEB-INF").mkdir(parents=True, exist_ok=True)
            (etc / "webapps" / webapp / "WEB-INF" / "web.xml").write_text("<web-app></web-app>")
        (etc / "webapps" / "static").mkdir(exist_ok=True)
        address, http, ipc = self.data_ports
        settings = {
            "fs.defaultFS": self.url,
            "hadoop.tmp.dir": f"{self.folder}/tmp",
            "dfs.replication": "1",
            "dfs.namenode.name.dir": f"file://{self.folder}/name",
            "dfs.datanode.data.dir": f"file://{self.folder}/blocks",
            "dfs.namenode.rpc-address": f"localhost:{self.rpc_port}",
            "dfs.namenode.http-address": f"localhost:{self.http_port}",
            "dfs.datanode.address": f"localhost:{address}",
            "dfs.datanode.http.address": f"localhost:{http}",
            "dfs.datanode.ipc.address": f"localhost:{ipc}",
            "dfs.datanode.hostname": "localhost",
            "dfs.client.block.write.replace-datanode-on-failure.enable": "false",
            "dfs.namenode.safemode.extension": "0",
            "dfs.datanode.handler.count": "4",
            "dfs.namenode.handler.count": "6",
        }
        properties = "".join(
            f"<property><name>{name}</name><value>{value}</value></property>"
            for name, value in settings.items()
        )
        for name in ("core-site.xml", "hdfs-site.xml"):
            (etc / name).write_text(f"<configuration>{properties}</configuration>")
        java = ["java", "-Xmx256m", "-cp", f"{etc}:{JARS_DIR}/hadoop/*"]
        namenode = "org.apache.hadoop.hdfs.server.namenode.NameNode"
        if not (self.folder / "name").exists():
            subprocess.run([*java, namenode, "-format", "-nonInteractive"], check=True, capture_output=True)
        self.namenode = Service(
            "namenode", [*java, namenode], self.folder / "namenode.log", lambda: _answers(self._status("/"))
        )
        self.datanode = Service(
            "datanode",
            [*java, "org.apache.hadoop.hdfs.server.datanode.DataNode"],
            self.folder / "datanode.log",
            self._writable,
        )

    @property
    def url(self) -> str:
        return f"hdfs://localhost:{self.rpc_port}"

    @property
    def webhdfs_url(self) -> str:
        return f"http://localhost:{self.http_port}"

    def _status(self, path: str) -> str:
        return f"{self.webhdfs_url}/webhdfs/v1{path}?op=GETFILESTATUS"

    def _writable(self) -> bool:
        bean = f"{self.webhdfs_url}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"
        try:
            with urllib.request.urlopen(bean, timeout=2) as answer:
                text = answer.read().decode()
        except (urllib.error.URLError, OSError):
            return False
        return '"NumLiveDataNodes" : 1' in text and '"FSState" : "Operational"' in text

    def start(self) -> None:
        self.namenode.start()
        self.datanode.start()
        superuser = getpass.getuser()
        for query in ("op=MKDIRS&permission=755", f"op=SETOWNER&owner={HDFS_USER}&group={HDFS_USER}"):
            request = urllib.request.Request(
                f"{self.webhdfs_url}/webhdfs/v1/user/{HDFS_USER}?{query}&user.name={superuser}", method="PUT"
            )
            urllib.request.urlopen(request, timeout=10).close()

    def kill(self) -> None:
        self.datanode.kill()
        self.namenode.kill()


@contextmanager
def running(folder: Path) -> Iterator[tuple[Kafka, Hdfs]]:
    """Kafka and HDFS on free ports, ended with the block."""
    ports = free_ports(7)
    kafka = Kafka(folder / "kafka", ports[0], ports[1])
    hdfs = Hdfs(folder / "hdfs", ports[2], ports[3], ports[4:7])
    try:
        kafka.service.start()
        hdfs.start()
        yield kafka, hdfs
    finally:
        kafka.service.kill(signal.SIGTERM)
        hdfs.kill()
