"""### Mends a day's files on HDFS, the exception: what is missing or damaged is written from the topic.

**What it does.** For one day it reads each file and holds it against its link or the day's manifest. A file
that is missing or has other bytes is written again from the topic; one that belongs to nothing is moved to
`_aside`. A sealed day gets `_manifest.json` and `_SUCCESS` again. The task's XCom has what was done.

**Start it** with *Trigger* and a date, or by *Repair* beside a day on the page *Logs*, when `make verify` or
the page names a file. It may run twice, be killed at any moment, and beside the agents. Lines lost on
their way to Kafka are no day's: `make repair` sends them again.

**When a task fails**, its log ends with the reason. Clear it once that is mended:

| task | usual reason | what clearing it does |
|---|---|---|
| `repair` | Kafka's retention took lines of a damaged file; the log names it, and the way out | reads again |
"""

from datetime import timedelta

from airflow.sdk import DAG

from logpipe.airflow.operators.params import date_param
from logpipe.airflow.operators.repair import RepairOperator

with DAG(
    dag_id="repair_day",
    description="Mends a day's files on HDFS from the topic",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 2, "retry_delay": timedelta(minutes=1)},
    params={"date": date_param()},
) as dag:
    repair = RepairOperator(task_id="repair", date="{{ params.date }}")
