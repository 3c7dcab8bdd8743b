"""Having a run of another DAG."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

if TYPE_CHECKING:
    from airflow.sdk import Context

_ACTIVE = ["queued", "running"]


class EnsureDagRunOperator(BaseOperator):
    """Triggers a run of another DAG unless one is active; does not wait for it.

    For a DAG that runs for weeks: a second run would wait for the end of the first, and then begin anew
    what a person had just stopped. (The standard provider's ``TriggerDagRunOperator`` has no such condition,
    and its import costs each task of a DAG 1.5 s.)

    Args:
        trigger_dag_id: the other DAG.
        conf: the run's parameters.
    """

    template_fields: Sequence[str] = ("trigger_dag_id", "conf")

    def __init__(self, *, trigger_dag_id: str, conf: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.trigger_dag_id = trigger_dag_id
        self.conf = conf

    def execute(self, context: "Context") -> str:
        """Trigger a run, or say that there is one.

        The request is made here, not by ``DagRunTriggerException``: Airflow repeats a request whose answer
        was late, is told that the run exists, and by the exception the task would have failed for it. The run
        has an id of its own, so the one that exists is the one that was asked for.

        Returns:
            Id of the run that was triggered; empty when one was active.
        """
        if context["ti"].get_dr_count(self.trigger_dag_id, states=_ACTIVE):
            self.log.info("%s has an active run: left alone", self.trigger_dag_id)
            return ""
        run_id = f"ensured__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
        self.log.info("%s has no active run: triggering %s", self.trigger_dag_id, run_id)
        answer = task_runner.SUPERVISOR_COMMS.send(
            TriggerDagRun(dag_id=self.trigger_dag_id, run_id=run_id, conf=dict(self.conf or {}))
        )
        if isinstance(answer, ErrorResponse):
            if answer.error != ErrorType.DAGRUN_ALREADY_EXISTS:
                why = answer.error.value
                raise RuntimeError(f"Airflow did not start {run_id} of {self.trigger_dag_id}: {why}")
            self.log.info("%s was started by a request whose answer came late", run_id)
        return run_id
