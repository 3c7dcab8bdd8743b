"""Start-up time, memory and idle load of the whole pipeline on this machine.

python -m benchmarks.one_machine start   # stops the pipeline; seconds from `make run` to the first window
python -m benchmarks.one_machine idle    # memory (PSS) and CPU over a minute of the running pipeline
python -m benchmarks.one_machine fresh   # `make run` in a fresh clone with a state and ports of its own
python -m benchmarks.one_machine stop    # seconds of `make stop`
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from tests.ports import free_ports
from tests.waiting import wait_until

from benchmarks.accounts import memory_mib, processes, services_cpu_s, spark_workers
from logpipe.settings import PROJECT_DIR

IDLE_S = 60.0


def start() -> dict[str, object]:
    """Seconds from `make run`, with everything installed and stopped, to the first row of a window."""
    subprocess.run(["make", "stop"], cwd=PROJECT_DIR, check=True, capture_output=True)
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu_s: dict[str, dict[str, float]] = {}
    seconds = _run(PROJECT_DIR, os.environ, lambda moment: cpu_s.setdefault(moment, services_cpu_s()))
    command = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = services_cpu_s() | {"command": sum(command[:2]) - sum(before[:2])}
    return seconds | {
        f"cpu_s until {moment}": {name: round(took, 1) for name, took in sorted(each.items())}
        for moment, each in (cpu_s | {"the end": used}).items()
    }


def _run(
    folder: Path, environment: Mapping[str, str], reached: Callable[[str], object] = lambda _: None
) -> dict[str, float]:
    began = time.monotonic()
    process = subprocess.Popen(
        ["make", "run"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds: dict[str, float] = {}
    assert process.stdout is not None
    said = []
    for line in process.stdout:
        said.append(line)
        now = round(time.monotonic() - began, 1)
        for moment, is_here in (
            ("services_ready", line.startswith("Run ")),
            ("first_window", line.startswith("window ") and "method" in line),
        ):
            if is_here and f"{moment}_s" not in seconds:
                seconds[f"{moment}_s"] = now
                reached(moment)
    seconds["all_lines_accounted_s"] = round(time.monotonic() - began, 1)
    if process.wait():
        sys.exit("".join(said[-10:]))
    return seconds


def fresh() -> dict[str, float]:
    """The same with a clone that has nothing installed; packages come from the caches of this machine."""
    with tempfile.TemporaryDirectory(prefix="fresh-") as folder:
        clone = Path(folder) / "logpipe"
        subprocess.run(["git", "clone", "-q", PROJECT_DIR, clone], check=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith("LOGPIPE_")}
        own |= free_ports() | {"LOGPIPE_STATE_DIR": f"{folder}/state"}
        try:
            return _run(clone, own)
        finally:
            subprocess.run(["make", "stop"], cwd=clone, env=own, check=True, capture_output=True)


def idle() -> dict[str, object]:
    """Memory and CPU of every process below the process host, over a minute without lines.

    Spark ends workers after a minute without any; their CPU is in no account then, so that is waited for.
    """
    wait_until(lambda: not spark_workers(), IDLE_S * 3, poll_s=1)
    before, began = services_cpu_s(), time.monotonic()
    host = processes()[0]
    host_before = sum(host.cpu_times()[:2])
    time.sleep(IDLE_S)
    elapsed_s = time.monotonic() - began
    used = {name: took - before.get(name, took) for name, took in services_cpu_s().items()}
    used["process-host"] = sum(host.cpu_times()[:2]) - host_before
    return {
        "memory_gib": round(memory_mib() / 1024, 2),
        "cpu_percent_of_a_core": round(100 * sum(used.values()) / elapsed_s, 1),
        "processes": len(processes()),
        "cpu_percent_of_a_core_each": {
            name: round(100 * took / elapsed_s, 2) for name, took in sorted(used.items())
        },
    }


def stop() -> dict[str, object]:
    """Seconds until nothing runs, agents drained."""
    began = time.monotonic()
    subprocess.run(["make", "stop"], cwd=PROJECT_DIR, check=True, capture_output=True)
    return {"stopped_after_s": round(time.monotonic() - began, 1)}


if __name__ == "__main__":
    print(json.dumps({"start": start, "idle": idle, "fresh": fresh, "stop": stop}[sys.argv[1]]()))
