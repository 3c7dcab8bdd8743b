"""A paced replay: how long until a line is flushed on HDFS, and until it is in the windows.

``python -m benchmarks.latency --seconds 60`` starts the pipeline unless it is up and replays that many
seconds of lines at 1,000 a second. Three counts are watched side by side: lines acknowledged to the replayer,
lines of HDFS's chains, lines in the windows' newest commit. A line is in a place when that place's count has
reached its number: a figure holds up to the interval of the looks, which is printed with it.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from benchmarks import july
from logpipe import settings
from logpipe.accounting.chain import ChainReader
from logpipe.clients.airflow import PIPELINE_DAG
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.replayer import Replayer, ReplayRefusedError
from logpipe.hosts.connections import airflow_of, client
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import REPLAYER
from logpipe.settings import PROJECT_DIR
from logpipe.windows.reader import commit_totals

LINES_PER_S = 1000
LOOK_S = 0.05


class Watched(threading.Thread):
    """A count that only grows, with the time at which each value was seen first."""

    def __init__(self, count: Callable[[], int]) -> None:
        super().__init__(daemon=True)
        self._count = count
        self._base = count()
        self.ended = threading.Event()
        self.times: list[float] = []
        self.counts: list[int] = []
        self.looks = 0

    def run(self) -> None:
        is_last = False
        while not is_last:
            is_last = self.ended.wait(LOOK_S)
            now = self._count() - self._base
            self.looks += 1
            if now > (self.counts[-1] if self.counts else 0):
                self.counts.append(now)
                self.times.append(time.monotonic())

    def reached(self, number: int) -> float:
        """When the line with this number was seen; all lines have come."""
        return self.times[bisect_left(self.counts, number)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=int, default=60, help="how long lines come")
    lines = LINES_PER_S * parser.parse_args().seconds
    with tempfile.TemporaryDirectory(prefix="paced-", dir=PROJECT_DIR / "build") as folder:
        path = Path(folder) / "paced.log"
        with path.open("wb") as file:
            file.writelines(line + b"\n" for line in islice(july.lines(), lines))
        _make("run", "LIMIT=1", "PACE=max")
        measure(path.as_uri(), lines)


def measure(url: str, lines: int) -> None:
    """Replay at the pace, and print a figure a place."""
    current = settings.load()
    layout = Layout.of(current)
    airflow, replayer = airflow_of(current, layout), client(Replayer, REPLAYER, current, layout)
    chains = ChainReader(Hdfs.of(current), current.hdfs_logs_dir)
    replay_id = ""

    def sent() -> int:
        try:
            return int(replayer.record(replay_id)["lines"]) if replay_id else 0
        except ReplayRefusedError:  # its id is told before the replayer has heard of it
            return 0

    def on_hdfs() -> int:
        return sum(chain.totals.digest.lines for chain in chains.chains().values())

    def in_windows() -> int:
        return commit_totals(current).digest.lines

    places = {"sent": Watched(sent), "on HDFS": Watched(on_hdfs), "in the windows": Watched(in_windows)}
    for place in places.values():
        place.start()
    began = time.monotonic()
    run_id = airflow.trigger(PIPELINE_DAG, {"url": url, "pace": f"delay:{1 / LINES_PER_S}"})
    while (state := airflow.run_state(PIPELINE_DAG, run_id)) not in ("success", "failed"):
        replay_id = replay_id or airflow.xcom(PIPELINE_DAG, run_id, "replay", key="replay_id") or ""
        time.sleep(0.2 if replay_id else LOOK_S)
    if state == "failed":
        sys.exit(f"The run {run_id} has failed")
    for place in places.values():
        place.ended.set()
        place.join()
    first = places["sent"].times[0] - places["sent"].counts[0] / LINES_PER_S
    due = [first + number / LINES_PER_S for number in range(1, lines + 1)]
    for name, place in places.items():
        delays = sorted(place.reached(number) - at for number, at in enumerate(due, start=1))
        figure = {
            "case": f"{name}, {LINES_PER_S} lines/s",
            "p50_s": round(delays[len(delays) // 2], 2),
            "p99_s": round(delays[int(len(delays) * 0.99)], 2),
            "most_s": round(delays[-1], 2),
            "look_every_s": round((time.monotonic() - began) / place.looks, 2),
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(figure), flush=True)


def _make(*arguments: str) -> None:
    answer = subprocess.run(
        ["make", *arguments], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        sys.exit(answer.stdout + answer.stderr)


if __name__ == "__main__":
    main()
