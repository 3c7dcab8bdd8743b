"""The task `account`: waits while lines are in flight or a store is away, then judges."""

import json
from collections.abc import Callable
from threading import Timer
from typing import Any

import pytest

from logpipe import settings as project_settings
from logpipe.airflow.operators.verify import LinesUnaccountedError, VerifyOperator
from tests.accounting.pipeline import Pipeline, nasa_lines
from tests.airflow.real_parts import connect, connect_stores

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = nasa_lines(300)


@pytest.fixture
def account(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> Callable[..., dict[str, Any]]:
    """Run the task on this pipeline; its replayer is away."""
    away = {"conn_type": "http", "host": "127.0.0.1", "port": pipeline.settings.replayer_port}
    monkeypatch.setenv("AIRFLOW_CONN_REPLAYER_DEFAULT", json.dumps(away))
    connect_stores(monkeypatch, pipeline.settings)
    for number in (1, 2):
        port = pipeline.settings.port(f"agent{number}_metrics_port")
        connect(monkeypatch, f"flume_agent{number}_default", host="127.0.0.1", port=port)
    monkeypatch.setattr(project_settings, "load", lambda: pipeline.settings)
    return lambda **more: VerifyOperator(task_id="account", confirm_s=0.5, poll_s=0.1, **more).execute({})


def test_it_waits_for_lines_in_flight(pipeline: Pipeline, account: Callable[..., dict[str, Any]]) -> None:
    pipeline.send("a", LINES)
    pipeline.record("a", LINES)
    pipeline.write()
    later = Timer(1, pipeline.count)
    later.start()
    found = account(wait_s=60)
    later.join()
    assert (found["windows"], found["lost"], found["in_flight"]) == (300, 0, 0)


def test_it_fails_when_lines_stay_in_flight_or_are_lost(
    pipeline: Pipeline, account: Callable[..., dict[str, Any]]
) -> None:
    pipeline.send("a", LINES[:-1])
    pipeline.record("a", LINES)
    pipeline.write()
    with pytest.raises(LinesUnaccountedError, match=r"299 still in flight|300 still in flight"):
        account(wait_s=0)
    pipeline.count()
    with pytest.raises(
        LinesUnaccountedError, match=r"1 lines lost, 0 doubled, 0 still in flight.*make audit"
    ):
        account(wait_s=60)


def test_a_replay_that_another_run_left_is_told_and_no_failure(
    pipeline: Pipeline, account: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline.send("a", LINES)
    pipeline.record("a", LINES, state="stopped")
    pipeline.write()
    pipeline.count()
    assert account(wait_s=60)["lost"] == 0
    assert not pipeline.verify().ok
