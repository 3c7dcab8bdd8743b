"""The picture of the rooms in docs/architecture.md, drawn from what they import (``make docs``)."""

import re
import tomllib
from pathlib import Path

import grimp

from logpipe.settings import PROJECT_DIR

PAGE = PROJECT_DIR / "docs" / "architecture.md"
# What stands beside a room's name, as the table of rooms says it at length.
HOLDS = {
    "dags": "thin DAG files",
    "airflow": "operators, sensors, triggers, hooks",
    "cli": "the command line",
    "hosts": "the table of services; machine, cluster",
    "report": "a sealed day's report",
    "page": "the page's service",
    "sealing": "sealed days, repair",
    "accounting": "verify, audit",
    "spark_jobs": "the windows job",
    "windows": "the windows' commits and their reader",
    "replayer": "sends logs",
    "clients": "one for each outside system",
    "contracts": "what stands where on HDFS",
    "alerts": "when somebody is told",
    "digest": "sums of lines",
    "formats": "how servers write lines",
    "identity": "the rule",
    "serving": "what HTTP services share",
    "settings": "every name and number",
}
_DRAWN = re.compile(r"```mermaid\n.*?```", re.DOTALL)


def rooms() -> list[str]:
    """The rooms from the top down, as the contract in pyproject.toml has them; jobs and DAGs above."""
    contracts = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
    (layers,) = (each["layers"] for each in contracts if each.get("containers") == ["logpipe"])
    return ["dags", *(room for layer in layers for room in layer.split(" | ")), "spark_jobs"]


def imports() -> set[tuple[str, str]]:
    """Which room imports which."""
    graph = grimp.build_graph("logpipe", "windows")
    found = {
        (_room(module), _room(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    }
    for path in (PROJECT_DIR / "dags").rglob("*.py"):
        for module in re.findall(r"^from (logpipe[\w.]*) import (\w+)", path.read_text(), re.MULTILINE):
            found.add(("dags", _room(".".join(module))))
    return {(room, other) for room, other in found if room != other and {room, other} <= HOLDS.keys()}


def _room(module: str) -> str:
    package, _, rest = module.partition(".")
    return "spark_jobs" if package == "windows" else rest.split(".")[0]


def drawn() -> str:
    """The picture: an arrow that follows from others is left out."""
    arrows = imports()
    longer = {
        (first, last)
        for first, last in arrows
        if any((first, between) in arrows and _leads(arrows, between, last) for between in HOLDS)
    }
    boxes = [f'    {room}["<b>{room}</b><br>{HOLDS[room]}"]' for room in rooms()]
    lines = [f"    {first} --> {last}" for first, last in sorted(arrows - longer)]
    return "\n".join(["```mermaid", "flowchart TD", *boxes, *lines, "```"])


def _leads(arrows: set[tuple[str, str]], first: str, last: str) -> bool:
    if first == last:
        return False
    seen, at = {first}, [first]
    while at:
        room = at.pop()
        for start, end in arrows:
            if start == room and end not in seen:
                seen.add(end)
                at.append(end)
    return last in seen


def write(page: Path = PAGE) -> None:
    """Put the picture in its place."""
    page.write_text(_DRAWN.sub(lambda _: drawn(), page.read_text(), count=1))


if __name__ == "__main__":
    write()
