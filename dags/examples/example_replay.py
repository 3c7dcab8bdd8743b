"""A log is waited for, replayed, seen in HDFS and accounted for.

`SourceFileSensor` waits until the log can be read, `ReplayOperator` sends it line by line and goes on where
it was when it is tried again, `HdfsPartitionSensor` waits until the consumers have drained, and
`VerifyOperator` compares the lines everywhere. The services must be up: see `example_services`.
"""

from airflow.sdk import DAG

from logpipe import settings
from logpipe.airflow.operators.replay import ReplayOperator
from logpipe.airflow.operators.verify import VerifyOperator
from logpipe.airflow.sensors.hdfs_partition import HdfsPartitionSensor
from logpipe.airflow.sensors.source_file import SourceFileSensor

conf = settings.load()

with DAG("example_replay", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    source = SourceFileSensor(task_id="source", url=conf.replay_url, wait_s=600)
    replay = ReplayOperator(task_id="replay", url=conf.replay_url, pace="max", profile="durable", limit=100)
    arrived = HdfsPartitionSensor(
        task_id="arrived",
        first_day="{{ ti.xcom_pull('replay')['started_at'] }}",
        timeout=600,
    )
    account = VerifyOperator(task_id="account")

    source >> replay >> arrived >> account
