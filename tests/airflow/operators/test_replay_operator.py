"""Replays through the real replayer, kept by a real process host, into a real Flume agent."""

import asyncio
import gzip
import os
import re
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from secrets import token_hex
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
from airflow.sdk.exceptions import TaskDeferred

from logpipe.airflow.hooks.services import ProcessHostHook, ReplayerHook
from logpipe.airflow.hooks.stores import KafkaHook
from logpipe.airflow.operators.replay import ReplayFailedError, ReplayOperator
from logpipe.airflow.triggers.replay import ReplayTrigger
from logpipe.clients.replayer import ReplayRefusedError
from tests.airflow.real_parts import ProcessHostUnderTest, connect
from tests.machine import Kafka, Service
from tests.machine import agent as flume_agent
from tests.replayer.servers import LOGIN, Faults, ftp_server, web_server

pytestmark = pytest.mark.integration

TOPIC = "replayed"
LINES = 2_000


@pytest.fixture
def agent(process_host: ProcessHostUnderTest, kafka: Kafka, tmp_path: Path) -> Iterator[Service]:
    KafkaHook().kafka().create(TOPIC, 1, 1, {})
    port = process_host.settings.netcat_port
    agent = flume_agent(
        1, kafka.settings, tmp_path / "agent.log", profile="memory", topic=TOPIC, netcat_port=port
    )
    try:
        yield agent.start()
    finally:
        agent.end()


@pytest.fixture
def host(
    process_host: ProcessHostUnderTest, agent: Service, monkeypatch: pytest.MonkeyPatch
) -> ProcessHostUnderTest:
    port = process_host.settings.replayer_port
    connect(
        monkeypatch,
        "replayer_default",
        host="localhost",
        port=port,
        login="logpipe",
        password=process_host.secrets["replayer_password"],
    )
    return process_host


@pytest.fixture
def log(tmp_path: Path) -> str:
    path = tmp_path / "access.log.gz"
    path.write_bytes(gzip.compress(b"".join(b"line %d\n" % number for number in range(LINES))))
    return path.as_uri()


class Run:
    """One task of one DAG run, with a context that an operator takes."""

    def __init__(self, run_id: str) -> None:
        self.pushed: dict[str, Any] = {}
        identity = {"dag_id": "d", "run_id": run_id, "task_id": "replay", "map_index": -1}
        self.context: Any = {
            "ti": SimpleNamespace(**identity, xcom_push=self._push),
            "dag_run": SimpleNamespace(run_after=datetime(1995, 7, 1, 0, 0, 1, tzinfo=UTC)),
        }

    def _push(self, key: str, value: object) -> None:
        self.pushed[key] = value

    def execute(self, url: str, **more: Any) -> dict[str, Any]:
        values = {"pace": "max", "profile": "memory", "first_look_s": 30} | more
        return ReplayOperator(task_id="replay", url=url, **values).execute(self.context)


def test_a_replay_starts_its_service_and_returns_its_record(host: ProcessHostUnderTest, log: str) -> None:
    run = Run("first")
    record = run.execute(log)
    assert (record["state"], record["lines"]) == ("done", LINES)
    assert run.pushed["replay_id"] == record["replay_id"]
    assert record["replay_id"].startswith("19950701T000001-")


def test_a_second_try_of_a_finished_replay_sends_nothing_again(host: ProcessHostUnderTest, log: str) -> None:
    first = Run("second").execute(log, limit=10)
    again = Run("second").execute(log, limit=10)
    assert again["finished_at"] == first["finished_at"]
    assert Run("another").execute(log, limit=10)["replay_id"] != first["replay_id"]


def test_a_long_replay_is_left_to_the_triggerer_and_a_stopped_one_goes_on(
    host: ProcessHostUnderTest, log: str
) -> None:
    run = Run("third")
    with pytest.raises(TaskDeferred) as deferral:
        run.execute(log, pace="delay:0.01", limit=300, first_look_s=0.1)
    trigger = deferral.value.trigger
    assert isinstance(trigger, ReplayTrigger)

    async def stopped() -> Any:
        watching = asyncio.create_task(anext(aiter(trigger.run())))
        ReplayerHook().get_conn().stop(trigger.replay_id)
        return (await asyncio.wait_for(watching, 20)).payload

    with pytest.raises(ReplayFailedError, match=r"access.log.gz stopped: .* goes on from there"):
        ReplayOperator(task_id="replay", url=log, pace="max", profile="memory").execute_complete(
            run.context, asyncio.run(stopped())
        )
    record = run.execute(log, pace="delay:0.01", limit=300)
    assert (record["state"], record["lines"]) == ("done", 300)


