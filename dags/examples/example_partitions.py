"""A team's own DAG on the pipeline's dated partitions.

It could be scheduled on the asset that `hdfs_partitions` emits, `schedule=[Asset("apache_logs_partition")]`,
and would find date and lines in `triggering_asset_events`. Here it waits for the day and has it reconciled
by itself: `HdfsPartitionClosedSensor` is true once nothing is written into the day's directory any more,
`ReconcileOperator` makes its lines equal to the topic's.
"""

from airflow.sdk import DAG

from logpipe import settings
from logpipe.operators.reconcile import ReconcileOperator
from logpipe.sensors.partition_closed import HdfsPartitionClosedSensor

conf = settings.load()

with DAG("example_partitions", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    closed = HdfsPartitionClosedSensor(
        task_id="closed",
        logs_dir=conf.hdfs_logs_dir,
        zone=conf.timezone,
        topic=conf.topic,
        consumer_group=conf.consumer_group,
        abandoned_after_s=conf.roll_interval_s + 60,
        timeout=600,
        poke_interval=1,
    )
    reconcile = ReconcileOperator(task_id="reconcile", zone=conf.timezone)

    closed >> reconcile
