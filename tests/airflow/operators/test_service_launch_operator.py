import asyncio
import re
from dataclasses import replace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from logpipe.airflow.hooks.services import ProcessHostHook
from logpipe.airflow.operators.launch import (
    FlumeAgentOperator,
    ServiceNotHealthyError,
    SparkStreamingOperator,
)
from logpipe.airflow.triggers.service import ServiceTrigger
from logpipe.clients.errors import UnreachableError
from logpipe.hosts import services
from logpipe.hosts.services import named
from tests.airflow.real_parts import METRICS, ProcessHostUnderTest, connect

pytestmark = pytest.mark.integration


@pytest.fixture
def host(process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch) -> ProcessHostUnderTest:
    small = process_host.services
    connect(monkeypatch, "flume_agent1_default", host="127.0.0.1", port=small["agent"].port)
    connect(monkeypatch, "spark_driver_default", host="127.0.0.1", port=small["web"].port)
    return process_host


def agent(**more: Any) -> FlumeAgentOperator:
    values = {"service": "agent", "variant": "memory", "flume_agent_conn_id": "flume_agent1_default"} | more
    return FlumeAgentOperator(task_id="agent", **values)


def test_a_service_that_gets_healthy_soon_needs_no_triggerer(host: ProcessHostUnderTest) -> None:
    host.services["agent"].answer("metrics", METRICS)
    outcome = agent().execute({})
    assert outcome["healthy"]
    assert outcome["service"] == "agent:memory"
    assert outcome["reason"] == "7 events taken, 0 drained, 0 held in memory"


def test_a_second_launch_reattaches(host: ProcessHostUnderTest) -> None:
    host.services["agent"].answer("metrics", METRICS)
    first, second = agent().execute({}), agent().execute({})
    assert second["process"] == first["process"]


async def test_a_slow_service_is_left_to_the_triggerer(host: ProcessHostUnderTest) -> None:
    operator = agent(first_look_s=0.1)
    with pytest.raises(TaskDeferred) as deferral:
        await asyncio.to_thread(operator.execute, {})
    trigger = deferral.value.trigger
    assert isinstance(trigger, ServiceTrigger)
    assert deferral.value.method_name == "execute_complete"

    watching = anext(aiter(trigger.run()))
    host.services["agent"].answer("metrics", METRICS)
    event = await asyncio.wait_for(watching, 20)
    assert operator.execute_complete({}, event.payload)["healthy"]


def test_a_service_that_keeps_ending_fails_with_its_last_log_lines(host: ProcessHostUnderTest) -> None:
    with pytest.raises(ServiceNotHealthyError) as error:
        agent(service="broken", variant=None, first_look_s=40).execute({})
    assert re.search(r"broken is not healthy after [\d.]+ s: it ended 3 times", str(error.value))
    assert str(error.value).splitlines()[-1] == "no such file: conf.xml ?"


def test_a_service_that_never_gets_healthy_fails_in_time_and_says_what_was_seen(
    host: ProcessHostUnderTest,
) -> None:
    with pytest.raises(ServiceNotHealthyError, match=r"flume_agent1_default.*HTTP 503"):
        agent(start_timeout_s=2).execute({})


def test_a_driver_is_healthy_once_its_application_is_there(host: ProcessHostUnderTest) -> None:
    host.services["web"].answer("api_v1_applications", '[{"id": "local-1"}]')
    outcome = SparkStreamingOperator(task_id="spark_job", service="web").execute({})
    assert outcome["reason"] == "application local-1"


async def test_a_launch_waits_for_its_process_host(host: ProcessHostUnderTest) -> None:
    host.services["agent"].answer("metrics", METRICS)
    host.end()
    launching = asyncio.create_task(asyncio.to_thread(agent(first_look_s=30).execute, {}))
    await asyncio.sleep(0)
    host.start()
    assert (await asyncio.wait_for(launching, 60))["healthy"]


def test_a_launch_without_a_process_host_fails_when_its_time_is_over(host: ProcessHostUnderTest) -> None:
    host.end()
    try:
        with pytest.raises(UnreachableError, match="process_host_default"):
            agent(start_timeout_s=0.1).execute({})
    finally:
        host.start()


def test_an_agent_without_a_file_in_a_profile_is_stopped(
    host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = replace(named("flume-agent1"), name="agent", variants=("durable",))
    monkeypatch.setattr(services, "SERVICES", (entry,))
    process_host = ProcessHostHook().get_conn()
    process_host.launch("agent", "durable")
    assert agent(variant="memory").execute({}) == {}
    assert not any(process.up for process in process_host.variants("agent"))
