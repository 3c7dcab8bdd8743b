"""### Closes a dated HDFS partition: waits for its last line, reconciles it, marks it for others to read.

**What it does.** For one day it waits until the partition is closed (agent 2 has no record of the day left
and no file of it open), makes its lines equal to what the topic holds for that day (missing lines are
written, surplus copies taken out, strays brought home, small files merged), and leaves `_manifest.json` and,
once the day is over, `_SUCCESS`. Then it emits the asset `apache_logs_partition`: schedule a DAG of your own
on it, and find the date and the number of lines in the event's `extra`.

**Start it** daily by `LOGPIPE_PARTITIONS_SCHEDULE` (for the day before), with *Trigger* for any date, or for
many by a backfill, `airflow backfill create --dag-id hdfs_partitions --from-date … --to-date …`, each run of
which takes the day before its date. It may run twice, and beside the agents.

**When a task fails**, its log ends with the reason. Clear it once that is mended:

| task | usual reason | what clearing it does |
|---|---|---|
| `closed` | agent 2 is away or behind; the log says by how much | waits again |
| `reconcile` | an agent began to write the day again, or Kafka's retention took lines | runs it again |
"""

from datetime import timedelta

from airflow.sdk import DAG, Asset

from logpipe import settings
from logpipe.operators.params import date_param
from logpipe.operators.reconcile import ReconcileOperator
from logpipe.sensors.partition_closed import HdfsPartitionClosedSensor

conf = settings.load()

with DAG(
    dag_id="hdfs_partitions",
    description="Reconciles a day's partition on HDFS, marks it, and tells others",
    doc_md=__doc__,
    schedule=conf.partitions_schedule or None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 3, "retry_delay": timedelta(minutes=1)},
    params={"date": date_param()},
) as dag:
    closed = HdfsPartitionClosedSensor(
        task_id="closed",
        logs_dir=conf.hdfs_logs_dir,
        date="{{ params.date }}",
        zone=conf.timezone,
        topic=conf.topic,
        consumer_group=conf.consumer_group,
        abandoned_after_s=conf.roll_interval_s + 60,
        timeout=6 * 3600,
        poke_interval=5,
    )
    reconcile = ReconcileOperator(
        task_id="reconcile",
        date="{{ params.date }}",
        zone=conf.timezone,
        outlets=[Asset(name="apache_logs_partition", uri=f"{conf.hdfs_url}{conf.hdfs_logs_dir}")],
    )

    closed >> reconcile
