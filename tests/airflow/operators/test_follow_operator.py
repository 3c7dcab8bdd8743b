"""Logs followed by the real replayer, kept by a real process host; what it sends to is a matter of others."""

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import TaskDeferred

from logpipe.airflow.hooks.services import ProcessHostHook, ReplayerHook
from logpipe.airflow.operators.follow import (
    FollowEndOperator,
    FollowFailedError,
    FollowingHostsOperator,
    FollowLogOperator,
    UnfollowLogOperator,
)
from logpipe.airflow.triggers.follow import FollowTrigger
from logpipe.airflow.triggers.ownership import Ownership
from logpipe.clients.errors import UnreachableError
from logpipe.clients.replayer import ReplayRefusedError
from tests.airflow.real_parts import METRICS, ProcessHostUnderTest, connect
from tests.waiting import wait_until

pytestmark = pytest.mark.integration

HOST = "localhost"


@pytest.fixture
def host(
    process_host: ProcessHostUnderTest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[ProcessHostUnderTest]:
    agent = process_host.services["agent"]
    agent.answer("metrics", METRICS)
    connect(monkeypatch, "flume_agent1_default", host=HOST, port=agent.port)
    connect(
        monkeypatch,
        "replayer_default",
        host=HOST,
        port=process_host.settings.replayer_port,
        login="logpipe",
        password=process_host.secrets["replayer_password"],
    )
    yield process_host
    for record in ReplayerHook().get_conn().follows():
        ReplayerHook().get_conn().unfollow(record["follow_id"])


class Run:
    """One task of one DAG run, with a context that an operator takes."""

    def __init__(self, path: Path, **more: Any) -> None:
        self.pushed: dict[str, Any] = {}
        instance = SimpleNamespace(xcom_push=self._push)
        self.context: Any = {"ti": instance}
        self.operator = FollowLogOperator(
            task_id="follow", path=str(path), agent="agent", supervise=True, **more
        )

    def _push(self, key: str, value: object) -> None:
        self.pushed[key] = value

    def trigger(self) -> FollowTrigger:
        with pytest.raises(TaskDeferred) as deferral:
            self.operator.execute(self.context)
        assert isinstance(deferral.value.trigger, FollowTrigger)
        return deferral.value.trigger


def after(trigger: FollowTrigger, act: Any) -> dict[str, Any]:
    """What a trigger fires with, once something was done while it waited."""

    async def payload() -> Any:
        watching = asyncio.create_task(anext(aiter(trigger.run())))
        await asyncio.to_thread(act)
        return (await asyncio.wait_for(watching, 120)).payload

    return asyncio.run(payload())  # type: ignore[no-any-return]


def unfollowed(follow_id: str) -> bool:
    try:
        return bool(ReplayerHook().get_conn().unfollow(follow_id))
    except UnreachableError:
        return False


def test_a_log_is_followed_until_it_is_unfollowed(host: ProcessHostUnderTest, tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.touch()
    run = Run(log, host=HOST)
    trigger = run.trigger()
    assert run.pushed["follow_id"] == trigger.follow_id
    assert trigger.replayer_conn_id == f"replayer_default@{HOST}"
    assert ProcessHostHook().get_conn().state("agent", "durable").up
    unfollow = UnfollowLogOperator(task_id="unfollow", path=str(log))
    payload = after(trigger, lambda: unfollow.execute({}))
    assert run.operator.execute_complete(run.context, payload)["state"] == "stopped"
    assert Run(log).trigger().follow_id == trigger.follow_id


def test_a_log_that_is_not_there_is_waited_for_also_by_a_replayer_that_dies(
    host: ProcessHostUnderTest, tmp_path: Path
) -> None:
    trigger = Run(tmp_path / "later.log").trigger()

    def kill_and_unfollow() -> None:
        ProcessHostHook().get_conn().kill("replayer")
        wait_until(lambda: unfollowed(trigger.follow_id), 60, "the log to be unfollowed")

    assert ReplayerHook().get_conn().followed(trigger.follow_id)["state"] == "waiting"
    assert after(trigger, kill_and_unfollow)["record"]["state"] == "stopped"


def test_a_replayer_that_hangs_is_healed(host: ProcessHostUnderTest, tmp_path: Path) -> None:
    trigger = Run(tmp_path / "hung.log").trigger()
    trigger.hung_after_s, trigger.start_s, trigger.poll_interval_s = 1, 15, 0.2
    hung = ProcessHostHook().get_conn().state("replayer").pid

    def hang_and_unfollow() -> None:
        os.kill(hung, signal.SIGSTOP)
        process_host = ProcessHostHook().get_conn()
        wait_until(lambda: process_host.state("replayer").pid not in {0, hung}, 60, "another replayer")
        wait_until(lambda: unfollowed(trigger.follow_id), 60, "the log to be unfollowed")

    assert after(trigger, hang_and_unfollow)["record"]["state"] == "stopped"


def test_a_replayer_that_is_away_is_waited_for_when_a_person_ends_the_task(
    host: ProcessHostUnderTest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def yes(_: Ownership) -> bool:
        return True

    monkeypatch.setattr(Ownership, "ended", yes)  # as Airflow's API tells a trigger, which runs none here
    trigger = Run(tmp_path / "access.log").trigger()
    ProcessHostHook().get_conn().kill("replayer")
    asyncio.run(trigger.on_kill())
    assert ReplayerHook().get_conn().followed(trigger.follow_id)["state"] == "stopped"


def test_a_teardown_ends_what_is_in_the_tasks_care_and_nothing_when_that_ended_by_itself(
    host: ProcessHostUnderTest, tmp_path: Path
) -> None:
    run = Run(tmp_path / "access.log")
    trigger = run.trigger()
    trigger.poll_interval_s = 0.2
    context: Any = {"ti": SimpleNamespace(xcom_pull=lambda task_ids, key: run.pushed[key])}
    end = FollowEndOperator(task_id="end", supervised_by="follow")
    (record,) = end.execute(context)
    assert (record["follow_id"], record["state"]) == (trigger.follow_id, "stopped")
    payload = after(
        Run(tmp_path / "access.log").trigger(), lambda: ProcessHostHook().get_conn().stop("replayer")
    )
    assert run.operator.resume_execution("execute_complete", {"event": payload}, run.context)
    assert end.execute(context) == []
    assert Run(tmp_path / "access.log").trigger().follow_id == trigger.follow_id


def test_a_replayer_that_is_stopped_ends_the_task_well(host: ProcessHostUnderTest, tmp_path: Path) -> None:
    run = Run(tmp_path / "access.log")
    trigger = run.trigger()
    trigger.poll_interval_s = 0.2
    payload = after(trigger, lambda: ProcessHostHook().get_conn().stop("replayer"))
    record = run.operator.execute_complete(run.context, payload)
    assert (record["state"], record["follow_id"]) == ("paused", trigger.follow_id)
    assert Run(tmp_path / "access.log").trigger().follow_id == trigger.follow_id


def test_what_is_no_log_is_refused_with_the_reason(host: ProcessHostUnderTest, tmp_path: Path) -> None:
    run = Run(tmp_path)
    with pytest.raises(ReplayRefusedError, match=str(tmp_path)):
        run.operator.execute(run.context)
    assert str(tmp_path) not in {record["log"] for record in ReplayerHook().get_conn().follows()}


def test_a_log_that_turns_out_to_be_none_fails_the_task_with_the_reason(
    host: ProcessHostUnderTest, tmp_path: Path
) -> None:
    log = tmp_path / "binary.log"
    run = Run(log)
    trigger = run.trigger()
    trigger.patience_s = 0.5
    payload = after(trigger, lambda: log.write_bytes(b"\0" * 100))
    with pytest.raises(FollowFailedError, match=rf"{log} cannot be followed: .*binary"):
        run.operator.execute_complete(run.context, payload)


def test_the_hosts_are_those_of_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    connect(monkeypatch, "replayer_default", host="edge1,edge2", port=1)
    assert FollowingHostsOperator(task_id="hosts").execute({}) == ["edge1", "edge2"]
