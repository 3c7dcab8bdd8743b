"""July at pace max through everything, several times over: how long, and CPU of each service a line.

``python -m benchmarks.pipeline --times 3`` starts the pipeline unless it is up, replays July so many times
and prints a JSON object for each: the first is cold, the last one warm. CPU is what the kernel has accounted
to a service's processes, those that have ended among them, between the command's start and its end: the same
way for all of them. Seconds depend on what else the machine does, CPU a line does so far less.
"""

import argparse
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks import july
from logpipe import settings
from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.process_host import ProcessHost
from logpipe.settings import PROJECT_DIR

_TASK = re.compile(r"^✓ (\w+) +([\d.]+) s", re.MULTILINE)
_ACCOUNTING = re.compile(r"^.* lines sent, .*$", re.MULTILINE)


def cpu_s() -> dict[str, float]:
    """CPU seconds of each service so far."""
    current = settings.load()
    states = ProcessHost(current, Layout.of(current)).states()
    return {state.service: _tree_s(psutil.Process(state.pid)) for state in states if state.pid}


def _tree_s(root: psutil.Process) -> float:
    """User and system time of a process, of those below it, and of those that these have waited for."""
    total = 0.0
    for process in [root, *root.children(recursive=True)]:
        try:
            total += sum(process.cpu_times()[:4])
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile: its parent has its time
    return total


def replay(url: str) -> dict[str, object]:
    """Replay once by `make replay`; what it took."""
    before, command_before = cpu_s(), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    told = _make("replay", f"URL={url}", "PACE=max")
    wall_s = time.monotonic() - began
    after, command = cpu_s(), resource.getrusage(resource.RUSAGE_CHILDREN)
    used = {service: after[service] - before.get(service, 0.0) for service in after}
    used["command"] = sum(command[:2]) - sum(command_before[:2])
    return {
        "wall_s": round(wall_s, 1),
        "tasks_s": {name: float(seconds) for name, seconds in _TASK.findall(told)},
        "cpu_us_a_line": {name: round(1e6 * took / july.LINES, 2) for name, took in sorted(used.items())},
        "cpu_us_a_line_in_all": round(1e6 * sum(used.values()) / july.LINES, 2),
        "load": round(os.getloadavg()[0], 1),
        "accounting": _ACCOUNTING.findall(told)[-1],
    }


def _make(*arguments: str) -> str:
    """What a target tells; ends the benchmark when it fails."""
    answer = subprocess.run(
        ["make", *arguments], cwd=PROJECT_DIR, capture_output=True, text=True, check=False
    )
    if answer.returncode:
        sys.exit(answer.stdout + answer.stderr)
    return answer.stdout


def main() -> None:
    """Write July, replay it, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=3, help="how many replays; the first is cold")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="july-", dir=PROJECT_DIR / "build") as folder:
        path = Path(folder) / "july.log"
        with path.open("wb") as file:
            file.writelines(line + b"\n" for line in july.lines())
        _make("run", "LIMIT=1", "PACE=max")
        for turn in range(1, options.times + 1):
            print(json.dumps({"turn": turn, "lines": july.LINES, **replay(path.as_uri())}), flush=True)


if __name__ == "__main__":
    main()
