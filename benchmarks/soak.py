"""Runs the pipeline for hours, kills services at random, and fails when anything grows that should not.

python -m benchmarks.soak --hours 8 --pace speed:60 [--airflow | --follow] [--seed 7] [--json FILE]

A copy of its own (own ports, a new state folder) replays the bundled log again and again, or follows the logs
of real servers under load, rotated every few seconds, while a service dies every few minutes. Each sample
counts, for each service with all its children, processes, threads, descriptors and memory, and the files of
the state folder and of HDFS. At the end the medians of the second and of the last quarter of the time are
compared: what may not grow has an allowance (`LIMITS`); what grows with the lines that are kept is told, as
growth an hour. Then every line must be accounted for. Exit status 0 when nothing grew, nothing was lost and
nothing is there twice.
"""

import argparse
import json
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import defaultdict
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

import httpx
import psutil
from tests.data_plane import DataPlane
from tests.machine import own_settings
from tests.servers.campaign import await_sent, servers
from tests.servers.site import Load
from tests.waiting import wait_until

from logpipe.clients.airflow import PIPELINE_DAG
from logpipe.clients.errors import ClientError
from logpipe.digest import Digest
from logpipe.hosts.connections import airflow_of
from logpipe.hosts.machine.stack import StartProgress
from logpipe.hosts.services import names as services_of
from logpipe.windows.reader import of_settings

KILLED = tuple(name for name in services_of("store", "stream") if name != "ftp")
SETTLED_S = 45
ROUND_S, ROTATED_EVERY_S = 60, 7.0
# A file that was rotated away is held open for an hour: here the hours go by faster.
FOLLOWING = {"follow_end_s": 10.0, "follow_reopen_s": 60.0}
LAST_REPLAY_S = 1800  # so long may the last one take to end
# A metric may grow from its second quarter to its last by this share and this much on top.
LIMITS = {
    "processes": (0.0, 6), "threads": (0.2, 15), "descriptors": (0.2, 40), "rss_mb": (0.25, 150),
    "airflow-triggerer: threads": (0.2, 32),  # one that was killed makes its 32 as it needs them
    "files in tmp": (0.2, 30), "files in run": (0.0, 2), "files in logs": (0.2, 20), "files in .": (0.0, 5),
}  # fmt: skip


@dataclass(frozen=True)
class Slope:
    """How a series went: its medians, what the last one may be at most (None: it may grow), and its rate."""

    series: str
    second_quarter: float
    last_quarter: float
    at_most: float | None
    growth_an_hour: float

    @property
    def ok(self) -> bool:
        return self.at_most is None or self.last_quarter <= self.at_most


def slopes(samples: list[tuple[float, dict[str, float]]]) -> list[Slope]:
    """Judge samples, each the seconds since the start and its series; a series may miss from some of them."""
    series: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for at_s, values in samples:
        for name, value in values.items():
            series[name].append((at_s, value))
    end_s = samples[-1][0]
    found = []
    for name, points in sorted(series.items()):
        second = [value for at_s, value in points if end_s / 4 <= at_s < end_s / 2]
        last = [value for at_s, value in points if at_s >= end_s * 3 / 4]
        if not second or not last:
            continue
        before, after = statistics.median(second), statistics.median(last)
        limit = LIMITS.get(name) or LIMITS.get(name.partition(": ")[2])
        at_most = None if limit is None else before * (1 + limit[0]) + limit[1]
        found.append(Slope(name, before, after, at_most, round((after - before) * 7200 / end_s, 1)))
    return found


