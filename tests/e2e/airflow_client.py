"""Airflow's REST interface as a person with the page would use it."""

from typing import Any

from logpipe.clients.airflow import SERVICES_DAG, Airflow, AirflowError
from logpipe.clients.errors import UnreachableError
from tests.waiting import wait_until

ACTIVE = ("queued", "running")
SUPERVISING = {"agent_1": "flume-agent1", "agent_2": "flume-agent2", "spark_job": "analytics"}


class AirflowClient(Airflow):
    """What the command line does not need, on top of what it does."""

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Every run, newest first."""
        rows: list[dict[str, Any]] = self._request("GET", f"/dags/{dag_id}/dagRuns?order_by=-run_after")[
            "dag_runs"
        ]
        return rows

    def active_runs(self, dag_id: str) -> list[str]:
        """Ids of the runs that are not over."""
        return [run["dag_run_id"] for run in self.runs(dag_id) if run["state"] in ACTIVE]

    def tries(self, dag_id: str, run_id: str) -> dict[str, tuple[str | None, int]]:
        """Task id to its state and try number."""
        return {task.task_id: (task.state, task.try_number) for task in self.task_states(dag_id, run_id)}

    def supervised(self) -> str:
        """Id of the run whose supervising tasks are all deferred, once there is one."""

        def all_deferred() -> str:
            for run_id in self.active_runs(SERVICES_DAG):
                tries = self.tries(SERVICES_DAG, run_id)
                if all(tries[task][0] == "deferred" for task in SUPERVISING):
                    return run_id
            return ""

        return wait_until(all_deferred, 120, poll_s=1)

    def clear(self, dag_id: str, run_id: str, task_id: str) -> None:
        """Clear one task; again where Airflow's own two writes stood in each other's way (HTTP 500)."""
        body = {"dry_run": False, "task_ids": [task_id], "dag_run_id": run_id, "only_failed": False}
        path = f"/dags/{dag_id}/clearTaskInstances"
        self._checked(path, self._patiently("POST", path, is_repeatable=True, json=body))

    def mark(self, dag_id: str, run_id: str, state: str) -> None:
        """Mark a run failed or success."""
        self._request("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", json={"state": state})

    def delete(self, dag_id: str, run_id: str) -> None:
        """Delete a run."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}"
        answer = self._patiently("DELETE", path)
        if answer.is_error:
            raise AirflowError(f"DELETE {path}: {answer.status_code} {answer.text}")

    def pause(self, dag_id: str, is_paused: bool) -> None:
        """Pause a DAG, or have it go on."""
        self._request("PATCH", f"/dags/{dag_id}", json={"is_paused": is_paused})

    def backfill(self, dag_id: str, first: str, last: str) -> int:
        """Run a DAG for a range of dates; returns the backfill's id."""
        body = {"dag_id": dag_id, "from_date": first, "to_date": last, "max_active_runs": 1}

        def made() -> int | None:
            try:
                return int(self._request("POST", "/backfills", json=body)["id"])
            except UnreachableError:  # another one writes to SQLite: none was made, says Airflow
                return None

        return wait_until(made, 60, poll_s=2)

    def asset_events(self) -> list[dict[str, Any]]:
        """Every asset event, oldest first."""
        answer = self._request("GET", "/assets/events?order_by=timestamp")
        rows: list[dict[str, Any]] = answer["asset_events"]
        return rows

    def task_log(self, dag_id: str, run_id: str, task_id: str, try_number: int = 1) -> str:
        """All lines of one try's log."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/logs/{try_number}"
        return self._patiently("GET", path, accept="application/json").text
