"""### Follows the log of a web server for as long as the server writes it.

**What it does.** It has a run of `stream_services` going and the services of its profile up and healthy, and
has the replayer follow a log, or all that a pattern finds: each line that the server writes is in HDFS and
in the windows within seconds, through rotations and restarts. The task `follow` stays deferred as long as the
log is followed, and heals the replayer. Where there are several edge hosts, each follows its own file of that
name. Airflow may be restarted meanwhile: the log is followed on.

**Start it** with *Trigger*, or with `make follow LOG=… FORMAT=… FROM=…
ADDRESSES=…`. A run stands for a log, or a
pattern, until it is unfollowed; a log that is followed already is taken over.

**End it** with `make unfollow LOG=…`, or by marking the run failed or successful: what is in flight is
settled. Clearing a task stops nothing. When the replayer is stopped (`stop_pipeline`) the run ends well, and
the log is followed on, from where it was, as soon as a replayer runs.

**When a task fails**, its log ends with the reason and the way out. Once that is mended, clear the task:

| task | usual reason | what clearing it does |
|---|---|---|
| `stream_services` | Airflow's API is away | looks again whether a run is active |
| `provision_topic` | the topic exists with another shape | verifies it again |
| `agent_2`, `agent_1`, `spark_job` | the service does not start; its log's end says why | launches it again |
| `hosts` | the connection to the replayer is missing | reads it again |
| `follow` | the log may not be read, or is none; its format is another | supervises it again |
| `unfollow` | the replayer is away for long | ends what was still followed when the run was marked |
"""

from airflow.sdk import DAG, cross_downstream

from logpipe import settings
from logpipe.airflow.operators.dag_run import EnsureDagRunOperator
from logpipe.airflow.operators.follow import (
    FollowEndOperator,
    FollowingHostsOperator,
    FollowLogOperator,
)
from logpipe.airflow.operators.kafka_topic import KafkaTopicOperator
from logpipe.airflow.operators.launch import launches
from logpipe.airflow.operators.params import follow_params
from logpipe.airflow.operators.stop import teardown_ids

conf = settings.load()

with DAG(
    dag_id="follow_logs",
    description="Follows web servers' logs as they are written, through every rotation",
    doc_md=__doc__,
    schedule=None,
    catchup=False,
    max_active_runs=100,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 1, "retry_delay": 1.0},
    params=follow_params(conf),
) as dag:
    stream_services = EnsureDagRunOperator(
        task_id="stream_services",
        trigger_dag_id="stream_services",
        conf={"profile": "{{ params.profile }}"},
        ends_with=teardown_ids(),
    )
    provision_topic = KafkaTopicOperator(task_id="provision_topic")
    services = launches(dag.param("profile"))
    hosts = FollowingHostsOperator(task_id="hosts")
    follow = FollowLogOperator.partial(
        task_id="follow",
        path=dag.param("log"),
        log_format=dag.param("format"),
        start=dag.param("start"),
        olddir=dag.param("olddir"),
        addresses=dag.param("addresses"),
        profile=dag.param("profile"),
        supervise=True,
    ).expand(host=hosts.output)

    cross_downstream([stream_services, provision_topic], services)
    (
        [*services, hosts]
        >> follow
        >> FollowEndOperator(task_id="unfollow", supervised_by="follow").as_teardown()
    )
