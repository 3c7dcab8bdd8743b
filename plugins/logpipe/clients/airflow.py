"""Airflow's REST interface."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import httpx

from logpipe.clients.away import once_it_answers
from logpipe.clients.errors import RefusedError
from logpipe.clients.http import HttpService

PIPELINE_DAG = "replay_log"
SERVICES_DAG = "stream_services"
FOLLOW_DAG = "follow_logs"
PATIENCE_S = 180.0


class AirflowError(RefusedError):
    """Airflow refused a request, or has not done it in time; the message holds its words."""


@dataclass(frozen=True)
class TaskState:
    """A task of a run: its state (None before it is scheduled) and how long it has run."""

    task_id: str
    state: str | None
    duration_s: float | None
    try_number: int
    map_index: int = -1  # of a task that is mapped, from 0


def new_run_id() -> str:
    """The id of a run that a person starts now."""
    return f"manual__{datetime.now(UTC).isoformat()}"


class Airflow(HttpService):
    """Sees DAGs and runs, and starts runs. Logs in with its first question.

    Every method raises UnreachableError when the API server does not answer: what asks, or starts a run, has
    waited for it then, since it may be restarted, or its database be away.
    """

    what = "API server of Airflow"
    timeout_s = 30
    patience_s: float = PATIENCE_S  # for a question that has no answer
    _token = ""

    @property
    def url(self) -> str:
        """Where its page is."""
        return f"{self._scheme}://{self.hosts[0]}:{self.port}"

    def _log_in(self) -> None:
        user, password = self._auth or ("", "")
        answer = self.call("POST", "/auth/token", json={"username": user, "password": password})
        self._token = str(self._checked("POST /auth/token", answer)["access_token"])

    def _checked(self, request: str, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise AirflowError(f"{self} refused {request}: HTTP {answer.status_code} {answer.text[:500]}")
        return answer.json()

    def _request(self, method: str, path: str, **arguments: Any) -> Any:
        return self._checked(f"{method} {path}", self._patiently(method, path, **arguments))

    def _patiently(
        self, method: str, path: str, *, is_repeatable: bool = False, **arguments: Any
    ) -> httpx.Response:
        """Ask, logged in; a question, or what is the same once and twice, again while there is no answer."""
        is_repeatable = is_repeatable or method in ("GET", "DELETE")

        def ask() -> httpx.Response:
            answer = self._logged_in(method, path, **arguments)
            if answer.status_code == httpx.codes.UNAUTHORIZED:  # the token has run out
                self._token = ""
                answer = self._logged_in(method, path, **arguments)
            return answer

        return once_it_answers(ask, self.patience_s if is_repeatable else 0)

    def _logged_in(self, method: str, path: str, *, accept: str = "*/*", **arguments: Any) -> httpx.Response:
        if not self._token:
            self._log_in()
        headers = {"Authorization": f"Bearer {self._token}", "Accept": accept}
        return self.call(method, f"/api/v2{path}", headers=headers, **arguments)

    def has_dag(self, dag_id: str) -> bool:
        """Whether the DAG processor has read the DAG."""
        return self._patiently("GET", f"/dags/{dag_id}").is_success

    def is_paused(self, dag_id: str) -> bool:
        """Whether the DAG begins no run that waits."""
        return bool(self._request("GET", f"/dags/{dag_id}")["is_paused"])

    def import_errors(self) -> list[str]:
        """Stack traces of DAG files that do not load."""
        return [row["stack_trace"] for row in self._request("GET", "/importErrors")["import_errors"]]

    def trigger(self, dag_id: str, conf: dict[str, Any], run_id: str | None = None) -> str:
        """Start a run with parameters, of a given id unless there is one already; returns its id.

        The id is known before: when no answer came, it tells whether the run is there.
        """
        path = f"/dags/{dag_id}/dagRuns"
        run_id = run_id or new_run_id()
        body = {"logical_date": None, "conf": conf, "dag_run_id": run_id}
        answer = self._patiently("POST", path, is_repeatable=True, json=body)
        if answer.status_code == httpx.codes.CONFLICT:
            return run_id
        return str(self._checked(f"POST {path}", answer)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """State of a run: queued, running, success or failed."""
        return str(self._request("GET", f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_states(self, dag_id: str, run_id: str) -> list[TaskState]:
        """The tasks of a run."""
        rows = self._request("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances")["task_instances"]
        return [
            TaskState(row["task_id"], row["state"], row["duration"], row["try_number"], row["map_index"])
            for row in rows
        ]

    def heals(self) -> dict[str, list[dict[str, Any]]]:
        """The heals of the newest run of `SERVICES_DAG`, by task, the oldest first; as its XCom has them."""
        query = {"limit": 1, "order_by": "-run_after"}
        runs = self._request("GET", f"/dags/{SERVICES_DAG}/dagRuns", query=query)["dag_runs"]
        if not runs:
            return {}
        run_id = runs[0]["dag_run_id"]
        tasks = [task.task_id for task in self.task_states(SERVICES_DAG, run_id)]
        return {task: self.xcom(SERVICES_DAG, run_id, task, "heals") or [] for task in tasks}

    def delete_runs(self, ended_before: datetime) -> int:
        """Delete runs, with their tasks and XComs, that ended before a moment; returns how many.

        A run that goes on is none of them, however long it does. Airflow's `db clean` would take it by the
        day it began, and by its trigger, and so end a supervision.
        """
        query = {"end_date_lte": ended_before.isoformat(), "limit": 100}
        deleted = 0
        while rows := self._request("GET", "/dags/~/dagRuns", query=query)["dag_runs"]:
            for row in rows:
                path = f"/dags/{row['dag_id']}/dagRuns/{quote(row['dag_run_id'], safe='')}"
                answer = self._patiently("DELETE", path)
                if answer.is_error and answer.status_code != httpx.codes.NOT_FOUND:
                    self._checked(f"DELETE {path}", answer)
            deleted += len(rows)
        return deleted

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value") -> Any:
        """What a task left under a key; None when it left nothing (yet)."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        answer = self._patiently("GET", path, query={"deserialize": "false", "stringify": "false"})
        return answer.json()["value"] if answer.status_code == httpx.codes.OK else None

    def task_log_tail(self, dag_id: str, run_id: str, task: TaskState, lines: int = 15) -> str:
        """The end of a task's log, for a person; of its last try that has left words."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}/logs"
        for number in range(max(1, task.try_number), 0, -1):
            answer = self._patiently(
                "GET", f"{path}/{number}", query={"map_index": task.map_index}, accept="application/json"
            )
            if answer.is_success and (told := _told(answer.json()["content"])):
                return "\n".join(told[-lines:])
        return f"(none of its {max(1, task.try_number)} logs has a word; see the log of airflow-scheduler)"


def _told(rows: list[Any]) -> list[str]:
    """The lines of a task's log, as Airflow answers it."""
    texts = [row["event"] if isinstance(row, dict) else str(row) for row in rows]
    errors = [
        f"{detail['exc_type']}: {detail['exc_value']}"
        for row in rows
        if isinstance(row, dict)
        for detail in row.get("error_detail") or []
    ]
    told = [text for text in texts if not text.startswith("::")]  # marks of the page, which folds groups
    return told + errors