def sample(plane: DataPlane) -> dict[str, float]:
    """What is there now, as series; a service that has just been started is left out."""
    values: dict[str, float] = {}
    for service, state in plane.stack.status().items():
        with suppress(psutil.Error):
            if state.pid and state.healthy and state.uptime_s >= SETTLED_S:
                root = psutil.Process(state.pid)
                tree = [root, *root.children(recursive=True)]
                values[f"{service}: processes"] = len(tree)
                values[f"{service}: threads"] = sum(each.num_threads() for each in tree)
                values[f"{service}: descriptors"] = sum(each.num_fds() for each in tree)
                values[f"{service}: rss_mb"] = sum(each.memory_info().rss for each in tree) // 2**20
    state_dir = plane.stack.layout.state_dir
    started = "".join(file.read_text() for file in (state_dir / "run").iterdir()).splitlines()
    groups = {line.split()[0] for line in started}
    values["processes"] = sum(_group(pid) in groups for pid in psutil.pids())  # orphans too
    for root, _, names in os.walk(state_dir):
        folder = Path(root).relative_to(state_dir).parts[:1] or (".",)
        for name in names:
            with suppress(OSError):  # gone meanwhile
                size_mb = os.lstat(f"{root}/{name}").st_blocks / 2048  # Kafka's indexes have holes
                for series, more in ((f"files in {folder[0]}", 1), (f"mb in {folder[0]}", size_mb)):
                    values[series] = values.get(series, 0) + more
    settings = plane.settings
    query = {"op": "GETCONTENTSUMMARY", "user.name": settings.hdfs_user}
    for folder in (settings.hdfs_logs_dir, settings.hdfs_windows_dir, settings.hdfs_checkpoint_dir):
        with suppress(httpx.HTTPError):
            answer = httpx.get(f"{settings.webhdfs_url}/webhdfs/v1{folder}", params=query, timeout=5)
            if answer.is_success:
                values[f"hdfs files in {Path(folder).name}"] = answer.json()["ContentSummary"]["fileCount"]
    return values


def _group(pid: int) -> str:
    try:
        return str(os.getpgid(pid))
    except ProcessLookupError:
        return ""


class Direct:
    """Replays handed to the replayer itself; supervisord alone keeps the services alive."""

    killed = KILLED

    def __init__(self, plane: DataPlane, pace: str) -> None:
        self._plane, self._pace = plane, pace
        plane.start()

    def begin(self) -> str:
        return self._plane.submit(self._pace)

    def ended(self, replay: str) -> str:
        """Empty while it goes on, or done or failed."""
        state = self._plane.record(replay).get("state", "")
        return state if state in {"done", "failed"} else ""

    def equal(self) -> bool:
        """The accounting knows."""
        return True


class Followed:
    """The logs of servers that are asked all the time, and rotated every few seconds."""

    killed = KILLED
    requests_per_s = 300
    rotations: ClassVar = {"nginx": "dateext", "apache": "delaycompress", "caddy": "own"}

    def __init__(self, plane: DataPlane, pace: str) -> None:
        self._plane = plane
        self._ends = ExitStack()
        self._rounds = 0
        self._loads: list[Load] = []
        plane.start()
        folder = plane.settings.state_dir.with_name("servers")
        self._servers = self._ends.enter_context(servers(plane, folder, self.rotations))
        self._servers.follow()
        self._quiet = threading.Event()
        self._rotating = threading.Thread(target=self._rotate, daemon=True)
        self._rotating.start()

    def _rotate(self) -> None:
        while not self._quiet.wait(ROTATED_EVERY_S):
            for server in ("nginx", "apache"):
                self._servers.sites[server].rotate()

    def begin(self) -> str:
        self._rounds += 1
        self._loads = [
            Load.begin(site.server, f"r{self._rounds}{name}", self.requests_per_s, ROUND_S)
            for name, site in self._servers.sites.items()
        ]
        return str(self._rounds)

    def ended(self, replay: str) -> str:
        if any(load.process.poll() is None for load in self._loads):
            return ""
        return "done" if all(load.end() for load in self._loads) else "failed"

    def equal(self) -> bool:
        """Whether the windows have just what the servers wrote, once it was all sent."""
        with self._ends:
            self._quiet.set()
            self._rotating.join()
            truth = self._servers.truth
            written = sum((Digest.of(list(truth.lines(log))) for log in truth.files), Digest())
            await_sent(self._plane, written.lines)
            self._servers.unfollow()
        self._plane.await_drained()
        return bool(of_settings(self._plane.settings).totals().digest == written)


class Steered:
    """Runs of `replay_log`, and the supervision that they start; Airflow's parts are killed too."""

    killed = (*KILLED, *services_of("airflow"))

    def __init__(self, plane: DataPlane, pace: str) -> None:
        plane.stack.up(StartProgress())
        self._airflow, self._pace = airflow_of(plane.settings, plane.stack.layout), pace
        wait_until(lambda: self._airflow.has_dag(PIPELINE_DAG), 120, poll_s=1)

    def begin(self) -> str:
        return self._airflow.trigger(PIPELINE_DAG, {"pace": self._pace})

    def ended(self, replay: str) -> str:
        with suppress(ClientError):
            state = self._airflow.run_state(PIPELINE_DAG, replay)
            return {"success": "done", "failed": "failed"}.get(state, "")
        return ""

    def equal(self) -> bool:
        """The accounting knows."""
        return True


