"""Having a run of another DAG."""

import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ErrorResponse, TriggerDagRun

from logpipe.airflow.triggers.ownership import GOING_ON

if TYPE_CHECKING:
    from airflow.sdk import Context

_ACTIVE = ["queued", "running"]
_NOT_OVER = ["null", *sorted(state for state in GOING_ON if state)]  # the API's word for a task not yet begun
_ENDS_IN_S = 300.0
_POLL_S = 1.0


class EnsureDagRunOperator(BaseOperator):
    """Triggers a run of another DAG unless one is active; does not wait for it.

    For a DAG that runs for weeks: a second run would wait for the end of the first, and then begin anew
    what a person had just stopped. (The standard provider's ``TriggerDagRunOperator`` has no such condition,
    and its import costs each task of a DAG 1.5 s.)

    Args:
        trigger_dag_id: the other DAG.
        conf: the run's parameters.
        ends_with: ids of its teardowns: an active run that has nothing else left is about to end, and its end
            is waited for, five minutes at most.
    """

    template_fields: Sequence[str] = ("trigger_dag_id", "conf")

    def __init__(
        self,
        *,
        trigger_dag_id: str,
        conf: Mapping[str, Any] | None = None,
        ends_with: Sequence[str] = (),
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.trigger_dag_id = trigger_dag_id
        self.conf = conf
        self.ends_with = ends_with

    def execute(self, context: "Context") -> str:
        """Trigger a run, or say that there is one.

        The request is made here, not by ``DagRunTriggerException``: Airflow repeats a request whose answer
        was late, is told that the run exists, and by the exception the task would have failed for it. The run
        has an id of its own, so the one that exists is the one that was asked for.

        Returns:
            Id of the run that was triggered; empty when one was active.

        Raises:
            RuntimeError: Airflow started none, or a run that is about to end does not.
        """
        deadline = time.monotonic() + _ENDS_IN_S
        while context["ti"].get_dr_count(self.trigger_dag_id, states=_ACTIVE):
            if not self._is_ending(context):
                self.log.info("%s has an active run: left alone", self.trigger_dag_id)
                return ""
            if time.monotonic() > deadline:
                left = " or ".join(self.ends_with)
                raise RuntimeError(f"A run of {self.trigger_dag_id} does not end: see the log of its {left}")
            self.log.info("%s has a run that ends: waiting for that", self.trigger_dag_id)
            time.sleep(_POLL_S)
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

    def _is_ending(self, context: "Context") -> bool:
        """In this order of questions: a teardown that ends between them makes the second number less."""
        if not self.ends_with:
            return False
        count = context["ti"].get_ti_count
        teardowns = count(self.trigger_dag_id, task_ids=[*self.ends_with], states=_NOT_OVER)
        return bool(count(self.trigger_dag_id, states=_NOT_OVER) <= teardowns)
