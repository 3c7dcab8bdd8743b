"""A topic, and one Flume agent per host of a fleet that fills it.

`KafkaTopicOperator` creates the topic or verifies the one that is there; it never alters one.
`FlumeAgentOperator` is mapped over the hosts: each needs a connection to its process host and one to its
agent's metrics. With `supervise=True` each mapped task would stay, deferred, and heal its agent.
"""

from airflow.sdk import DAG

from logpipe.airflow.operators.kafka_topic import KafkaTopicOperator
from logpipe.airflow.operators.launch import FlumeAgentOperator

with DAG("example_agents", schedule=None, doc_md=__doc__, tags=["example"]) as dag:
    topic = KafkaTopicOperator(
        task_id="topic",
        topic="example_logs",
        partitions=6,
        topic_config={"retention.ms": "86400000"},
    )
    agents = FlumeAgentOperator.partial(
        task_id="agents", service="flume-agent1", variant="durable"
    ).expand_kwargs(
        [{"process_host_conn_id": "process_host_default", "flume_agent_conn_id": "flume_agent1_default"}]
    )

    topic >> agents
