"""Having a run of another DAG."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import DagRunTriggerException

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

    def execute(self, context: "Context") -> None:
        """Trigger a run, or say that there is one.

        Raises:
            DagRunTriggerException: by this Airflow starts the run, and the task succeeds.
        """
        if context["ti"].get_dr_count(self.trigger_dag_id, states=_ACTIVE):
            self.log.info("%s has an active run: left alone", self.trigger_dag_id)
            return
        run_id = f"ensured__{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"
        self.log.info("%s has no active run: triggering %s", self.trigger_dag_id, run_id)
        raise DagRunTriggerException(
            trigger_dag_id=self.trigger_dag_id,
            dag_run_id=run_id,
            conf=dict(self.conf or {}),
            reset_dag_run=False,
            skip_when_already_exists=False,
            wait_for_completion=False,
            allowed_states=["success"],
            failed_states=["failed"],
            poke_interval=60,
            deferrable=False,
        )
