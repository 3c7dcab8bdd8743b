"""Airflow's LocalExecutor, with tasks that find loaded what they need; it tells the scheduler of news."""

import sqlite3
import time
from collections.abc import Callable
from importlib import import_module
from pkgutil import iter_modules

from airflow.executors.local_executor import LocalExecutor as AirflowsExecutor

from airflow import settings

# Of Airflow, what runs a task; of ours, where it is written what one does, and what these load as they do it.
_MODULES = (
    "airflow.dag_processing.dagbag",
    "airflow.sdk.execution_time.task_runner",
    "logpipe.accounting.drain",
    "logpipe.accounting.verify",
)
_ROOMS = ("logpipe.airflow.operators", "logpipe.airflow.sensors", "logpipe.airflow.triggers")

LOOK_EVERY_S = 0.05
BUSY_S, REST_S = 0.5, 3.0  # the scheduler goes round at least so often, with tasks lately and without
LATELY_S = 20.0


class LocalExecutor(AirflowsExecutor):
    """Loads the tasks' code before its workers are forked, and wakes the scheduler when something happened.

    A task is a fork of a worker, and a worker one of the scheduler. What the scheduler has loaded no task
    loads again, each of them for a second of CPU. Code that is changed takes effect with the scheduler's
    next start; DAG files are read by each task as ever.

    Each round of the scheduler costs 35 ms of CPU, and a step that becomes due between two waits for the
    next. What it acts upon is a write to Airflow's database or a worker's result, so these are waited for
    here, and Airflow's own sleep between rounds is set to next to nothing.
    """

    def start(self) -> None:
        """Load, then fork the workers."""
        for name in _MODULES:
            import_module(name)
        for room in _ROOMS:
            for module in iter_modules(import_module(room).__path__, f"{room}."):
                import_module(module.name)
        super().start()
        url = settings.get_engine().url
        self._news = News(url.database if url.get_backend_name() == "sqlite" else None)
        self._busy_at = time.monotonic()

    def heartbeat(self) -> None:
        """Give the workers what is due, take their results; with neither, wait for news."""
        is_due = self.queued_tasks or self.queued_callbacks or self.queued_connection_tests
        is_idle = not is_due and self.result_queue.empty()
        super().heartbeat()
        if not is_idle or self.running:
            self._busy_at = time.monotonic()
        if is_idle:
            is_busy = time.monotonic() - self._busy_at < LATELY_S
            self._news.wait(self.result_queue.empty, BUSY_S if is_busy else REST_S)


class News:
    """Tells when others have written to a database.

    SQLite tells a connection just that; of another database it is not known, and a wait takes ``BUSY_S``. A
    write before the wait begins, while the scheduler still goes round, may be seen in the next round only.

    Args:
        file: the database; None if it is none of SQLite's.
    """

    def __init__(self, file: str | None) -> None:
        opened = f"file:{file}?mode=ro"
        self._database = sqlite3.connect(opened, uri=True, timeout=LOOK_EVERY_S) if file else None

    def _version(self) -> int:
        try:
            return int(self._database.execute("PRAGMA data_version").fetchone()[0]) if self._database else 0
        except sqlite3.OperationalError:  # it is being written
            return -1

    def wait(self, nothing_else: Callable[[], bool], at_most_s: float) -> None:
        """Return when there was a write since the call, when there is something else, or after some time."""
        began, version = time.monotonic(), self._version()
        end = began + (at_most_s if self._database else min(at_most_s, BUSY_S))
        while nothing_else() and self._version() == version and time.monotonic() < end:
            time.sleep(LOOK_EVERY_S)
