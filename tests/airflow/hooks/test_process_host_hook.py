import os
import signal

import pytest

from logpipe.airflow.hooks.http_service import ServiceUnreachableError
from logpipe.airflow.hooks.process_host import ProcessHostError, ProcessHostHook
from tests.airflow.real_parts import ProcessHostUnderTest, connect, wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def hook(process_host: ProcessHostUnderTest) -> ProcessHostHook:
    return ProcessHostHook()


async def test_a_service_is_started_seen_and_stopped(hook: ProcessHostHook) -> None:
    assert not (await hook.state("web")).up
    await hook.start("web")
    process = await hook.state("web")
    assert process.up
    assert process.label == "web"
    os.kill(process.pid, 0)
    await hook.stop("web", timeout_s=10)
    assert (await hook.state("web")).state == "STOPPED"
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


async def test_starting_and_stopping_twice_changes_nothing(hook: ProcessHostHook) -> None:
    await hook.start("web")
    pid = (await hook.state("web")).pid
    await hook.start("web")
    assert (await hook.state("web")).pid == pid
    await hook.stop("web")
    await hook.stop("web")


async def test_a_launch_reattaches_to_a_running_service(hook: ProcessHostHook) -> None:
    first = await hook.launch("web")
    second = await hook.launch("web")
    assert not first.reattached
    assert second.reattached
    assert second.process.pid == (await hook.state("web")).pid


async def test_a_launch_stops_the_other_variant_first(hook: ProcessHostHook) -> None:
    await hook.launch("agent", "memory")
    launch = await hook.launch("agent", "durable")
    assert launch.stopped == ("agent:memory",)
    assert not launch.reattached
    assert not (await hook.state("agent", "memory")).up
    assert (await hook.state("agent", "durable")).up


async def test_a_killed_service_is_brought_back_by_the_process_host(hook: ProcessHostHook) -> None:
    await hook.launch("web")
    pid = (await hook.state("web")).pid
    os.kill(pid, signal.SIGSTOP)  # SIGKILL ends a stopped process too
    await hook.kill("web")
    seen = pid
    while seen in {0, pid}:
        seen = (await hook.state("web")).pid
    os.kill(seen, 0)


async def test_unknown_services_and_variants_are_named_with_what_there_is(hook: ProcessHostHook) -> None:
    with pytest.raises(
        ProcessHostError, match="keeps no service 'nothing', only: agent, broken, chore, replayer, split, web"
    ):
        await hook.state("nothing")
    with pytest.raises(
        ProcessHostError, match="agent has no variant 'fast', only: agent:durable, agent:memory"
    ):
        await hook.state("agent", "fast")


async def test_the_log_tail_is_readable_even_with_bytes_that_xml_forbids(
    hook: ProcessHostHook, process_host: ProcessHostUnderTest
) -> None:
    await hook.start("broken")
    wait_until(lambda: (process_host.folder / "broken.log").stat().st_size, "a line in the log")
    assert (await hook.log_tail("broken"))[-1] == "no such file: conf.xml ?"


async def test_the_log_tail_is_standard_output_when_standard_error_is_empty(
    hook: ProcessHostHook, process_host: ProcessHostUnderTest
) -> None:
    await hook.start("split")
    wait_until(lambda: (process_host.folder / "split.log").stat().st_size, "a line in the log")
    assert await hook.log_tail("split") == ["listening"]


async def test_a_wrong_password_is_said(
    process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(
        monkeypatch, "other", host="127.0.0.1", port=process_host.port, login="logpipe", password="wrong-one"
    )
    with pytest.raises(ProcessHostError, match="connection other refused login and password"):
        await ProcessHostHook("other").state("web")


async def test_an_absent_process_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "absent", host="127.0.0.1", port=1)
    with pytest.raises(ServiceUnreachableError, match=r"http://127.0.0.1:1/RPC2 \(connection absent\)"):
        await ProcessHostHook("absent").state("web")


async def test_of_several_hosts_the_one_that_answers_takes_over(
    process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the first host: what is not up on the second one is started there."""
    connect(
        monkeypatch, "process_host_default", host="127.0.0.9, 127.0.0.1", port=process_host.port,
        login="logpipe", password="right-password",
    )  # fmt: skip
    launch = await ProcessHostHook().launch("web")
    assert not launch.reattached
    assert (await ProcessHostHook().state("web")).pid == launch.process.pid
    assert (await ProcessHostHook().launch("web")).reattached


async def test_when_no_host_answers_each_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "process_host_default", host="127.0.0.8,127.0.0.9", port=1)
    with pytest.raises(ServiceUnreachableError, match=r"127\.0\.0\.8.*127\.0\.0\.9"):
        await ProcessHostHook().state("web")
