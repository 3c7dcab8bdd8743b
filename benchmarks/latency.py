"""Lines at a pace: how long until a line is flushed on HDFS, and until it is in the windows.

``python -m benchmarks.latency --seconds 60`` starts the pipeline unless it is up and replays that many
seconds of lines at 1,000 a second. With ``--follow`` a copy of its own follows the log of an nginx that is
asked as often; a line counts from the moment that nginx has written it. Three counts are watched side by
side: lines acknowledged to the replayer, lines of HDFS's chains, lines in the windows' newest commit. A line
is in a place when that place's count has reached its number: a figure holds up to the interval of the looks,
which is printed with it.
"""

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from bisect import bisect_left
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

from tests.data_plane import DataPlane
from tests.machine import own_settings
from tests.servers.site import Load, site
from tests.waiting import wait_until

from benchmarks import july
from benchmarks.pipeline import make
from logpipe import settings
from logpipe.accounting.chain import ChainReader
from logpipe.clients.airflow import PIPELINE_DAG
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.replayer import Replayer, ReplayRefusedError
from logpipe.hosts.connections import airflow_of, client
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import REPLAYER
from logpipe.settings import PROJECT_DIR, Settings
from logpipe.windows.reader import commit_totals

LINES_PER_S = 1000
LOOK_S = 0.05
WARM_S = 10


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
    parser.add_argument("--follow", action="store_true", help="the log of a real server, as it is written")
    options = parser.parse_args()
    if options.follow:
        follow(options.seconds)
        return
    lines = LINES_PER_S * options.seconds
    with tempfile.TemporaryDirectory(prefix="paced-", dir=PROJECT_DIR / "build") as folder:
        path = Path(folder) / "paced.log"
        with path.open("wb") as file:
            file.writelines(line + b"\n" for line in islice(july.lines(), lines))
        make("run", "LIMIT=1", "PACE=max")
        measure(path.as_uri(), lines)


def follow(seconds: int) -> None:
    """Follow an nginx that is asked at the pace, and print a figure a place."""
    with tempfile.TemporaryDirectory(prefix="logpipe-latency-") as folder, ExitStack() as ends:
        plane = DataPlane(own_settings(Path(folder) / "state", file_roots=folder))
        ends.callback(plane.stop)
        plane.start()
        running = ends.enter_context(site("nginx", Path(folder) / "servers", ["combined"], "create"))
        (log,) = running.logs
        (record,) = plane.follow(log, "nginx")
        Load.begin(running.server, "warm", LINES_PER_S, WARM_S).end()
        warm = GrowingCount(log).lines()
        wait_until(lambda: commit_totals(plane.settings).digest.lines == warm, 120)

        def sent() -> int:
            return int(plane.replayer.followed(record["follow_id"])["lines"])

        written = Watched(GrowingCount(log).lines)
        places = {"sent": Watched(sent)} | _stores(plane.settings)
        for watched in (written, *places.values()):
            watched.start()
        began = time.monotonic()
        Load.begin(running.server, "paced", LINES_PER_S, seconds).end()
        lines = GrowingCount(log).lines() - warm
        for watched in (written, *places.values()):
            wait_until(lambda one=watched: one.counts and one.counts[-1] >= lines, 120)
            watched.ended.set()
            watched.join()
        _tell(places, [written.reached(number) for number in range(1, lines + 1)], began)


class GrowingCount:
    """The lines of a file, of which each byte is read once."""

    def __init__(self, log: Path) -> None:
        self._file = log.open("rb")
        self._lines = 0

    def lines(self) -> int:
        """So many by now."""
        self._lines += self._file.read().count(b"\n")
        return self._lines


def _stores(current: Settings) -> dict[str, "Watched"]:
    """The lines on HDFS, flushed at least, and those in the windows' newest commit."""
    chains = ChainReader(Hdfs.of(current), current.hdfs_logs_dir)
    return {
        "on HDFS": Watched(lambda: sum(chain.totals.digest.lines for chain in chains.chains().values())),
        "in the windows": Watched(lambda: commit_totals(current).digest.lines),
    }


def measure(url: str, lines: int) -> None:
    """Replay at the pace, and print a figure a place."""
    current = settings.load()
    layout = Layout.of(current)
    airflow, replayer = airflow_of(current, layout), client(Replayer, REPLAYER, current, layout)
    replay_id = ""

    def sent() -> int:
        try:
            return int(replayer.record(replay_id)["lines"]) if replay_id else 0
        except ReplayRefusedError:  # its id is told before the replayer has heard of it
            return 0

    places = {"sent": Watched(sent)} | _stores(current)
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
    _tell(places, [first + number / LINES_PER_S for number in range(1, lines + 1)], began)


def _tell(places: dict[str, Watched], due: list[float], began: float) -> None:
    """Print a figure a place: how long after its time each line was there."""
    for name, place in places.items():
        by_line = [place.reached(number) - at for number, at in enumerate(due, start=1)]
        delays = sorted(by_line)
        figure = {
            "case": f"{name}, {LINES_PER_S} lines/s",
            "p50_s": round(delays[len(delays) // 2], 2),
            "p99_s": round(delays[int(len(delays) * 0.99)], 2),
            "most_s": round(delays[-1], 2),
            "most_at_s": round(due[by_line.index(delays[-1])] - due[0], 1),
            "look_every_s": round((time.monotonic() - began) / place.looks, 2),
            "load": round(os.getloadavg()[0], 1),
        }
        print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
