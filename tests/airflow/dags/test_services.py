"""The DAGs know the streams of the table of services, and stop them in its order; one more is one entry."""

import runpy
from pathlib import Path

import pytest
from airflow.sdk import DAG

from logpipe.airflow.hooks.services import agent_conn_ids
from logpipe.airflow.operators.launch import launches
from logpipe.airflow.operators.stop import teardown_ids
from logpipe.hosts import services
from logpipe.hosts.services import FLUME_CONF_DIR, names, table
from logpipe.settings import PROJECT_DIR

AGENT_3 = "agent3.sources.s.port = ${env:LOGPIPE_NETCAT_PORT}\n"


def read(name: str) -> DAG:
    dag: DAG = runpy.run_path(str(PROJECT_DIR / "dags" / f"{name}.py"))["dag"]
    return dag


@pytest.fixture
def with_agent_3(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Agent 3 has a file in profile durable."""
    for file in FLUME_CONF_DIR.glob("*/agent*.properties"):
        copy = tmp_path / file.parent.name / file.name
        copy.parent.mkdir(exist_ok=True)
        copy.write_text(file.read_text())
    (tmp_path / "durable" / "agent3.properties").write_text(AGENT_3)
    monkeypatch.setattr(services, "SERVICES", table(tmp_path))


def test_the_stop_dag_stops_every_stream_in_the_tables_order() -> None:
    dag = read("stop_pipeline")
    in_order = list(reversed(names("stream")))
    assert dag.params.get_param("service").schema["enum"] == ["all", *in_order]
    assert [task.service for task in dag.topological_sort()] == in_order
    assert in_order == ["replayer", "flume-agent1", "flume-agent2", "analytics"]


def test_the_services_stop_after_those_that_send_to_them() -> None:
    dag = read("stream_services")
    after = {"agent_1": set(), "agent_2": {"agent_1"}, "spark_job": {"agent_1", "agent_2"}}
    for task_id, earlier in after.items():
        stop = dag.get_task(f"stop_{task_id}")
        assert (stop.is_teardown, stop.upstream_task_ids, set(stop.stop_after)) == (True, {task_id}, earlier)
        assert stop.service == dag.get_task(task_id).service
    assert {task.task_id for task in dag.tasks if task.is_teardown} == set(teardown_ids())


@pytest.mark.usefixtures("with_agent_3")
def test_the_file_of_another_agent_is_all_that_its_tasks_need() -> None:
    for name, downstream in (("stream_services", {"stop_agent_3"}), ("replay_log", {"replay"})):
        task = read(name).get_task("agent_3")
        assert (task.service, task.upstream_task_ids >= {"provision_topic"}) == ("flume-agent3", True)
        assert task.downstream_task_ids == downstream
        assert (task.kept().flume_agent_conn_id, task.kept().empties_topic) == ("flume_agent3_default", False)
    assert "agent_3" in read("stream_services").get_task("stop_spark_job").stop_after
    dag = read("stop_pipeline")
    order = [task.service for task in dag.topological_sort()]
    assert order == ["replayer", "flume-agent1", "flume-agent2", "flume-agent3", "analytics"]
    assert dag.params.get_param("service").schema["enum"] == ["all", *order]
    assert agent_conn_ids(empties_topic=False) == ["flume_agent3_default", "flume_agent1_default"]


@pytest.mark.usefixtures("with_agent_3")
def test_a_template_of_the_profile_reaches_every_agent() -> None:
    with DAG("own", schedule=None):
        tasks = launches("{{ params.profile }}", supervise=True)
    variants = [getattr(task, "variant", None) for task in tasks]
    assert variants == [None, *["{{ params.profile }}"] * 3]
