"""Having a run of another DAG."""

from typing import TYPE_CHECKING

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

_ACTIVE = ["queued", "running"]


class EnsureDagRunOperator(TriggerDagRunOperator):
    """Triggers a run of another DAG unless one is active; does not wait for it.

    For a DAG that runs for weeks: a second run would wait for the end of the first, and then begin anew
    what a person had just stopped. Arguments are those of ``TriggerDagRunOperator``.
    """

    def execute(self, context: "Context") -> None:
        """Trigger a run, or say that there is one."""
        if active := context["ti"].get_dr_count(self.trigger_dag_id, states=_ACTIVE):
            self.log.info("%s has %d active run: left alone", self.trigger_dag_id, active)
            return
        self.log.info("%s has no active run: triggering one", self.trigger_dag_id)
        super().execute(context)
