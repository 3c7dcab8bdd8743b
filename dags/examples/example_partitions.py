"""A team's own DAG on the pipeline's dated partitions.

It could be scheduled on the asset that `hdfs_partitions` emits, `schedule=[Asset("apache_logs_partition")]`,
and would find date and lines in `triggering_asset_events`. Here it waits for the day before and has it sealed
by itself: `HdfsPartitionClosedSensor` is true once no line of the day is missing in HDFS any more,
`SealOperator` merges it and marks it with `_SUCCESS`.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.seal import SealOperator
from logpipe.airflow.sensors.hdfs_partition import HdfsPartitionClosedSensor

with DAG("example_partitions", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    closed = HdfsPartitionClosedSensor(task_id="closed", timeout=600, poke_interval=1)
    seal = SealOperator(task_id="seal")

    closed >> seal
