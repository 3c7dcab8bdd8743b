"""### Keeps what the pipeline leaves on its machine within bounds.

**What it does.** It has the NameNode's edits merged into an image, so that they do not grow for ever and a
start stays short; it deletes runs that ended more than `LOGPIPE_KEEP_RUNS_DAYS` days ago, rows and logs of
that age, and what killed commands left in the state folder. Nothing that runs is touched, however long it has
been running.

**Start it** daily by `LOGPIPE_MAINTENANCE_SCHEDULE`, or with *Trigger*. The process host runs it, as its
program `maintenance`; it may be killed and run again at any moment.

**When a task fails**, its log names the step and the reason; the other steps were done all the same.

| task | usual reason | what clearing it does |
|---|---|---|
| `maintenance` | the NameNode or Airflow's API was away | does every step again |
"""

from datetime import timedelta

from airflow.sdk import DAG

from logpipe import settings
from logpipe.airflow.operators.host_program import HostProgramOperator

conf = settings.load()

with DAG(
    dag_id="maintenance",
    description="Checkpoint of the NameNode; old runs, rows and logs go",
    doc_md=__doc__,
    schedule=conf.maintenance_schedule or None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 2, "retry_delay": timedelta(minutes=5)},
) as dag:
    maintenance = HostProgramOperator(task_id="maintenance", service="maintenance")
