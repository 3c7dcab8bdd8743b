"""What a person sees: progress of the start, of a replay, the windows, the status table."""

import json
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from logpipe.accounting.watch import Observation
from logpipe.hosts.machine.stack import ServiceStatus, StartProgress

PLAIN_INTERVAL_S = 5.0


def make_console() -> Console:
    """A console that wraps nothing where there is no terminal."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(highlight=False, soft_wrap=True, width=200)
    return console


class StartDisplay(StartProgress):
    """A spinner a service while it starts, then its time; plain lines where there is no terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]✓[/]"),
            TextColumn("{task.description:<22}"),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not console.is_terminal,
        )
        self._tasks: dict[str, TaskID] = {}

    def __enter__(self) -> "StartDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """A line of its own."""
        self._console.print(text)

    def begin(self, service: str) -> None:
        """Show a spinner."""
        self._tasks[service] = self._progress.add_task(service, total=1, note="starting")

    def done(self, service: str, seconds: float) -> None:
        """Show the time it took."""
        self._progress.update(self._tasks[service], completed=1, note=f"ready after {seconds:.1f} s")
        if not self._console.is_terminal:
            self._console.print(f"{service}: ready after {seconds:.1f} s")

    def fail(self, service: str, reason: str) -> None:
        """Show that it failed; the reason follows as the command's error."""
        self._progress.update(self._tasks[service], note="[red]failed[/]")


class ReplayDisplay:
    """A progress bar of the source's bytes, or of its lines up to a limit; plain lines without a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=40),
            TextColumn("{task.percentage:>3.0f} %"),
            TextColumn("{task.fields[lines]:,} lines"),
            TextColumn("{task.fields[rate]:,.0f}/s"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
            transient=True,
        )
        self._task: TaskID | None = None
        self._printed_at = 0.0
        self._done = False
        self._started_at = time.monotonic()

    def __enter__(self) -> "ReplayDisplay":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, description: str, lines: int, completed: int, total: int | None, *, done: bool) -> None:
        """Show how far a replay is; nothing more once it was shown as done."""
        if self._done:
            return
        self._done = done
        rate = lines / max(0.1, time.monotonic() - self._started_at)
        if self._task is None:
            self._started_at = time.monotonic()
            self._task = self._progress.add_task(description, total=total, lines=lines, rate=0.0)
        self._progress.update(
            self._task,
            description=description,
            completed=completed,
            total=total,
            lines=lines,
            rate=rate,
        )
        due = time.monotonic() - self._printed_at >= PLAIN_INTERVAL_S
        if not self._console.is_terminal and (due or done):
            self._printed_at = time.monotonic()
            share = f"{100 * completed / total:3.0f} % " if total else ""
            self._console.print(f"{description}: {share}{lines:,} lines, {rate:,.0f}/s")

    def print(self, text: str) -> None:
        """Print text above the bar, as it is."""
        self._console.print(Text.from_ansi(text) if text else "")


STATE_STYLES = {"running": "green", "fatal": "red", "backoff": "red", "exited": "yellow"}


def print_status(
    console: Console,
    services: dict[str, ServiceStatus],
    observations: list[Observation],
    follows: list[dict[str, Any]],
    *,
    as_json: bool,
) -> None:
    """Print services, followed logs and what was looked at, as tables or as one JSON object."""
    if as_json:
        rows = {name: service.to_json() for name, service in services.items()}
        watch = [asdict(each) for each in observations]
        print(json.dumps({"services": rows, "follows": follows, "watch": watch}), flush=True)
        return
    table = Table("service", "state", "pid", "healthy", "up", box=None, pad_edge=False)
    for name, status in services.items():
        table.add_row(
            f"{name} ({status.variant})" if status.variant else name,
            Text(status.state, STATE_STYLES.get(status.state, "dim")),
            str(status.pid or ""),
            Text("yes", "green") if status.healthy else Text("no", "red" if status.pid else "dim"),
            _duration(status.uptime_s) if status.pid else "",
        )
    console.print(table)
    if follows:
        console.print(_follow_table(follows))
    if not observations:
        return
    table = Table("watch", "", "warning", box=None, pad_edge=False)
    for observation in observations:
        table.add_row(observation.name, observation.value, Text(observation.warning, "bold yellow"))
    console.print(table)


def is_followed(follow: dict[str, Any]) -> bool:
    """Whether it is followed now, and not only was once."""
    return bool(follow["state"] != "stopped")


def follow_lines(follows: list[dict[str, Any]]) -> Iterator[str]:
    """What is followed, a sentence each."""
    for one in follows:
        where = "its end" if one["start"] == "end" else "all that is there"
        reason = f" ({one['reason']})" if one["reason"] else ""
        yield f"{one['path']}: {one['state']}, format {one['format']}, from {where}{reason}"


def _follow_table(follows: list[dict[str, Any]]) -> Table:
    table = Table(
        "followed log", "state", "format", "lines", "lines/s", "behind", "", box=None, pad_edge=False
    )
    for one in follows:
        note = "; ".join(
            [
                one["reason"] or "",
                *(f"unknown behind line {each['from_line'] - 1:,}" for each in one["unknown"]),
            ]
        )
        behind = (
            f"{one['bytes_behind']:,} bytes, {one['seconds_behind']:.0f} s" if one["bytes_behind"] else ""
        )
        table.add_row(
            one["path"],
            Text(one["state"], {"following": "green", "failed": "red"}.get(one["state"], "yellow")),
            one["format"][:40],
            f"{one['lines']:,}",
            f"{one['lines_per_s']:,.0f}",
            behind,
            Text(note.strip("; "), "bold yellow"),
        )
    return table


def _duration(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    return f"{hours}:{rest // 60:02}:{rest % 60:02}"


def print_lines(console: Console, lines: Iterable[str]) -> None:
    """Print lines as they are, without markup."""
    for line in lines:
        console.print(line, markup=False)
