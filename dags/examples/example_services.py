"""The agent that writes to HDFS and the Spark job, brought up, and the replayer stopped.

Launches find what runs already and leave it alone. `ReplayerStopOperator` and `FlumeAgentStopOperator` drain
before they stop; `ServiceStopOperator` is for services that need not.
"""

from airflow.sdk import DAG

from logpipe import settings
from logpipe.airflow.operators.flume_agent import FlumeAgentOperator
from logpipe.airflow.operators.service_stop import ReplayerStopOperator
from logpipe.airflow.operators.spark_streaming import SparkStreamingOperator

conf = settings.load()

with DAG("example_services", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    agent = FlumeAgentOperator(
        task_id="agent",
        service="flume-agent2",
        variant="durable",
        flume_agent_conn_id="flume_agent2_default",
        topic=conf.topic,
        consumer_group=conf.consumer_group,
    )
    spark_job = SparkStreamingOperator(task_id="spark_job")
    stop = ReplayerStopOperator(task_id="stop")

    [agent, spark_job] >> stop
