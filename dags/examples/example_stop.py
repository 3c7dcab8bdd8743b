"""The services of one host, drained and stopped in the direction of the flow.

`ReplayerStopOperator` stops the replays, each once what is in flight is acknowledged;
`FlumeAgentStopOperator` waits until the agent's channel is empty, and of the agent that writes to HDFS until
the topic is at its end; `SparkStreamingStopOperator` ends the job wherever it runs. A task that supervises
one of them ends well.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.stop import (
    FlumeAgentStopOperator,
    ReplayerStopOperator,
    SparkStreamingStopOperator,
)

with DAG("example_stop", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    replayer = ReplayerStopOperator(task_id="replayer")
    agent_1 = FlumeAgentStopOperator(task_id="agent_1", service="flume-agent1")
    agent_2 = FlumeAgentStopOperator(task_id="agent_2", service="flume-agent2")
    spark_job = SparkStreamingStopOperator(task_id="spark_job")

    replayer >> agent_1 >> agent_2 >> spark_job
