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

from logpipe.airflow.operators.stop import (
    FlumeAgentStopOperator,
    ReplayerStopOperator,
    SparkStreamingStopOperator,
)

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
            "all",
            type="string",
            enum=["all", "replayer", "flume-agent1", "flume-agent2", "analytics"],
            description="What to stop",
        ),
    },
) as dag:
    replayer = ReplayerStopOperator(task_id="replayer", only=dag.param("service"))
    agent_1 = FlumeAgentStopOperator(
        task_id="agent_1",
        service="flume-agent1",
        flume_agent_conn_id="flume_agent1_default",
        only=dag.param("service"),
    )
    agent_2 = FlumeAgentStopOperator(
        task_id="agent_2",
        service="flume-agent2",
        flume_agent_conn_id="flume_agent2_default",
        empties_topic=True,
        only=dag.param("service"),
    )
    spark_job = SparkStreamingStopOperator(task_id="spark_job", only=dag.param("service"))

    chain(replayer, agent_1, agent_2, spark_job)
