"""The agent that writes to HDFS and the Spark job, brought up, and one of them stopped again.

Launches find what runs already and leave it alone. `ServiceStopOperator` stops at once;
`FlumeAgentStopOperator` and `ReplayerStopOperator` drain first.
"""

from airflow.sdk import DAG

from logpipe import settings
from logpipe.operators.flume_agent import FlumeAgentOperator
from logpipe.operators.service_stop import ServiceStopOperator
from logpipe.operators.spark_streaming import SparkStreamingOperator

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
    stop = ServiceStopOperator(task_id="stop", service="ftp")

    [agent, spark_job] >> stop
