"""What the cluster takes in with one and with two edge hosts, and with so many partitions.

    LOGPIPE_FILE_ROOTS=/tmp make cluster-up SECURE=0
    LOGPIPE_SECURE=0 python -m benchmarks.cluster --edges 1,2 --partitions 3,6 --lines 1000000

Each edge host gets an agent 1, an agent 2 and a replay of its share of the lines, as fast as they are
acknowledged. Prints one JSON line a measurement: lines a second until the last one was acknowledged, and
until all stood in HDFS. It makes the topic anew each time,
which none of the secured cluster's users may do: take a cluster without data, delete it afterwards.
"""

import argparse
import json
import sys
from typing import Any

from logpipe import settings
from logpipe.hosts.cluster.stack import Cluster
from logpipe.settings import PROJECT_DIR

BUNDLED = "plugins/logpipe/hosts/machine/ftp/files/NASA_access_log_Aug95.first20000.gz"
BUNDLED_LINES = 20_000
INSIDE = PROJECT_DIR / "benchmarks" / "cluster_inside.py"


def main() -> None:
    """Measure with each number of edge hosts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edges", default="1,2", help="numbers of edge hosts, with commas")
    parser.add_argument("--partitions", default="3,6", help="numbers of partitions, with commas")
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of each measurement")
    options = parser.parse_args()
    cluster = Cluster(settings.load())
    first: dict[str, int] | None = None
    for partitions in options.partitions.split(","):
        for edges in options.edges.split(","):
            result = measure(cluster, int(edges), partitions, options.lines)
            first = first or result
            result["ratio_to_first"] = round(result["in_hdfs_per_s"] / first["in_hdfs_per_s"], 2)
            print(json.dumps(result), flush=True)


def measure(cluster: Cluster, edges: int, partitions: str, lines: int) -> dict[str, Any]:
    """Measure one shape."""
    copies = lines // edges // BUNDLED_LINES
    repeat = f"for _ in $(seq {copies}); do gunzip -c {BUNDLED}; done > /tmp/bench.log"
    for number in range(1, edges + 1):
        cluster.compose.output_of(f"edge{number}", "bash", "-c", repeat)
    arguments = (INSIDE.read_text(), str(edges), partitions, str(copies * BUNDLED_LINES))
    answer = cluster.compose.output_of(cluster.airflow_container(), "python", "-c", *arguments)
    if answer.returncode:
        sys.exit(answer.stderr)
    result: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return result


if __name__ == "__main__":
    main()
