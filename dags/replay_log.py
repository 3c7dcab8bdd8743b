"""### Replays a web server's log through the whole pipeline and accounts for every line.

**What it does.** It looks at the log, has a run of `stream_services` going and the services of its profile
up and healthy, replays the log, waits until all of it stands in HDFS and in the windows, and compares the
lines at the source, in HDFS and in the windows. The services stay up afterwards.

**Start it** with *Trigger*, with `make replay URL=… PACE=… LIMIT=… FORMAT=…
ADDRESSES=…`, or nightly by the setting
`LOGPIPE_REPLAY_SCHEDULE`. One run at a time; a second one waits.

**When a task fails**, its log ends with the reason and the way out. Once that is mended, clear the task:

| task | usual reason | what clearing it does |
|---|---|---|
| `source` | the log is not there, or the server refuses | looks again |
| `stream_services` | Airflow's API is away | looks again whether a run is active |
| `provision_topic` | the topic exists with another shape, or Kafka is away for 5 min | verifies it again |
| `agent_2`, `agent_1`, `spark_job` | the service does not start; its log's end says why | launches it again |
| `replay` | the source is away, cut short, or of another format | goes on after the last acknowledged line |
| `hdfs_partition` | a consumer does not drain; the log says which one | waits again |
| `account` | lines are lost: `make audit` names them, `make repair` first | compares again |
"""

from airflow.sdk import DAG, cross_downstream

from logpipe import settings
from logpipe.airflow.operators.dag_run import EnsureDagRunOperator
from logpipe.airflow.operators.days import schedule_of
from logpipe.airflow.operators.kafka_topic import KafkaTopicOperator
from logpipe.airflow.operators.launch import launches
from logpipe.airflow.operators.params import replay_params
from logpipe.airflow.operators.replay import ReplayOperator
from logpipe.airflow.operators.stop import teardown_ids
from logpipe.airflow.operators.verify import VerifyOperator
from logpipe.airflow.sensors.hdfs_partition import HdfsPartitionSensor
from logpipe.airflow.sensors.source_file import SourceFileSensor

conf = settings.load()

with DAG(
    dag_id="replay_log",
    description="Replays a log through Flume, Kafka, HDFS and Spark, and accounts for every line",
    doc_md=__doc__,
    schedule=schedule_of(conf.replay_schedule),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 1, "retry_delay": 1.0},
    params=replay_params(conf),
) as dag:
    log = {"url": dag.param("url"), "source_conn_id": dag.param("source_conn_id")}
    source = SourceFileSensor(task_id="source", **log, wait_s=dag.param("wait_s"))
    stream_services = EnsureDagRunOperator(
        task_id="stream_services",
        trigger_dag_id="stream_services",
        conf={"profile": "{{ params.profile }}"},
        ends_with=teardown_ids(),
    )
    provision_topic = KafkaTopicOperator(task_id="provision_topic")
    services = launches(dag.param("profile"))
    replay = ReplayOperator(
        task_id="replay",
        **log,
        pace=dag.param("pace"),
        profile=dag.param("profile"),
        limit=dag.param("limit"),
        format=dag.param("format"),
        addresses=dag.param("addresses"),
    )
    hdfs_partition = HdfsPartitionSensor(
        task_id="hdfs_partition",
        first_day="{{ (ti.xcom_pull('replay') or {}).get('started_at', '') }}",
        last_day="{{ (ti.xcom_pull('replay') or {}).get('finished_at', '') }}",
        timeout=600,
    )
    account = VerifyOperator(task_id="account")

    source >> [stream_services, provision_topic]
    cross_downstream([stream_services, provision_topic], services)
    services >> replay >> hdfs_partition >> account
