"""A team's own DAG on the pipeline's dated partitions.

It could be scheduled on the asset that `hdfs_partitions` emits, `schedule=[Asset("apache_logs_partition")]`,
and would find date, lines and digest in `triggering_asset_events`. Here it waits for the day before and has
it sealed by itself: `HdfsPartitionClosedSensor` is true once no line of the day is missing in HDFS any more,
`RepairOperator` mends what somebody has damaged, `SealOperator` merges it and marks it with `_SUCCESS`,
`ReportOperator` counts its lines.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.repair import RepairOperator
from logpipe.airflow.operators.report import ReportOperator
from logpipe.airflow.operators.seal import SealOperator
from logpipe.airflow.sensors.hdfs_partition import HdfsPartitionClosedSensor

with DAG("example_partitions", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    closed = HdfsPartitionClosedSensor(task_id="closed", timeout=600, poke_interval=1)
    repair = RepairOperator(task_id="repair")
    seal = SealOperator(task_id="seal")
    report = ReportOperator(task_id="report")

    closed >> repair >> seal >> report
