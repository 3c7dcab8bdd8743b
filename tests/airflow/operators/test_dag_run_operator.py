"""A run that is about to end is waited for, whatever of it ends between two questions."""

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time import task_runner

from logpipe.airflow.operators import dag_run
from logpipe.airflow.operators.dag_run import EnsureDagRunOperator

STOPS = ["stop_agent_1", "stop_agent_2"]


class OtherRun:
    """A run of which one more task is over with each question, as Airflow's API tells a task."""

    def __init__(self, *not_over: str) -> None:
        self.not_over = list(not_over)

    def get_dr_count(self, dag_id: str, states: list[str]) -> int:
        return int(bool(self.not_over))

    def get_ti_count(self, dag_id: str, states: list[str], task_ids: list[str] | None = None) -> int:
        found = len([task for task in self.not_over if task_ids is None or task in task_ids])
        if self.not_over and self.not_over[0] in STOPS:
            del self.not_over[0]
        return found


def ensured(run: OtherRun, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(dag_run, "_POLL_S", 0)
    monkeypatch.setattr(
        task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=lambda message: None), raising=False
    )
    operator = EnsureDagRunOperator(task_id="ensure", trigger_dag_id="other", ends_with=STOPS)
    context: Any = {"ti": run}
    return operator.execute(context)


@pytest.mark.parametrize("left", [1, 2])
def test_a_run_with_only_its_teardowns_left_is_waited_for(left: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ensured(OtherRun(*STOPS[-left:]), monkeypatch).startswith("ensured__")


def test_a_run_that_goes_on_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert ensured(OtherRun("agent_1", *STOPS), monkeypatch) == ""