def test_a_replayer_that_dies_is_waited_for(host: ProcessHostUnderTest, log: str) -> None:
    run = Run("fourth")
    with pytest.raises(TaskDeferred) as deferral:
        run.execute(log, pace="delay:0.005", limit=400, first_look_s=0.1)

    async def record() -> dict[str, Any]:
        watching = asyncio.create_task(anext(aiter(deferral.value.trigger.run())))
        ProcessHostHook().get_conn().kill("replayer")
        payload: dict[str, Any] = (await asyncio.wait_for(watching, 40)).payload
        return payload

    final = asyncio.run(record())["record"]
    assert final["state"] == "done"
    assert final["last_line"] == 400


def test_a_replayer_that_hangs_is_healed(host: ProcessHostUnderTest, log: str) -> None:
    with pytest.raises(TaskDeferred) as deferral:
        Run("seventh").execute(log, pace="delay:0.005", limit=400, first_look_s=0.1, hung_after_s=1)

    trigger = deferral.value.trigger
    assert isinstance(trigger, ReplayTrigger)
    trigger.start_s = 15  # what a busy machine needs

    async def outcome() -> tuple[int, int, dict[str, Any]]:
        hung = ProcessHostHook().get_conn().state("replayer").pid
        os.kill(hung, signal.SIGSTOP)
        payload = (await asyncio.wait_for(anext(aiter(trigger.run())), 120)).payload
        return hung, ProcessHostHook().get_conn().state("replayer").pid, payload["record"]

    hung, healed, final = asyncio.run(outcome())
    assert healed != hung
    assert (final["state"], final["last_line"]) == ("done", 400)


def test_a_replayer_that_waits_for_an_answer_is_not_taken_for_a_hung_one(
    host: ProcessHostUnderTest, agent: Service, log: str
) -> None:
    agent.send_signal(signal.SIGSTOP)
    with pytest.raises(TaskDeferred) as deferral:
        Run("eighth").execute(log, first_look_s=0.1)
    trigger = deferral.value.trigger
    assert isinstance(trigger, ReplayTrigger)
    trigger.stall_after_s = 5

    def silent_s() -> int:
        reason = ReplayerHook().get_conn().record(trigger.replay_id)["reason"] or ""
        found = re.search(r"has not answered for (\d+) s", reason)
        return int(found[1]) if found else 0

    async def outcome() -> tuple[int, int, dict[str, Any]]:
        before = ProcessHostHook().get_conn().state("replayer").pid
        watching = asyncio.create_task(anext(aiter(trigger.run())))
        async with asyncio.timeout(60):
            while silent_s() < 2 * trigger.stall_after_s:  # noqa: ASYNC110  # another process's state
                await asyncio.sleep(0.2)
        agent.send_signal(signal.SIGCONT)
        payload = (await asyncio.wait_for(watching, 60)).payload
        return before, ProcessHostHook().get_conn().state("replayer").pid, payload["record"]

    before, after, final = asyncio.run(outcome())
    assert before == after
    assert (final["state"], final["lines"]) == ("done", LINES)


