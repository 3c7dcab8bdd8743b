"""### Seals a day on HDFS: waits until it is over, merges its files, marks it for others, reports on it.

**What it does.** For one day it waits until it is over (the chain of each partition of the topic has passed
the day's midnight), proves each file by its digest, merges them into few large files with `_manifest.json`
and `_SUCCESS`, and takes the links of the day away. A day that profile `memory` has read is over by what it
has committed, and is written anew from the topic. A damaged file is written again from the topic first.
Then it emits the asset `apache_logs_partition`, called after the topic, as a whole and by the partition of
its date: schedule a DAG of your own on either, and find date, lines and digest in the event's `extra`. A day
without lines is nothing to do, and no event; one that is not sealed within `LOGPIPE_SEALED_WITHIN_HOURS` is
an alert. Sealed days older than `LOGPIPE_KEEP_DAYS` are forgotten. At last the day's lines are read again and
counted: `_report.html` and `_report.json` beside the manifest, a click away from the task (*Report*) and from
the page *Logs*.

**Start it** daily by `LOGPIPE_PARTITIONS_SCHEDULE` (for the day before), with *Trigger* for any date, or for
many by a backfill (in the same dialog, or `airflow backfill create --dag-id hdfs_partitions …`), each run of
which takes the day before its date, and makes the report of a day that is sealed already. It may run twice,
be killed at any moment, and beside the agents.

**When a task fails**, its log ends with the reason. Clear it once that is mended:

| task | usual reason | what clearing it does |
|---|---|---|
| `closed` | agent 2 is away or behind; the log says by how much | waits again |
| `seal` | a file is damaged and Kafka's retention took its lines; the log names both | runs it again |
| `report` | a sealed file was damaged since: `make repair DATE=…` mends it | counts again |
"""

from datetime import timedelta

from airflow.sdk import DAG
from airflow.sdk.definitions.callback import SyncCallback
from airflow.sdk.definitions.deadline import DeadlineAlert, DeadlineReference

from logpipe import settings
from logpipe.airflow.operators.days import schedule_of
from logpipe.airflow.operators.lineage import days_asset, topic_asset
from logpipe.airflow.operators.params import date_param
from logpipe.airflow.operators.report import ReportOperator
from logpipe.airflow.operators.seal import SealOperator, day_is_late
from logpipe.airflow.sensors.hdfs_partition import HdfsPartitionClosedSensor

conf = settings.load()

with DAG(
    dag_id="hdfs_partitions",
    description="Seals a day's partition on HDFS, tells others, and reports on it",
    doc_md=__doc__,
    schedule=schedule_of(conf.partitions_schedule),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 3, "retry_delay": timedelta(minutes=1)},
    params={"date": date_param()},
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT,
        interval=timedelta(hours=conf.sealed_within_hours),
        callback=SyncCallback(day_is_late),
    ),
) as dag:
    closed = HdfsPartitionClosedSensor(
        task_id="closed",
        date="{{ params.date }}",
        timeout=6 * 3600,
        poke_interval=5,
    )
    seal = SealOperator(
        task_id="seal",
        date="{{ params.date }}",
        inlets=[topic_asset(conf)],
        outlets=[days_asset(conf)],
    )
    report = ReportOperator(task_id="report", date="{{ params.date }}")

    closed >> seal >> report
