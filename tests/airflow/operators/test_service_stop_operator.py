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


def stop(**more: Any) -> list[str]:
    operator = FlumeAgentStopOperator(
        task_id="agent_1", service="agent", flume_agent_conn_id="flume_agent1_default", **more
    )
    return operator.execute({})


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
