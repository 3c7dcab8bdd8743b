"""Airflow's LocalExecutor, with tasks that find loaded what they need."""

from importlib import import_module
from pkgutil import iter_modules

from airflow.executors.local_executor import LocalExecutor as AirflowsExecutor

# Of Airflow, what runs a task; of ours, where it is written what one does, and what these load as they do it.
_MODULES = (
    "airflow.dag_processing.dagbag",
    "airflow.sdk.execution_time.task_runner",
    "logpipe.accounting.drain",
    "logpipe.accounting.verify",
)
_ROOMS = ("logpipe.airflow.operators", "logpipe.airflow.sensors", "logpipe.airflow.triggers")


class LocalExecutor(AirflowsExecutor):
    """Loads the tasks' code before its workers are forked.

    A task is a fork of a worker, and a worker one of the scheduler. What the scheduler has loaded no task
    loads again, each of them for a second of CPU. Code that is changed takes effect with the scheduler's
    next start; DAG files are read by each task as ever.
    """

    def start(self) -> None:
        """Load, then fork the workers."""
        for name in _MODULES:
            import_module(name)
        for room in _ROOMS:
            for module in iter_modules(import_module(room).__path__, f"{room}."):
                import_module(module.name)
        super().start()
