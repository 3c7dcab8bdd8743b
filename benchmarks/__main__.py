"""Measure the product, and write docs/benchmarks.json, docs/benchmarks.md and the plots from it.

``python -m benchmarks`` runs all that the table below names; ``python -m benchmarks idle july`` these, and
keeps what was measured of the others; ``--short`` takes what fits into ten minutes; ``--write`` measures
nothing and writes the page anew. Each is a program of its own, ``python -m benchmarks.<module>``, that
prints its figures as JSON lines; one that fails is named in the page, and the others run on.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psutil

from benchmarks import report
from logpipe.settings import PROJECT_DIR

RESULTS = PROJECT_DIR / "docs" / "benchmarks.json"
TIMEOUT_S = 3600


@dataclass(frozen=True)
class Measurement:
    """One row of the registry: what is measured, by which program, on how much.

    ``short`` is the command line of the short form; None: it is left out there.
    """

    name: str
    title: str
    command: str
    short: str | None


# In this order: one after the other uses the pipeline that `start` has brought up, `stop` takes it down.
MEASUREMENTS = (
    Measurement("start", "From `make run` to the first window", "one_machine start", "one_machine start"),
    Measurement("idle", "The whole stack at rest", "one_machine idle", "one_machine idle"),
    Measurement("latency", "1,000 lines a second", "latency --seconds 120", "latency --seconds 30"),
    Measurement("july", "July through everything, pace max", "pipeline --times 5", "pipeline --times 2"),
    Measurement(
        "memory", "July by the original's two memory channels", "pipeline --times 2 --profile memory", None
    ),
    Measurement("stop", "Everything stopped, agents drained", "one_machine stop", "one_machine stop"),
    Measurement("fresh", "`make run` in a fresh clone, warm caches", "one_machine fresh", None),
    Measurement(
        "windows",
        "The windows job alone: arrival time, event time, the original's six queries",
        "windows --cases arrival,event,six_queries",
        None,
    ),
    Measurement("agent2", "Agent 2 alone, from the topic to HDFS", "agent2 --times 3", None),
    Measurement("peers", "Other programs on the same hops", "peers", "peers --lines 400000"),
)  # fmt: skip


def run(measurement: Measurement, arguments: str) -> dict[str, Any]:
    """Run one program; its figures, or why there are none, and the circumstances."""
    result: dict[str, Any] = {
        "command": f"python -m benchmarks.{arguments}",
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _output("git", "rev-parse", "--short", "HEAD"),
        "load_before": round(os.getloadavg()[0], 1),
        "machine": machine(),
        "figures": [],
    }
    module, *options = arguments.split()
    command = [sys.executable, "-m", f"benchmarks.{module}", *options]
    with subprocess.Popen(
        command, cwd=PROJECT_DIR, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            output, errors = process.communicate(timeout=TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            output, errors = process.communicate()
    result["figures"] = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if process.returncode:
        said = [line for line in errors.splitlines() if line.strip()]
        result["failed"] = said[-1] if said else f"exit status {process.returncode}"
    return result


def machine() -> str:
    """The machine in a sentence."""
    with open("/proc/cpuinfo") as file:
        models = {line.partition(": ")[2].strip() for line in file if line.startswith("model name")}
    memory_gib = psutil.virtual_memory().total / 2**30
    java = _output("java", "--version").splitlines()[0]
    return (
        f"{psutil.cpu_count()} cores ({', '.join(sorted(models)) or platform.machine()}), "
        f"{memory_gib:.0f} GiB, Python {platform.python_version()}, {java}"
    )


def _output(*command: str) -> str:
    answer = subprocess.run(command, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    return answer.stdout.strip() or "unknown"


def main(arguments: Sequence[str]) -> int:
    """Measure, and write the page."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    names = [each.name for each in MEASUREMENTS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}; default: all")
    parser.add_argument("--short", action="store_true", help="what fits into ten minutes")
    parser.add_argument("--write", action="store_true", help="measure nothing, write the page anew")
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names):
        parser.error(
            f"no measurement is named {', '.join(sorted(unknown))}, expected some of {', '.join(names)}"
        )
    results: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    failed = []
    for measurement in MEASUREMENTS:
        chosen = measurement.short if options.short else measurement.command
        if options.write or chosen is None or (options.names and measurement.name not in options.names):
            continue
        print(f"{measurement.name}: {measurement.title} …", flush=True)
        result = run(measurement, chosen)
        results[measurement.name] = result
        print("\n".join(json.dumps(figure) for figure in result["figures"]), flush=True)
        if "failed" in result:
            failed.append(measurement.name)
            print(f"failed: {result['failed']}", flush=True)
        RESULTS.write_text(json.dumps(results, indent=1) + "\n")
    report.write(results, {each.name: each.title for each in MEASUREMENTS}, PROJECT_DIR / "docs")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
