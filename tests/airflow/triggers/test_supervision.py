"""A supervised service, with a real process host: healed when it dies or hangs, and never for long."""

import asyncio
import os
import signal
from typing import Any

import pytest

from logpipe.airflow.hooks.services import ProcessHostHook
from logpipe.airflow.services.kinds import FlumeAgent
from logpipe.airflow.triggers.service import ServiceEvent, ServiceTrigger
from logpipe.clients.process_host import ProcessHost
from tests.airflow.real_parts import METRICS, ProcessHostUnderTest, connect

pytestmark = pytest.mark.integration


@pytest.fixture
async def agent(process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch) -> ProcessHost:
    """Run a healthy agent; the loop of the test complains of calls that block it."""
    loop = asyncio.get_running_loop()
    loop.set_debug(True)
    connect(monkeypatch, "flume_agent1_default", host="127.0.0.1", port=process_host.services["agent"].port)
    process_host.services["agent"].answer("metrics", METRICS)
    hook = ProcessHostHook().get_conn()
    hook.launch("agent", "memory")
    assert (await supervisor(supervise=False).outcome()).healthy
    return hook


def kept(**more: Any) -> FlumeAgent:
    return FlumeAgent(service="agent", variant="memory", flume_agent_conn_id="flume_agent1_default", **more)


def supervisor(service: FlumeAgent | None = None, **more: object) -> ServiceTrigger:
    values = {
        "service": (service or kept()).serialize(),
        "supervise": True,
        "check_interval_s": 0.2,
        "hung_after_s": 1,
        "start_timeout_s": 1,
    } | more
    return ServiceTrigger(**values)  # type: ignore[arg-type]


async def ended(trigger: ServiceTrigger) -> ServiceEvent:
    event = await anext(aiter(trigger.run()))
    return ServiceEvent.from_payload(event.payload)


async def told(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Wait until the task's log holds a text."""
    log = ""
    async with asyncio.timeout(20):
        while text not in log:
            await asyncio.sleep(0.05)
            log += capsys.readouterr().out


async def new_pid(hook: ProcessHost, old: int, limit_s: float = 30) -> int:
    async with asyncio.timeout(limit_s):
        while True:
            process = hook.state("agent", "memory")
            if process.state == "RUNNING" and process.pid not in {0, old}:
                return process.pid
            await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("blow", "limit_s"),
    [(signal.SIGKILL, 10), (signal.SIGSTOP, 41)],  # promised are 10 s and 60 s, where one hangs after 20 s
    ids=["dead", "hung"],
)
async def test_a_service_is_healed_in_time_and_supervised_on(
    agent: ProcessHost, blow: signal.Signals, limit_s: float
) -> None:
    pid = agent.state("agent", "memory").pid
    watching = asyncio.create_task(ended(supervisor(launched=str(pid), start_timeout_s=20, hung_after_s=1)))
    os.kill(pid, blow)
    await new_pid(agent, pid, limit_s)
    assert not watching.done()
    agent.stop("agent", "memory")
    outcome = await asyncio.wait_for(watching, 30)
    assert outcome.stopped
    assert outcome.reason == "it was stopped on request"


async def test_a_supervision_follows_its_service_into_another_variant(
    agent: ProcessHost, capsys: pytest.CaptureFixture[str]
) -> None:
    watching = asyncio.create_task(ended(supervisor(start_timeout_s=20)))
    agent.launch("agent", "durable")
    await told(capsys, "agent:memory was stopped for agent:durable, which is supervised now")
    pid = agent.state("agent", "durable").pid
    os.kill(pid, signal.SIGKILL)
    await told(capsys, "Healed agent:durable")
    agent.stop("agent", "durable")
    assert (await asyncio.wait_for(watching, 30)).service == "agent:durable"


async def test_what_died_while_nobody_looked_counts_as_a_heal(agent: ProcessHost) -> None:
    gone = 1
    outcome = await asyncio.wait_for(ended(supervisor(launched=str(gone), max_heals=0)), 30)
    assert not outcome.healthy
    assert outcome.reason == "1 heals in 600 s, the last one since its process ended"


