"""What the cluster takes in with one and with two edge hosts, and with so many partitions.

    LOGPIPE_TOPIC_PARTITIONS=6 make cluster-up
    python benchmarks/cluster.py --edges 1,2 --lines 1000000

Each edge host gets an agent 1, an agent 2 and a replay of its share of the lines, as fast as they are
acknowledged. Prints one JSON line for each number of edge hosts: lines a second until the last one was
acknowledged, and until all stood in HDFS. The cluster must be up, and no replay may run.
"""

import argparse
import json
import sys
from itertools import pairwise
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "plugins"))

from logpipe import settings
from logpipe.cluster.stack import Cluster
from logpipe.settings import PROJECT_DIR

BUNDLED = "plugins/logpipe/embedded/ftp/files/NASA_access_log_Aug95.first20000.gz"
BUNDLED_LINES = 20_000
INSIDE = PROJECT_DIR / "benchmarks" / "cluster_inside.py"


def main() -> None:
    """Measure with each number of edge hosts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--edges", default="1,2", help="numbers of edge hosts, with commas")
    parser.add_argument("--lines", type=int, default=1_000_000, help="lines of each measurement")
    options = parser.parse_args()
    cluster = Cluster(settings.load())
    results = []
    for count in (int(text) for text in options.edges.split(",")):
        copies = options.lines // count // BUNDLED_LINES
        for number in range(1, count + 1):
            repeat = f"for _ in $(seq {copies}); do gunzip -c {BUNDLED}; done > /data/bench.log"
            cluster.compose.output_of(f"edge{number}", "bash", "-c", repeat)
        answer = cluster.compose.output_of(
            cluster.airflow_container(),
            "python",
            "-c",
            INSIDE.read_text(),
            str(count),
            str(copies * BUNDLED_LINES),
        )
        if answer.returncode:
            sys.exit(answer.stderr)
        result = json.loads(answer.stdout.splitlines()[-1])
        results.append(result)
        print(json.dumps(result), flush=True)
    for one, other in pairwise(results):
        ratio = other["in_hdfs_per_s"] / one["in_hdfs_per_s"]
        print(f"{other['edges']} edge hosts to {one['edges']}: {ratio:.2f} times the lines a second in HDFS")


if __name__ == "__main__":
    main()
