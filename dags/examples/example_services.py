"""The FTP server, the agent that writes to HDFS and the Spark job, brought up.

Launches find what runs already and leave it alone; with `supervise=True` each task would stay, deferred, and
heal its service. `ServiceLaunchOperator` takes one for healthy whose process runs. `example_stop` is the way
down.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.launch import (
    FlumeAgentOperator,
    ServiceLaunchOperator,
    SparkStreamingOperator,
)

with DAG("example_services", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    ftp = ServiceLaunchOperator(task_id="ftp", service="ftp")
    agent = FlumeAgentOperator(task_id="agent", service="flume-agent2", variant="durable")
    spark_job = SparkStreamingOperator(task_id="spark_job")
