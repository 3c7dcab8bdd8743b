from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.hooks.services import ProcessHostHook
from logpipe.airflow.operators.stop import FlumeAgentStopOperator, ServiceStopOperator
from tests.airflow.real_parts import METRICS, ProcessHostUnderTest, accepts, connect
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def agent(process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch) -> ProcessHostUnderTest:
    service = process_host.services["agent"]
    connect(monkeypatch, "flume_agent1_default", host="127.0.0.1", port=service.port)
    service.answer("metrics", METRICS)
    ProcessHostHook().get_conn().launch("agent", "durable")
    wait_until(lambda: accepts(service.port), 30, "the agent's port")
    return process_host


def stop(context: Any = None, **more: Any) -> list[str]:
    operator = FlumeAgentStopOperator(
        task_id="agent_1", service="agent", flume_agent_conn_id="flume_agent1_default", **more
    )
    return operator.execute(context or {})


def test_the_running_variant_is_stopped_once(agent: ProcessHostUnderTest) -> None:
    assert stop() == ["agent:durable"]
    assert stop() == []


def test_a_service_that_was_not_picked_is_skipped(agent: ProcessHostUnderTest) -> None:
    with pytest.raises(AirflowSkipException, match="Only analytics is to be stopped"):
        stop(only="analytics")
    assert ProcessHostHook().get_conn().state("agent", "durable").up


def test_what_cannot_drain_is_stopped_in_time_and_told(
    agent: ProcessHostUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    held = METRICS.replace(
        'TakeSuccessCount{component="memory"} 7.0', 'TakeSuccessCount{component="memory"} 4.0'
    )
    agent.services["agent"].answer("metrics", held)
    assert stop(drain_timeout_s=0.5) == ["agent:durable"]
    assert "agent is stopped although it holds 3 lines after 0.5 s" in capsys.readouterr().out


def test_a_service_of_one_process_is_stopped(process_host: ProcessHostUnderTest) -> None:
    ProcessHostHook().get_conn().launch("web")
    assert ServiceStopOperator(task_id="stop", service="web").execute({}) == ["web"]


def run_of(**tasks: tuple[str, bool]) -> Any:
    """A run's supervising tasks: state, and whether the service was in their care at last."""
    states = {task_id: state for task_id, (state, _) in tasks.items()}
    instance = SimpleNamespace(
        dag_id="own",
        run_id="run",
        xcom_pull=lambda task_ids, key: tasks[task_ids][1],
        get_task_states=lambda dag_id, run_ids, task_ids: {"run": {each: states[each] for each in task_ids}},
    )
    return {"ti": instance}


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_teardown_stops_what_a_person_no_longer_wants_supervised(
    agent: ProcessHostUnderTest, state: str
) -> None:
    assert stop(run_of(agent_1=(state, True)), supervised_by="agent_1") == ["agent:durable"]


@pytest.mark.parametrize("state", ["failed", "success"])
def test_a_teardown_leaves_the_service_of_a_supervision_that_ended_by_itself(
    agent: ProcessHostUnderTest, state: str
) -> None:
    assert stop(run_of(agent_1=(state, False)), supervised_by="agent_1") == []
    assert ProcessHostHook().get_conn().state("agent", "durable").up


def test_a_teardown_waits_for_those_that_send_to_its_service_and_end_too(agent: ProcessHostUnderTest) -> None:
    client = ProcessHostHook().get_conn()
    client.launch("web")
    run = run_of(agent_1=("failed", True), other=("failed", True))
    with ThreadPoolExecutor() as pool:
        stopping = pool.submit(stop, run, supervised_by="agent_1", stop_after={"other": "web"})
        with pytest.raises(TimeoutError):
            stopping.result(1)
        client.stop("web")
        assert stopping.result(30) == ["agent:durable"]


@pytest.mark.parametrize("other", [("deferred", True), ("failed", False)])
def test_a_teardown_waits_for_no_service_that_stays(
    agent: ProcessHostUnderTest, other: tuple[str, bool]
) -> None:
    ProcessHostHook().get_conn().launch("web")
    run = run_of(agent_1=("failed", True), other=other)
    assert stop(run, supervised_by="agent_1", stop_after={"other": "web"}, drain_timeout_s=300) == [
        "agent:durable"
    ]
    assert ProcessHostHook().get_conn().state("web").up
