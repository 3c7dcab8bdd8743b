import os
import re
import signal

import pytest

from logpipe.airflow.hooks.services import ProcessHostHook
from logpipe.clients.errors import UnreachableError
from logpipe.clients.process_host import ProcessHost, ProcessHostError
from logpipe.hosts.layout import USER
from tests.airflow.real_parts import ProcessHostUnderTest, connect
from tests.waiting import wait_until

pytestmark = pytest.mark.integration


@pytest.fixture
def hook(process_host: ProcessHostUnderTest) -> ProcessHost:
    return ProcessHostHook().get_conn()


def test_a_service_is_started_seen_and_stopped(hook: ProcessHost) -> None:
    assert not (hook.state("web")).up
    hook.start("web")
    process = hook.state("web")
    assert process.up
    assert process.label == "web"
    os.kill(process.pid, 0)
    hook.stop("web", timeout_s=10)
    assert (hook.state("web")).state == "STOPPED"
    with pytest.raises(ProcessLookupError):
        os.kill(process.pid, 0)


def test_starting_and_stopping_twice_changes_nothing(hook: ProcessHost) -> None:
    hook.start("web")
    pid = (hook.state("web")).pid
    hook.start("web")
    assert (hook.state("web")).pid == pid
    hook.stop("web")
    hook.stop("web")


def test_a_launch_reattaches_to_a_running_service(hook: ProcessHost) -> None:
    first = hook.launch("web")
    second = hook.launch("web")
    assert not first.reattached
    assert second.reattached
    assert second.process.pid == (hook.state("web")).pid


def test_a_launch_stops_the_other_variant_first(hook: ProcessHost) -> None:
    hook.launch("agent", "memory")
    launch = hook.launch("agent", "durable")
    assert launch.stopped == ("agent:memory",)
    assert not launch.reattached
    assert not (hook.state("agent", "memory")).up
    assert (hook.state("agent", "durable")).up


def test_a_killed_service_is_brought_back_by_the_process_host(hook: ProcessHost) -> None:
    hook.launch("web")
    pid = (hook.state("web")).pid
    os.kill(pid, signal.SIGSTOP)  # SIGKILL ends a stopped process too
    hook.kill("web")
    seen = pid
    while seen in {0, pid}:
        seen = (hook.state("web")).pid
    os.kill(seen, 0)


def test_unknown_services_and_variants_are_named_with_what_there_is(hook: ProcessHost) -> None:
    with pytest.raises(
        ProcessHostError, match="keeps no service 'nothing', only: agent, broken, chore, replayer, split, web"
    ):
        hook.state("nothing")
    with pytest.raises(
        ProcessHostError, match="agent has no variant 'fast', only: agent:durable, agent:memory"
    ):
        hook.state("agent", "fast")


def test_the_log_tail_is_readable_even_with_bytes_that_xml_forbids(
    hook: ProcessHost, process_host: ProcessHostUnderTest
) -> None:
    hook.start("broken")
    wait_until(lambda: process_host.log("broken").stat().st_size, 30, "a line in the log")
    assert (hook.log_tail("broken"))[-1] == "no such file: conf.xml ?"


def test_the_log_tail_is_standard_output_when_standard_error_is_empty(
    hook: ProcessHost, process_host: ProcessHostUnderTest
) -> None:
    hook.start("split")
    wait_until(lambda: "listening" in process_host.log("split.out").read_text(), 30, "a line in the log")
    assert hook.log_tail("split") == ["listening"]


def test_a_wrong_password_is_said(
    process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(
        monkeypatch,
        "other",
        host=process_host.settings.process_host,
        login="logpipe",
        password="wrong-one",
    )
    with pytest.raises(ProcessHostError, match=r"connection other\) refused login and password"):
        ProcessHostHook("other").get_conn().state("web")


def test_an_absent_process_host_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "absent", host="127.0.0.1", port=1)
    with pytest.raises(UnreachableError, match=r"http://127.0.0.1:1/RPC2 \(connection absent\)"):
        ProcessHostHook("absent").get_conn().state("web")


def test_of_several_hosts_the_one_that_answers_takes_over(
    process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing listens at the first host: what is not up on the second one is started there."""
    connect(
        monkeypatch, "process_host_default", host=f"127.0.0.9, {process_host.settings.process_host}",
        port=process_host.settings.supervisor_port, login="logpipe",
        password=process_host.secrets["process_host_password"],
    )  # fmt: skip
    launch = ProcessHostHook().get_conn().launch("web")
    assert not launch.reattached
    assert (ProcessHostHook().get_conn().state("web")).pid == launch.process.pid
    assert (ProcessHostHook().get_conn().launch("web")).reattached


def test_when_no_host_answers_each_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "process_host_default", host="127.0.0.8,127.0.0.9", port=1)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.8.*127\.0\.0\.9"):
        ProcessHostHook().get_conn().state("web")


def test_a_connection_can_be_narrowed_to_one_of_its_hosts(
    process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = process_host.settings.process_host
    login = {"login": "logpipe", "password": process_host.secrets["process_host_password"]}
    connect(monkeypatch, "two_hosts", host=f"192.0.2.1, {here}", port=1, **login)
    assert ProcessHostHook("two_hosts").hosts == ["192.0.2.1", here]
    assert not ProcessHostHook(f"two_hosts@{here}").get_conn().state("web").up
    connect(monkeypatch, "one_host", host=here, port=1, **login)
    assert not ProcessHostHook("one_host@localhost").get_conn().state("web").up


def test_a_connections_test_says_what_was_seen(process_host: ProcessHostUnderTest, monkeypatch) -> None:
    fine, told = ProcessHostHook().test_connection()
    assert fine
    assert re.fullmatch(r".*: running, \d+ processes", told)
    connect(
        monkeypatch,
        "process_host_default",
        host=process_host.settings.process_host,
        login=USER,
        password="wrong",
    )
    fine, told = ProcessHostHook().test_connection()
    assert not fine
    assert "refused login and password" in told
