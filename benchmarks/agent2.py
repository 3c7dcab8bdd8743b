"""What agent 2 costs a line: a topic with July's lines, several times over, and nothing else to do.

``python -m benchmarks.agent2 --times 3`` prints one JSON object: lines/s and CPU of the agent's process a
line, for the first million (cold) and for the rest (warm), its memory, and whether HDFS has each line once.
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

import psutil
from confluent_kafka import Producer
from tests.machine import agent, running
from tests.waiting import wait_until

from benchmarks import july
from logpipe.accounting.chain import ChainReader
from logpipe.clients.hdfs import Hdfs as HdfsClient
from logpipe.digest import Digest
from logpipe.identity import partition_of

PARTITIONS = 3
COLD_LINES = 1_000_000
COUNTED_EVERY = 100_000


def fill(bootstrap: str, topic: str, times: int) -> Digest:
    """Send the lines as the replayer's go, a chunk a partition; the digest of all."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 262144, "acks": 1})
    sent = Digest()
    for turn in range(times):
        batch: list[bytes] = []
        for number, line in enumerate(july.lines(), start=1):
            key = f"july-{turn}:{number}".encode()
            while True:
                try:
                    producer.produce(topic, line, key, partition=partition_of(number, PARTITIONS))
                    break
                except BufferError:
                    producer.poll(0.1)
            batch.append(line)
            if len(batch) == COUNTED_EVERY:
                sent += Digest.of(batch)
                batch = []
        sent += Digest.of(batch)
    producer.flush()
    return sent


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--times", type=int, default=3, help="how many Julys, of 1.9 million lines each")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as (kafka, hdfs):
        settings = hdfs.settings
        kafka.create_topic(settings.topic, PARTITIONS)
        sent = fill(kafka.bootstrap, settings.topic, options.times)
        reader = ChainReader(HdfsClient.of(settings), settings.hdfs_logs_dir)
        agent2 = agent(2, settings, Path(folder) / "agent.log").start()
        assert agent2.process is not None
        process = psutil.Process(agent2.process.pid)

        def seen() -> tuple[int, float, float]:
            """Lines flushed, CPU seconds of the agent, and the clock."""
            lines = sum(chain.totals.digest.lines for chain in reader.chains().values())
            cpu = process.cpu_times()
            return lines, cpu.user + cpu.system, time.monotonic()

        begin = wait_until(lambda: (now := seen())[0] > 0 and now, 120, "the first lines")
        cold = wait_until(lambda: (now := seen())[0] >= COLD_LINES and now, 300, "a million lines")
        end = wait_until(lambda: (now := seen())[0] >= sent.lines and now, 600, "all lines")
        memory_mb = process.memory_info().rss >> 20
        held = sum((chain.totals.digest for chain in reader.chains().values()), start=Digest())
        agent2.kill()
    print(
        json.dumps(
            {
                "lines": sent.lines,
                "exact": held == sent,
                "cold_cpu_us_a_line": round(1e6 * cold[1] / cold[0], 2),
                "warm_cpu_us_a_line": round(1e6 * (end[1] - cold[1]) / (end[0] - cold[0]), 2),
                "warm_lines_a_s": round((end[0] - cold[0]) / (end[2] - cold[2])),
                "from_first_flush_lines_a_s": round((end[0] - begin[0]) / (end[2] - begin[2])),
                "rss_mb": memory_mb,
            }
        )
    )


if __name__ == "__main__":
    os.environ.pop("HADOOP_USER_NAME", None)
    main()
