"""Follows one run of the pipeline's DAG in the terminal until it ends."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from rich.console import Console

from logpipe.cli.terminal import ReplayDisplay
from logpipe.clients.airflow import PIPELINE_DAG, SERVICES_DAG, Airflow, AirflowError, TaskState
from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.settings import Settings

POLL_S = 0.8
WINDOWS_TIMEOUT_S = 30.0
QUEUED_S = 10.0  # after that a run that has not begun says why
DAG_TIMEOUT_S = 120.0
TABLES_INTERVAL_S = 3.0
HDFS_TIMEOUT_S = 5.0
FINAL_STATES = ("success", "failed", "skipped", "upstream_failed", "removed")


def await_dags(airflow: Airflow, *others: str) -> None:
    """Wait until Airflow has read the DAGs that a replay needs, and others.

    Raises:
        AirflowError: one cannot be read, or is not there in time.
    """
    deadline = time.monotonic() + DAG_TIMEOUT_S
    while missing := [
        dag_id for dag_id in (PIPELINE_DAG, SERVICES_DAG, *others) if not airflow.has_dag(dag_id)
    ]:
        errors = airflow.import_errors()
        if errors or time.monotonic() > deadline:
            why = (
                "\n".join(errors)
                or f"not read after {DAG_TIMEOUT_S:.0f} s; see the log of airflow-dag-processor"
            )
            raise AirflowError(f"DAG {missing[0]} is not there: {why}")
        time.sleep(0.25)


def sentence(accounting: dict[str, int]) -> str:
    """An accounting in words."""
    return (
        "{source:,} lines sent, {topic:,} in the topic, {hdfs:,} in HDFS, {windows:,} in the windows: "
        "lost {lost:,}, doubled {doubled:,}, in flight {in_flight:,}"
    ).format_map(accounting)


def failure(airflow: Airflow, dag_id: str, run_id: str) -> str:
    """Why a run failed: the failed tasks and the ends of their logs."""
    return "\n".join(
        f"Task {task.task_id} failed:\n{airflow.task_log_tail(dag_id, run_id, task)}"
        for task in airflow.task_states(dag_id, run_id)
        if task.state == "failed"
    )


class RunFollower:
    """Shows a run's tasks as they end, the replay's progress and the windows as they come."""

    def __init__(
        self,
        console: Console,
        airflow: Airflow,
        record: Callable[[str], dict[str, Any] | None],  # a replay's; None while it is not known
        windows: "GrowingFile | TablesOnHdfs",
    ) -> None:
        self._console = console
        self._airflow = airflow
        self._record = record
        self._windows = windows
        self._shown: set[str] = set()
        self._replay_id: str | None = None
        self._has_shown_windows = False

    def follow(self, run_id: str) -> str:
        """Return the run's final state: success or failed."""
        queued_until = time.monotonic() + QUEUED_S
        with ReplayDisplay(self._console) as display:
            while True:
                state = self._airflow.run_state(PIPELINE_DAG, run_id)
                if state == "queued" and time.monotonic() > queued_until:
                    queued_until = float("inf")
                    display.print(self._why_queued())
                tasks = self._airflow.task_states(PIPELINE_DAG, run_id)
                self._show_tasks(display, tasks)
                self._show_replay(display, run_id, tasks)
                self._show_windows(display)
                if state == "success":
                    self._await_windows(display)
                if state in ("success", "failed"):
                    return state
                time.sleep(POLL_S)

    def _why_queued(self) -> str:
        if self._airflow.is_paused(PIPELINE_DAG):
            return f"The run waits: {PIPELINE_DAG} is paused in Airflow. Unpause it there, and it begins"
        return "The run waits, for one before it or for Airflow's scheduler: see its page"

    def _show_windows(self, display: ReplayDisplay) -> None:
        for line in self._windows.new_lines():
            self._has_shown_windows = True
            display.print(line)

    def _await_windows(self, display: ReplayDisplay) -> None:
        """The job prints its tables some seconds after it has counted: a short run waits for the first."""
        deadline = time.monotonic() + WINDOWS_TIMEOUT_S
        while not self._has_shown_windows and time.monotonic() < deadline:
            time.sleep(POLL_S)
            self._show_windows(display)

    def _show_tasks(self, display: ReplayDisplay, tasks: list[TaskState]) -> None:
        for task in tasks:
            if task.state in FINAL_STATES and task.task_id not in self._shown:
                self._shown.add(task.task_id)
                mark = {"success": "\x1b[32m✓\x1b[0m", "failed": "\x1b[31m✗\x1b[0m"}.get(str(task.state), "-")
                took = f" {task.duration_s:.1f} s" if task.duration_s else ""
                display.print(f"{mark} {task.task_id}{took}")

    def _show_replay(self, display: ReplayDisplay, run_id: str, tasks: list[TaskState]) -> None:
        if self._replay_id is None:
            if any(task.task_id == "replay" and task.state is not None for task in tasks):
                self._replay_id = self._airflow.xcom(PIPELINE_DAG, run_id, "replay", key="replay_id")
            return
        record = self._record(self._replay_id)
        if record is not None:
            limit = record["limit"]  # where there is one, it is the measure, not the source's size
            display.update(
                f"replay of {Path(str(record['url'])).name}",
                record["lines"],
                record["lines"] if limit else record["source_bytes_read"],
                limit or record["source_size_bytes"],
                done=record["state"] == "done",
            )


class GrowingFile:
    """Gives the lines that a file gained since the last call; begins at its end. Survives its rotation."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._position = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def new_lines(self) -> Iterator[str]:
        """Complete lines that are new."""
        if not self._path.exists():
            return
        if self._path.stat().st_size < self._position:
            self._position, self._rest = 0, b""
        with self._path.open("rb") as file:
            file.seek(self._position)
            block = file.read()
            self._position = file.tell()
        *lines, self._rest = (self._rest + block).split(b"\n")
        for line in lines:
            yield line.decode(errors="replace")


class TablesOnHdfs:
    """The tables that the windows job on YARN printed last, from the file where it puts them."""

    def __init__(self, settings: Settings) -> None:
        self._hdfs = Hdfs.of(settings, HDFS_TIMEOUT_S)
        self._path = settings.hdfs_console_file
        self._seen: bytes | None = None
        self._looked_at = 0.0

    def new_lines(self) -> list[str]:
        """Those that are not the ones of the last call; what was there at the first call is left out."""
        if time.monotonic() - self._looked_at < TABLES_INTERVAL_S:
            return []
        self._looked_at = time.monotonic()
        try:
            found = self._hdfs.read(self._path) or b""
        except HdfsError:
            return []
        before, self._seen = self._seen, found
        return [] if before in (None, found) else found.decode(errors="replace").splitlines()
