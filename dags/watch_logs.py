"""### Tells people of alerts.

**What it does.** The page's service looks at the rules each ten seconds, when this asks: at exact windows
as of a commit, at lag, heals, the accounting, and what runs out. The task `watch` is deferred until an
alert fires or resolves; then it sends it by each notifier that the rules name, and emits the asset
`apache_logs_alert`, called after the topic, for each that fires. The next run begins at once. Rules and
notifiers are in `conf/alerts.toml` and in a file of your own, `LOGPIPE_ALERTS_FILE`; docs/alerts.md tells
of both.

**Start it**: it runs by itself. While it is paused nobody in Airflow tells anybody; the page says so, and its
service sends what is untold by itself after some minutes.

**When a task fails**, its log ends with the reason. The next run goes on with what is untold.

| task | usual reason | what clearing it does |
|---|---|---|
| `watch` | the rules, a notifier's connection, the page's service away | waits, and sends, again |
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, Asset

from logpipe import settings
from logpipe.airflow.operators.watch import WatchOperator

conf = settings.load()

with DAG(
    dag_id="watch_logs",
    description="Sends alerts, and tells others",
    doc_md=__doc__,
    schedule="@continuous",
    # Without one Airflow 3.3 gives the second run the first one's logical date, and so never makes it.
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 10, "retry_delay": timedelta(seconds=30)},
) as dag:
    watch = WatchOperator(task_id="watch", asset=Asset(name=f"{conf.topic}_alert"))
