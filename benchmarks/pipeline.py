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

from benchmarks import july
from benchmarks.accounts import memory_mib, services_cpu_s
from logpipe.settings import PROJECT_DIR

_TASK = re.compile(r"^✓ (\w+) +([\d.]+) s", re.MULTILINE)
_ACCOUNTING = re.compile(r"^.* lines sent, .*$", re.MULTILINE)


def replay(url: str, profile: str) -> dict[str, object]:
    """Replay once by `make replay`; what it took."""
    before, command_before = services_cpu_s(), resource.getrusage(resource.RUSAGE_CHILDREN)
    began = time.monotonic()
    told = make("replay", f"URL={url}", "PACE=max", f"PROFILE={profile}")
    wall_s = time.monotonic() - began
    after, command = services_cpu_s(), resource.getrusage(resource.RUSAGE_CHILDREN)
    verify_began = time.monotonic()
    make("verify")
    used = {service: after[service] - before.get(service, 0.0) for service in after}
    used["command"] = sum(command[:2]) - sum(command_before[:2])
    return {
        "wall_s": round(wall_s, 1),
        "lines_a_s": round(july.LINES / wall_s),
        "verify_s": round(time.monotonic() - verify_began, 1),
        "memory_mib": round(memory_mib()),
        "tasks_s": {name: float(seconds) for name, seconds in _TASK.findall(told)},
        "cpu_us_a_line": {name: round(1e6 * took / july.LINES, 2) for name, took in sorted(used.items())},
        "cpu_us_a_line_in_all": round(1e6 * sum(used.values()) / july.LINES, 2),
        "load": round(os.getloadavg()[0], 1),
        "accounting": _ACCOUNTING.findall(told)[-1],
    }


def make(*arguments: str) -> str:
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
    parser.add_argument("--profile", default="durable", help="of the agents: durable or memory")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="july-", dir=PROJECT_DIR / "build") as folder:
        path = Path(folder) / "july.log"
        with path.open("wb") as file:
            file.writelines(line + b"\n" for line in july.lines())
        make("run", "LIMIT=1", "PACE=max", f"PROFILE={options.profile}")
        for turn in range(1, options.times + 1):
            print(
                json.dumps({"turn": turn, "lines": july.LINES, **replay(path.as_uri(), options.profile)}),
                flush=True,
            )


if __name__ == "__main__":
    main()