def test_a_replayer_that_cannot_begin_for_now_is_not_killed(host: ProcessHostUnderTest, log: str) -> None:
    spec = {"url": log, "pace": "max", "profile": "memory", "limit": 10}
    trigger = ReplayTrigger(replay_id="blocked", spec=spec, hung_after_s=2, start_s=15)
    in_the_way = host.settings.state_dir / "replays" / ".blocked.json.tmp"  # as a full disk would be
    in_the_way.mkdir(parents=True)

    async def outcome() -> tuple[int, int, dict[str, Any]]:
        watching = asyncio.create_task(anext(aiter(trigger.run())))  # before there is a replayer to ask
        await asyncio.sleep(0)
        ProcessHostHook().get_conn().launch("replayer")
        async with asyncio.timeout(60):
            while (process := ProcessHostHook().get_conn().state("replayer")).uptime_s < 22:  # noqa: ASYNC110
                await asyncio.sleep(0.2)
        assert all(record["replay_id"] != "blocked" for record in ReplayerHook().get_conn().replays())
        in_the_way.rmdir()
        payload = (await asyncio.wait_for(watching, 60)).payload
        return process.pid, ProcessHostHook().get_conn().state("replayer").pid, payload["record"]

    before, after, final = asyncio.run(outcome())
    assert before == after
    assert (final["state"], final["lines"]) == ("done", 10)


def test_a_missing_source_is_named_with_the_reason(host: ProcessHostUnderTest, tmp_path: Path) -> None:
    url = (tmp_path / "absent.log").as_uri()
    with pytest.raises(ReplayFailedError, match=rf"of {url} failed: .*absent.log"):
        Run("fifth").execute(url)


def test_a_login_reaches_the_server_and_stands_nowhere_else(
    host: ProcessHostUnderTest, log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect(monkeypatch, "logs", host="localhost", login=LOGIN.user, password=LOGIN.password)
    run = Run("ninth")
    with ftp_server(tmp_path, Faults()) as port:
        url = f"ftp://localhost:{port}/{Path(log).name}"
        with pytest.raises(TaskDeferred) as deferral:
            run.execute(url, source_conn_id="logs", pace="delay:0.01", limit=300, first_look_s=0.1)

        async def record() -> dict[str, Any]:
            watching = asyncio.create_task(anext(aiter(deferral.value.trigger.run())))
            ProcessHostHook().get_conn().kill("replayer")  # which then knows the login from its own disk
            payload: dict[str, Any] = (await asyncio.wait_for(watching, 40)).payload
            return payload["record"]  # type: ignore[no-any-return]

        final = asyncio.run(record())
    assert (final["state"], final["lines"]) == ("done", 300)
    shown = [final, run.pushed, deferral.value.trigger.serialize()]
    assert LOGIN.password not in str(shown)
    kept = [path for path in host.folder.rglob("*") if path.is_file() and LOGIN.password in path.read_text()]
    assert [path.name for path in kept] == [f"{final['replay_id']}.login"]


def test_a_signed_query_reaches_the_server_and_stands_nowhere_else(
    host: ProcessHostUnderTest, log: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in what Airflow keeps, not in a command line, and not where a replay fails with the URL in hand."""
    secret, faults = token_hex(), Faults()
    query = f"X-Amz-Signature={secret}"
    connect(
        monkeypatch, "logs", host="localhost", login=LOGIN.user, password=LOGIN.password,
        extra={"query": query},
    )  # fmt: skip
    done, failed = Run("tenth"), Run("eleventh")
    with web_server(tmp_path, faults) as port:
        url = f"http://localhost:{port}/{Path(log).name}"
        final = done.execute(url, source_conn_id="logs", limit=300, first_look_s=30)
        with pytest.raises(ReplayFailedError, match="404") as missing:
            failed.execute(f"http://localhost:{port}/absent.log", source_conn_id="logs", first_look_s=30)
    with pytest.raises(ReplayRefusedError, match="Airflow connection") as refused:
        Run("twelfth").execute(f"{url}?{query}", source_conn_id="logs")
    assert final["lines"] == 300
    assert set(faults.queries) == {query}
    commands = [process.info["cmdline"] for process in psutil.process_iter(["cmdline"])]
    shown = [final, done.pushed, failed.pushed, missing.value, refused.value, commands]
    assert secret not in str(shown)
    kept = [path for path in host.folder.rglob("*") if path.is_file() and secret in path.read_text()]
    assert {path.suffix for path in kept} == {".login"}
    assert {path.stat().st_mode & 0o777 for path in kept} == {0o600}


def test_a_refused_value_is_named(host: ProcessHostUnderTest, log: str) -> None:
    with pytest.raises(ReplayRefusedError, match=r"pace .*'walking'"):
        Run("sixth").execute(log, pace="walking")
