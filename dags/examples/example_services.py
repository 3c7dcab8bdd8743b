"""The agent that writes to HDFS and the Spark job, brought up, and the replayer stopped.

Launches find what runs already and leave it alone. `ReplayerStopOperator` and `FlumeAgentStopOperator` drain
before they stop; `ServiceStopOperator` is for services that need not.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.launch import FlumeAgentOperator, SparkStreamingOperator
from logpipe.airflow.operators.stop import ReplayerStopOperator

with DAG("example_services", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    agent = FlumeAgentOperator(
        task_id="agent",
        service="flume-agent2",
        variant="durable",
        flume_agent_conn_id="flume_agent2_default",
        empties_topic=True,
    )
    spark_job = SparkStreamingOperator(task_id="spark_job")
    stop = ReplayerStopOperator(task_id="stop")

    [agent, spark_job] >> stop
