"""### Stops the streaming services, drained and in order.

**What it does.** It stops the replays and the replayer, then Flume agent 1, Flume agent 2 and the Spark job,
each once nothing it holds would be lost. Kafka, HDFS and Airflow stay up: `make stop` stops those too. A run
of `stream_services` ends by itself, successfully, once its services are stopped.

**Start it** with *Trigger*; `service` picks a single one. A service that does not run is no error.

**When a task fails**, the process has not ended in time, or its process host is away; clear it to try again.

| task | waits before the stop until |
|---|---|
| `replayer` | the lines in flight are acknowledged |
| `agent_1` | its channel is empty |
| `agent_2` | its channel is empty and the topic is read to its end |
| `spark_job` | nothing: it goes on from its checkpoint |
"""

from airflow.sdk import DAG, Param, chain

from logpipe.airflow.operators.stop import ALL_SERVICES, stops
from logpipe.hosts.services import streams

with DAG(
    dag_id="stop_pipeline",
    description="Stops replays, agents and the Spark job in order, each drained",
    doc_md=__doc__,
    schedule=None,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    # A service that is skipped, since another one was picked, holds up nothing.
    default_args={"owner": "logpipe", "retries": 0, "trigger_rule": "none_failed"},
    params={
        "service": Param(
            ALL_SERVICES,
            type="string",
            enum=[ALL_SERVICES, *(service.name for service, _ in reversed(streams()))],
            description="What to stop",
        ),
    },
) as dag:
    chain(*stops(dag.param("service")))