async def test_too_many_heals_end_the_supervision_with_the_last_log_lines(
    agent: ProcessHost, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = agent.state("agent", "memory").pid
    watching = asyncio.create_task(ended(supervisor(launched=str(pid), max_heals=1, start_timeout_s=20)))
    os.kill(pid, signal.SIGKILL)
    await told(capsys, "Healed agent:memory")
    os.kill(await new_pid(agent, pid), signal.SIGKILL)
    outcome = await asyncio.wait_for(watching, 30)
    assert outcome.reason == "2 heals in 600 s, the last one since its process ended"
    assert outcome.last_log_lines[-1] == "listening"


async def test_a_service_that_does_not_recover_is_healed_again_and_then_ends_the_supervision(
    agent: ProcessHost, process_host: ProcessHostUnderTest
) -> None:
    process_host.services["agent"].answer("metrics", "jvm_threads_current 1.0\n")
    outcome = await asyncio.wait_for(ended(supervisor(max_heals=1)), 40)
    assert outcome.reason.startswith("2 heals in 600 s")
    assert not outcome.healthy
    assert not outcome.stopped
    assert "it tells of no channel" in outcome.reason


async def test_a_channel_that_does_not_drain_is_told_and_not_killed(
    agent: ProcessHost, process_host: ProcessHostUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    stuck = METRICS.replace(
        'EventTakeSuccessCount{component="memory"} 7.0', 'EventTakeSuccessCount{component="memory"} 2.0'
    )
    process_host.services["agent"].answer("metrics", stuck)
    pid = agent.state("agent", "memory").pid
    watching = asyncio.create_task(ended(supervisor(kept(stall_after_s=0.5))))
    async with asyncio.timeout(20):
        while "full with 5 events: look at what it writes to" not in caplog.text:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    assert agent.state("agent", "memory").pid == pid
    watching.cancel()


async def test_an_agent_is_undrained_while_its_channel_holds_events(
    agent: ProcessHost, process_host: ProcessHostUnderTest
) -> None:
    assert kept().undrained() == ""
    process_host.services["agent"].answer(
        "metrics",
        METRICS.replace(
            'TakeSuccessCount{component="memory"} 7.0', 'TakeSuccessCount{component="memory"} 0.0'
        ),
    )
    assert kept().undrained() == "it holds 7 lines"


async def test_a_process_host_that_is_started_anew_ends_no_supervision(
    agent: ProcessHost, process_host: ProcessHostUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = agent.state("agent", "memory").pid
    watching = asyncio.create_task(ended(supervisor(launched=str(pid), start_timeout_s=20)))
    await asyncio.to_thread(process_host.end)
    await told(capsys, "agent goes on unwatched")
    await asyncio.to_thread(process_host.start)
    await told(capsys, "Healed agent:memory")
    agent.stop("agent", "memory")
    assert (await asyncio.wait_for(watching, 30)).stopped


async def test_nor_does_one_that_goes_away_in_the_middle_of_a_heal(
    agent: ProcessHost, process_host: ProcessHostUnderTest, capsys: pytest.CaptureFixture[str]
) -> None:
    pid = agent.state("agent", "memory").pid
    watching = asyncio.create_task(ended(supervisor(launched=str(pid), start_timeout_s=20)))
    (process_host.services["agent"].folder / "metrics").unlink()
    os.kill(pid, signal.SIGKILL)
    await told(capsys, "Healing agent:memory")
    os.kill(await new_pid(agent, pid), signal.SIGKILL)
    await asyncio.to_thread(process_host.end)
    await told(capsys, "agent goes on unwatched")
    await asyncio.to_thread(process_host.start)
    process_host.services["agent"].answer("metrics", METRICS)
    await told(capsys, "Healed agent:memory")
    agent.stop("agent", "memory")
    assert (await asyncio.wait_for(watching, 30)).stopped
