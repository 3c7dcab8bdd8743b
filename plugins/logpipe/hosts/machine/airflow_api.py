"""Airflow's REST interface, as far as the command line needs it."""

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast
from urllib.parse import quote

import httpx

from logpipe.hosts.layout import AIRFLOW_USER, Layout
from logpipe.settings import Settings

PIPELINE_DAG = "replay_log"
SERVICES_DAG = "stream_services"


PATIENCE_S = 180.0


class AirflowApiError(Exception):
    """Airflow refused a request; the message holds its words."""


@dataclass(frozen=True)
class TaskState:
    """A task of a run: its state (None before it is scheduled) and how long it has run."""

    task_id: str
    state: str | None
    duration_s: float | None
    try_number: int


class AirflowApi:
    """A logged-in client of this copy's Airflow."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self.url = f"http://{settings.host}:{settings.airflow_port}"
        self._client = httpx.Client(base_url=self.url, timeout=30)
        self._password = layout.secrets()["airflow_admin_password"]
        self._log_in()

    def _log_in(self) -> None:
        answer = self._client.post("/auth/token", json={"username": AIRFLOW_USER, "password": self._password})
        self._client.headers["Authorization"] = f"Bearer {self._checked(answer)['access_token']}"

    @staticmethod
    def _checked(answer: httpx.Response) -> dict[str, Any]:
        if answer.is_error:
            raise AirflowApiError(
                f"{answer.request.method} {answer.request.url.path}: {answer.status_code} {answer.text[:500]}"
            )
        return cast(dict[str, Any], answer.json())

    def _request(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        answer = self._patiently(method, path, **arguments)
        if answer.status_code == httpx.codes.UNAUTHORIZED:  # the token has run out
            self._log_in()
            answer = self._patiently(method, path, **arguments)
        return self._checked(answer)

    def _patiently(self, method: str, path: str, **arguments: Any) -> httpx.Response:
        """Ask; while the API server is restarted, or its database away, a question is asked again."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            is_over = method != "GET" or time.monotonic() > deadline
            try:
                answer = self._client.request(method, f"/api/v2{path}", **arguments)
            except httpx.TransportError as error:
                if is_over:
                    raise AirflowApiError(f"{method} {self.url}{path}: {error}") from error
            else:
                if is_over or not answer.is_server_error:
                    return answer
            time.sleep(1)

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG processor has read the DAG."""
        return self._client.get(f"/api/v2/dags/{dag_id}").status_code == httpx.codes.OK

    def import_errors(self) -> list[str]:
        """Stack traces of DAG files that do not load."""
        return [row["stack_trace"] for row in self._request("GET", "/importErrors")["import_errors"]]

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        """Start a run with parameters; returns its id."""
        body = {"logical_date": None, "conf": conf}
        return str(self._request("POST", f"/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self._request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The tasks of a run."""
        rows = self._request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return [TaskState(row["task_id"], row["state"], row["duration"], row["try_number"]) for row in rows]

    def delete_runs(self, ended_before: datetime) -> int:
        """Delete runs, with their tasks and XComs, that ended before a moment; returns how many.

        A run that goes on is none of them, however long it does. Airflow's `db clean` would take it by the
        day it began, and by its trigger, and so end a supervision.
        """
        query = {"end_date_lte": ended_before.isoformat(), "limit": 100}
        deleted = 0
        while rows := self._request("GET", "/dags/~/dagRuns", params=query)["dag_runs"]:
            for row in rows:
                path = f"/dags/{row['dag_id']}/dagRuns/{quote(row['dag_run_id'], safe='')}"
                answer = self._patiently("DELETE", path)
                if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
                    self._checked(answer)
            deleted += len(rows)
        return deleted

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task left under a key; None when it left nothing (yet)."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self._patiently("GET", path, params={"deserialize": "false", "stringify": "false"})
        return answer.json()["value"] if answer.status_code == httpx.codes.OK else None

    def task_log_tail(self, dag_id: str, run_id: str, task: TaskState, lines: int = 15) -> str:
        """The end of a task's log, for a person."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs/{max(1, task.try_number)}"
        answer = self._patiently("GET", path, headers={"Accept": "application/json"})
        if answer.is_error:
            return f"(no log: {answer.status_code})"
        rows = answer.json()["content"]
        texts = [row["event"] if isinstance(row, dict) else str(row) for row in rows]
        errors = [
            f"{detail['exc_type']}: {detail['exc_value']}"
            for row in rows
            if isinstance(row, dict)
            for detail in row.get("error_detail") or []
        ]
        told = [text for text in texts if not text.startswith("::")]  # marks of the page, which folds groups
        return "\n".join((told + errors)[-lines:])
