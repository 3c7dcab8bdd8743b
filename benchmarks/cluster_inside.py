"""The part of benchmarks/cluster.py that runs in the cluster's network: EDGES PARTITIONS LINES-OF-EACH."""

import json
import sys
import time
from collections.abc import Callable
from functools import partial

from confluent_kafka.admin import AdminClient, NewTopic

from logpipe import settings
from logpipe.accounting.topic import end_offsets, oldest_unread
from logpipe.cli.inside import at
from logpipe.clients.process_host import ProcessHost
from logpipe.clients.replayer import Replayer
from logpipe.hosts.connections import client
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import PROCESS_HOST, REPLAYER, named

DEADLINE_S = 900
SPEC = {"url": "file:///tmp/bench.log", "pace": "max", "profile": "durable", "limit": None}
PROCESSES = (("replayer", None), ("flume-agent1", "durable"), ("flume-agent2", "durable"))


def wait(what: str, condition: Callable[[], bool]) -> None:
    """Wait for a condition."""
    end = time.monotonic() + DEADLINE_S
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"{what}: not within {DEADLINE_S} s")
        time.sleep(0.2)


def is_done(replayer: Replayer, replay_id: str) -> bool:
    """Whether the last line was acknowledged."""
    return bool(replayer.record(replay_id)["state"] == "done")


def make_topic(current: settings.Settings, partitions: int) -> None:
    """Have an empty topic of so many partitions."""
    admin = AdminClient(current.kafka_client("admin"))
    if current.topic in admin.list_topics(timeout=10).topics:
        admin.delete_topics([current.topic])[current.topic].result(30)
        wait("the topic's end", lambda: current.topic not in admin.list_topics(timeout=10).topics)
    topic = NewTopic(current.topic, partitions, current.topic_replication)
    admin.create_topics([topic])[current.topic].result(30)
    wait("the topic", lambda: current.topic in admin.list_topics(timeout=10).topics)


def main() -> None:
    """Launch, replay on every edge host at once, and time it."""
    current = settings.load()
    layout = Layout.of(current)
    edges = [f"edge{number}" for number in range(1, int(sys.argv[1]) + 1)]
    lines = int(sys.argv[3]) * len(edges)
    hosts = {edge: client(ProcessHost, PROCESS_HOST, at(edge), layout) for edge in ("edge1", "edge2")}
    for host in hosts.values():
        for process in PROCESSES:
            host.stop(*process)
    make_topic(current, int(sys.argv[2]))
    for edge in edges:
        for process in PROCESSES:
            hosts[edge].start(*process)
    for edge in edges:
        for service in ("flume-agent1", "flume-agent2", "replayer"):
            wait(f"{service} on {edge}", partial(named(service).is_ready, at(edge)))
    wait("an empty topic", lambda: not any(place.lines for place in oldest_unread(current)))
    before = sum(end for _, end in end_offsets(current).values())
    replayers = {
        f"bench-{edge}-{int(time.time())}": client(Replayer, REPLAYER, at(edge), layout) for edge in edges
    }
    began = time.monotonic()
    for replay_id, replayer in replayers.items():
        replayer.submit(replay_id, SPEC)
    wait("the replays", lambda: all(is_done(replayers[name], name) for name in replayers))
    acknowledged_s = time.monotonic() - began
    wait("HDFS", lambda: not any(place.lines for place in oldest_unread(current)))
    in_hdfs_s = time.monotonic() - began
    after = sum(end for _, end in end_offsets(current).values())
    print(
        json.dumps(
            {
                "edges": len(edges),
                "partitions": len(end_offsets(current)),
                "lines": lines,
                "records": after - before,
                "acknowledged_per_s": round(lines / acknowledged_s),
                "in_hdfs_per_s": round(lines / in_hdfs_s),
            }
        )
    )


main()
