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
from confluent_kafka.admin import NewTopic
from tests.spark.services import HDFS_USER, JARS_DIR, Service, free_ports, running, wait_until

from benchmarks import july
from logpipe.accounting.chain import ChainReader
from logpipe.clients.hdfs import Hdfs as HdfsClient
from logpipe.digest import Digest
from logpipe.identity import partition_of
from logpipe.settings import PROJECT_DIR

TOPIC = "apache_logs"
LOGS_DIR = f"/user/{HDFS_USER}/apache_logs"
PARTITIONS = 3
COLD_LINES = 1_000_000
COUNTED_EVERY = 100_000


def fill(bootstrap: str, times: int) -> Digest:
    """Send the lines as the replayer's go, a chunk a partition; the digest of all."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 50, "batch.size": 262144, "acks": 1})
    sent = Digest()
    for turn in range(times):
        batch: list[bytes] = []
        for number, line in enumerate(july.lines(), start=1):
            key = f"july-{turn}:{number}".encode()
            while True:
                try:
                    producer.produce(TOPIC, line, key, partition=partition_of(number, PARTITIONS))
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
        admin = kafka.admin()
        config = {"message.timestamp.type": "LogAppendTime"}
        admin.create_topics([NewTopic(TOPIC, PARTITIONS, 1, config=config)])[TOPIC].result(20)
        wait_until(lambda: kafka.exists(TOPIC), 20, "the topic")
        sent = fill(kafka.bootstrap, options.times)
        conf = PROJECT_DIR / "flume_conf"
        environment = {
            "HADOOP_USER_NAME": HDFS_USER,
            "LOGPIPE_KAFKA_BOOTSTRAP": kafka.bootstrap,
            "LOGPIPE_HDFS_URL": hdfs.url,
            "LOGPIPE_HDFS_LOGS_DIR": LOGS_DIR,
        }
        command = [
            "java", "-Xmx512m", f"-Dlog4j2.configurationFile={conf}/log4j2.properties",
            f"-javaagent:{JARS_DIR}/flume/jmx_prometheus_javaagent-1.0.1.jar=127.0.0.1:{free_ports(1)[0]}:{conf}/metrics.yaml",
            "-cp", f"{hdfs.folder}/etc:{JARS_DIR}/flume/*", "org.apache.flume.node.Application",
            "--no-reload-conf", "-f", str(conf / "durable" / "agent2.properties"), "-n", "agent2",
        ]  # fmt: skip
        agent = Service("agent 2", command, Path(folder) / "agent.log", lambda: True, environment)
        reader = ChainReader(HdfsClient(hdfs.webhdfs_url, HDFS_USER), LOGS_DIR)
        agent.start()
        process = psutil.Process(agent.process.pid)

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
        agent.kill()
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
