"""A launch can be mapped over a fleet of hosts."""

from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from logpipe.airflow.operators.launch import FlumeAgentOperator

FLEET = [
    {"process_host_conn_id": f"process_host_{host}", "flume_agent_conn_id": f"flume_agent1_{host}"}
    for host in ("web1", "web2", "web3")
]


def test_agents_of_a_fleet_are_one_mapped_task() -> None:
    with DAG("fleet", schedule=None) as dag:
        FlumeAgentOperator.partial(
            task_id="agents", service="flume-agent1", variant="durable", supervise=True
        ).expand_kwargs(FLEET)
    rebuilt = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    assert rebuilt.get_task("agents").is_mapped
    last = FlumeAgentOperator(
        task_id="agents", service="flume-agent1", variant="durable", supervise=True, **FLEET[-1]
    ).kept()
    assert (last.process_host_conn_id, last.flume_agent_conn_id) == ("process_host_web3", "flume_agent1_web3")