def soak(plane: DataPlane, options: argparse.Namespace) -> dict[str, Any]:
    """Replay, kill and sample until time is over, then account for every line."""
    chance = random.Random(options.seed)
    kind = Steered if options.airflow else Followed if options.follow else Direct
    runner = kind(plane, options.pace)
    services = options.services.split(",") if options.services else runner.killed
    began = time.monotonic()
    samples: list[tuple[float, dict[str, float]]] = []
    kills: list[tuple[int, str]] = []
    ends: list[str] = []
    replay, kill_at_s = runner.begin(), 0.0
    while (at_s := time.monotonic() - began) < options.hours * 3600:
        samples.append((at_s, sample(plane)))
        _tell(at_s, samples[-1][1], kills, ends)
        if end := runner.ended(replay):
            ends.append(end)
            replay = runner.begin()
        if at_s >= kill_at_s:
            if kill_at_s:
                service = chance.choice(services)
                for state in plane.stack.host.client.processes():
                    if state.service == service and state.pid:
                        with suppress(ProcessLookupError):
                            os.kill(state.pid, signal.SIGKILL)
                        kills.append((round(at_s), service))
            kill_at_s = at_s + options.kill_every_s * chance.uniform(0.5, 1.5)
        time.sleep(options.sample_every_s)
    ends.append(wait_until(lambda: runner.ended(replay), LAST_REPLAY_S, poll_s=2))
    equal = runner.equal()
    plane.await_drained()
    accounting = plane.account()
    judged = slopes(samples)
    return {
        "seed": options.seed,
        "hours": options.hours,
        "kills": kills,
        "replays": ends,
        "slopes": [asdict(slope) | {"ok": slope.ok} for slope in judged],
        "accounting": accounting.to_json(),
        "equal": equal,
        "ok": all(slope.ok for slope in judged) and set(ends) == {"done"} and accounting.ok and equal,
    }


def _tell(at_s: float, values: dict[str, float], kills: list[tuple[int, str]], ends: list[str]) -> None:
    def total(what: str) -> float:
        return sum(value for name, value in values.items() if name.endswith(f": {what}"))

    if at_s < 1:
        print("minutes | replays | kills | processes | threads | descriptors | RSS MB | MB in state folder")
    disk_mb = sum(value for name, value in values.items() if name.startswith("mb in "))
    print(
        f"{at_s / 60:7.1f} | {len(ends):7} | {len(kills):5} | {values['processes']:9.0f} | "
        f"{total('threads'):7.0f} | {total('descriptors'):11.0f} | {total('rss_mb'):6.0f} | {disk_mb:.0f}",
        flush=True,
    )


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hours", type=float, default=1.0)
    parser.add_argument("--pace", default="speed:600", help="of each replay; the bundled log spans 11 hours")
    parser.add_argument("--kill-every-s", type=float, default=180.0)
    parser.add_argument("--sample-every-s", type=float, default=15.0)
    parser.add_argument("--services", help="which to kill, with commas; default: all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--airflow", action="store_true", help="the whole pipeline, not the data plane alone")
    parser.add_argument("--follow", action="store_true", help="real servers' logs are followed, not replayed")
    parser.add_argument("--json", type=Path, help="also write the result there")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # who ends it so has it stop the pipeline too
    print(f"seed {options.seed}", flush=True)
    folder = Path(tempfile.mkdtemp(prefix="logpipe-soak-"))
    following = FOLLOWING | {"file_roots": str(folder)} if options.follow else {}
    settings = own_settings(folder / "state", roll_interval_s=30, **following)
    plane = DataPlane(settings)
    try:
        result = soak(plane, options)
    finally:
        plane.stop()
    for slope in result["slopes"]:
        if not slope["ok"]:
            print("{series}: {second_quarter} -> {last_quarter}, at most {at_most}".format(**slope))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1))
    print(json.dumps({name: value for name, value in result.items() if name != "slopes"}))
    if result["ok"]:
        shutil.rmtree(folder)
    else:
        print(f"What it left is in {folder}", file=sys.stderr)
    return 0 if result["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
