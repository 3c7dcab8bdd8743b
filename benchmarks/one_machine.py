"""Start-up time, memory and idle load of the whole pipeline on this machine.

python -m benchmarks.one_machine start   # stops the pipeline; seconds from `make run` to the first window
python -m benchmarks.one_machine idle    # memory (PSS) and CPU over a minute of the running pipeline
"""

import json
import subprocess
import sys
import time

import psutil

from logpipe import settings
from logpipe.hosts.layout import Layout
from logpipe.settings import PROJECT_DIR

IDLE_S = 60.0


def start() -> dict[str, float]:
    """Seconds from `make run`, with everything installed and stopped, to the first row of a window."""
    subprocess.run(["make", "stop"], cwd=PROJECT_DIR, check=True, capture_output=True)
    began = time.monotonic()
    process = subprocess.Popen(["make", "run"], cwd=PROJECT_DIR, stdout=subprocess.PIPE, text=True)
    seconds: dict[str, float] = {}
    assert process.stdout is not None
    for line in process.stdout:
        now = round(time.monotonic() - began, 1)
        if line.startswith("Run "):
            seconds.setdefault("services_ready_s", now)
        if line.startswith("window ") and "method" in line:
            seconds.setdefault("first_window_s", now)
    seconds["all_lines_accounted_s"] = round(time.monotonic() - began, 1)
    assert process.wait() == 0
    return seconds


def idle() -> dict[str, object]:
    """Memory and CPU of every process below the process host, over a minute without lines."""
    pid = int((Layout.of(settings.load()).state_dir / "supervisord.pid").read_text())
    tree = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    before = {process.pid: sum(process.cpu_times()[:2]) for process in tree}
    began = time.monotonic()
    time.sleep(IDLE_S)
    elapsed_s = time.monotonic() - began
    used_s = sum(
        sum(process.cpu_times()[:2]) - before[process.pid] for process in tree if process.is_running()
    )
    pss = sum(process.memory_full_info().pss for process in tree if process.is_running())
    return {
        "memory_gib": round(pss / 2**30, 2),
        "cpu_percent_of_a_core": round(100 * used_s / elapsed_s, 1),
        "processes": len(tree),
    }


if __name__ == "__main__":
    print(json.dumps({"start": start, "idle": idle}[sys.argv[1]]()))
