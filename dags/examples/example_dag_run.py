"""A team's own DAG that needs the services of another one.

`EnsureDagRunOperator` triggers a run of `stream_services` unless one is active, and does not wait for it:
that run lasts for weeks. One that has only its teardowns left is about to end, and is waited for. What needs
the services waits for them by itself, as `example_replay` does.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.dag_run import EnsureDagRunOperator
from logpipe.airflow.operators.stop import teardown_ids

with DAG("example_dag_run", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    services = EnsureDagRunOperator(
        task_id="services",
        trigger_dag_id="stream_services",
        conf={"profile": "durable"},
        ends_with=teardown_ids(),
    )
