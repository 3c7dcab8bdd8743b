"""### Keeps the streaming services up and healthy until a person ends it.

**What it does.** It provisions the Kafka topic and has Flume agent 2, Flume agent 1 and the Spark job up,
each supervised by a task of its own, which stays deferred for as long as the service is healthy. A service
that died is back within seconds, one that hangs within a minute; each such heal stands in the task's log
and in its XCom `heals`. Airflow may be restarted or upgraded meanwhile: the services run on.

**Start it** with *Trigger*, or by the setting `LOGPIPE_SERVICES_SCHEDULE`; a run of `replay_log` starts it
when none is active. One run at a time: a second one waits until the first has ended.

**End it** with the DAG `stop_pipeline`, or by marking the run failed or successful: the services are drained
and stopped by the teardowns of their tasks, agent 1 first, and then the run has ended. Clearing a task stops
nothing; its next try takes over what runs.

**When a task fails**, its log ends with the service's last lines.

| task | usual reason | what clearing it does |
|---|---|---|
| `provision_topic` | the topic exists with another shape | verifies it again |
| `agent_2`, `agent_1`, `spark_job` | it does not start, or needed too many heals | launches it again |
| `stop_agent_1`, `stop_agent_2`, `stop_spark_job` | its process host is away for long | stops it |
"""

from airflow.sdk import DAG

from logpipe import settings
from logpipe.airflow.operators.days import schedule_of
from logpipe.airflow.operators.kafka_topic import KafkaTopicOperator
from logpipe.airflow.operators.launch import launches
from logpipe.airflow.operators.params import profile_param
from logpipe.airflow.operators.stop import teardowns

conf = settings.load()

with DAG(
    dag_id="stream_services",
    description="Keeps both Flume agents and the Spark job up and healthy",
    doc_md=__doc__,
    schedule=schedule_of(conf.services_schedule),
    catchup=False,
    max_active_runs=1,
    is_paused_upon_creation=False,
    tags=["apache_logs"],
    default_args={"owner": "logpipe", "retries": 0},
    params={"profile": profile_param(conf)},
) as dag:
    provision_topic = KafkaTopicOperator(task_id="provision_topic")
    services = launches(dag.param("profile"), supervise=True)
    provision_topic >> services
    teardowns(services)
