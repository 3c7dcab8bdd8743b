"""Agent 2 of profile durable, with its own configuration, against a real topic and a real HDFS."""

import json
import time
import uuid
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource

from logpipe.clients import hdfs as client
from logpipe.contracts import chain
from logpipe.contracts.chain import Link
from logpipe.contracts.days import DAY
from logpipe.digest import Digest
from logpipe.identity import Identities, Verdict
from tests.machine import HDFS_USER, Hdfs, Kafka, Service, agent
from tests.waiting import wait_until

CHUNK = 1000
ROLL_INTERVAL_S = 5


@dataclass(frozen=True)
class Sent:
    """A record as it was produced."""

    partition: int
    key: bytes | None
    value: bytes | None
    timestamp_ms: int = 0  # counts once the sender gives the times; 0: now


def numbered(replay: str, first: int, last: int, partitions: int = 3) -> list[Sent]:
    """The lines of a replay as the replayer sends them: a chunk a partition in turn."""
    return [
        Sent(
            (number - 1) // CHUNK % partitions,
            f"{replay}:{number}".encode(),
            f"{replay} line {number}".encode(),
        )
        for number in range(first, last + 1)
    ]


@dataclass
class World:
    """One topic, one folder of logs, any number of agents."""

    name: str
    kafka: Kafka
    hdfs_service: Hdfs
    folder: Path
    partitions: int = 3
    sent: list[Sent] = field(default_factory=list)
    agents: list[Service] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.hdfs = client.Hdfs(self.hdfs_service.webhdfs_url, HDFS_USER)
        self.logs_dir = f"/user/{HDFS_USER}/{self.name}"
        self.group = f"group-{self.name}"
        self.make_topic()

    # ------------------------------------------------------------------ Kafka

    def make_topic(self) -> None:
        self.kafka.create_topic(self.name, self.partitions, max_message_bytes=str(4 << 20))

    def send(self, records: Iterable[Sent]) -> None:
        """Produce in this order; returns when all is acknowledged."""
        # As agent 1's: what is sent again for a broker that comes up neither doubles nor changes the order.
        producer = Producer(
            {
                "bootstrap.servers": self.kafka.bootstrap,
                "message.max.bytes": 4 << 20,
                "enable.idempotence": True,
            }
        )
        for record in records:
            producer.produce(
                self.name, record.value, record.key, record.partition, timestamp=record.timestamp_ms
            )
            producer.poll(0)
            self.sent.append(record)
        assert producer.flush(60) == 0

    def take_times_of_senders(self) -> None:
        """What a foreign topic does: the times of its records may step."""
        entry = ConfigEntry(
            "message.timestamp.type", "CreateTime", incremental_operation=AlterConfigOpType.SET
        )
        resource = ConfigResource(ConfigResource.Type.TOPIC, self.name, incremental_configs=[entry])
        admin = self.kafka.admin()  # what it has been asked ends with it
        admin.incremental_alter_configs([resource])[resource].result(20)

    def ends(self) -> dict[int, int]:
        """End offset of each partition."""
        return self.kafka.end_offsets(self.name)

    def commit_as_profile_memory(self, offsets: dict[int, int]) -> None:
        """What agent 2 of profile memory leaves: offsets with the id of a batch, as Flume's source has it."""
        consumer = Consumer({"bootstrap.servers": self.kafka.bootstrap, "group.id": self.group})
        places = [TopicPartition(self.name, *place, metadata=str(uuid.uuid4())) for place in offsets.items()]
        consumer.commit(offsets=places, asynchronous=False)
        consumer.close()

    # ------------------------------------------------------------------ agents

    def agent(self, fault: str = "", **settings: object) -> Service:
        """Start an agent 2 as the process host would; its faults are those of `LOGPIPE_FAULT`."""
        values = {
            "topic": self.name,
            "consumer_group": self.group,
            "hdfs_logs_dir": self.logs_dir,
            "hdfs_ledger_dir": f"{self.logs_dir}_ledger",
            "roll_interval_s": ROLL_INTERVAL_S,
            **settings,
        }
        log = self.folder / f"agent-{self.name}-{len(self.agents) + 1}.log"
        made = agent(2, self.hdfs_service.settings, log, fault=fault, **values)
        self.agents.append(made)
        return made.start()

    def stop(self) -> None:
        for each in self.agents:
            each.end()

    def ask_to_finish(self) -> None:
        """What a replay's end does."""
        self.hdfs.write(f"{self.logs_dir}/_chain/_finish", b"", overwrite=True)

    # ------------------------------------------------------------------ HDFS

    def _chain_folder(self, partition: int) -> str:
        return chain.Layout(self.logs_dir).chain(partition)

    def _link(self, path: str) -> Link | None:
        attribute = self.hdfs.attribute(path, chain.LINK_ATTRIBUTE)
        if attribute is not None and attribute.startswith(b'{"side"'):
            side = json.loads(attribute)["side"]
            attribute = self.hdfs.read(f"{path.rpartition('/')[0]}/{side}")
        return None if attribute is None else Link.from_json(json.loads(attribute))

    def links(self, partition: int) -> list[Link]:
        """The chain of a partition."""
        folder = self._chain_folder(partition)
        names = [entry.name for entry in self.hdfs.list(folder) if chain.LINK_NAME.fullmatch(entry.name)]
        found = [self._link(f"{folder}/{name}") for name in names]
        return [link for link in found if link is not None]

    def open_links(self, partition: int) -> list[Link]:
        """What is open, as it was flushed last."""
        folder = self._chain_folder(partition)
        names = [entry.name for entry in self.hdfs.list(folder) if chain.OPEN_NAME.fullmatch(entry.name)]
        found = [self._link(f"{folder}/{name}") for name in names]
        return [link for link in found if link is not None]

    def reached(self, partition: int, *, flushed: bool = False) -> int:
        """The offset that the chain has come to."""
        links = self.links(partition) + (self.open_links(partition) if flushed else [])
        return links[-1].next if links else 0

    def await_final(self, deadline_s: float = 60) -> None:
        """Until the chains end at the topic's ends."""
        ends = self.ends()
        asked = [0.0]

        def is_final() -> bool:
            if (
                time.monotonic() - asked[0] > 2
            ):  # an agent that comes up takes the mark that it finds for an old one
                with suppress(client.HdfsError):  # HDFS may be coming back
                    self.ask_to_finish()
                asked[0] = time.monotonic()
            return all(self.reached(partition) >= end for partition, end in ends.items())

        wait_until(is_final, deadline_s, f"chains to end at {ends}")

    def files(self) -> dict[str, bytes]:
        """Content of every file in a dated folder, in use or not."""
        found = {}
        for folder in self.hdfs.list(self.logs_dir):
            if DAY.fullmatch(folder.name):
                for entry in self.hdfs.list(f"{self.logs_dir}/{folder.name}"):
                    path = f"{self.logs_dir}/{folder.name}/{entry.name}"
                    found[path] = self.hdfs.read(path) or b""
        return found

    def has_named_files(self) -> bool:
        """Whether the file of each link has its name, which a killed agent's gets from its successor."""
        return all(
            self.hdfs.status(f"{self.logs_dir}/{link.day}/{link.file_name}") is not None
            for partition in range(self.partitions)
            for link in self.links(partition)
            if link.kind == "lines"
        )

    # ------------------------------------------------------------------ the oracle

    def check(self) -> list[Link]:
        """Chains without gap or overlap, files as their links say, and each line that was sent there once."""
        wait_until(self.has_named_files, 30, "the files of all links to have their names")
        files = self.files()
        everything: list[Link] = []
        on_hdfs: Counter[bytes] = Counter()
        for partition in range(self.partitions):
            links = self.links(partition)
            epoch, place = 1, 0
            lines = 0
            for link in links:
                assert (link.epoch, link.first) == (epoch, place), (
                    f"{link} does not follow on {epoch}, {place}"
                )
                epoch, place = link.next_epoch, link.next
                lines += link.digest.lines
                assert link.totals.digest.lines == lines
                if link.kind == "lines":
                    content = files.pop(f"{self.logs_dir}/{link.day}/{link.file_name}")
                    assert len(content) == link.length_bytes
                    text = content.split(b"\n")[:-1]
                    assert Digest.of(text) == link.text
                    on_hdfs.update(text)
                    assert sum((digest for digest in link.replays.values()), link.anonymous) == link.digest
                else:
                    assert f"{self.logs_dir}/{link.day}/{link.file_name}" not in files
            assert self.open_links(partition) == [] or self.agents[-1].is_running
            everything += links
        assert files == {}, f"files that no link knows: {list(files)}"
        expected = self.expected()
        assert on_hdfs == expected, (expected - on_hdfs, on_hdfs - expected)
        return everything

    def expected(self) -> Counter[bytes]:
        """What was sent, each identity once: told from the order of sending, not from the topic."""
        identities = Identities()
        lines: Counter[bytes] = Counter()
        for record in self.sent:
            if identities.judge(record.partition, record.key) is not Verdict.REPEAT:
                lines.update((record.value or b"").split(b"\n"))
        return lines
