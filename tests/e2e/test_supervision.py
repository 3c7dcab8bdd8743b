"""Airflow supervises the services: it heals them, and whatever happens to Airflow leaves them alone."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from logpipe.clients.airflow import PIPELINE_DAG, SERVICES_DAG, AirflowError
from logpipe.clients.process_host import ProcessHost
from logpipe.hosts.connections import client
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import PROCESS_HOST
from logpipe.settings import PROJECT_DIR
from tests.e2e.airflow_client import SUPERVISING
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DEAD_HEALED_S = 10
HUNG_HEALED_S = 60
STOPPED_S = 30


@contextmanager
def a_replay(pipeline, pace="speed:900"):
    """A replay of the bundled log in flight; afterwards it has ended well and every line is accounted for."""
    _, before = pipeline.verify()
    follower = subprocess.Popen(
        [sys.executable, "-m", "logpipe.cli", "replay", "--pace", pace],
        env=pipeline.environment,
        cwd=PROJECT_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    yield follower
    output, _ = follower.communicate(timeout=400)
    status, after = pipeline.verify()
    assert (after["lost"], after["doubled"], status) == (0, 0, 0), output
    assert after["source"] == before["source"] + 20_000, output


def running_task(airflow, dag_id, task_id):
    """Run id and try number of a deferred task."""

    def deferred():
        for run_id in airflow.active_runs(dag_id):
            state, number = airflow.tries(dag_id, run_id)[task_id]
            if state == "deferred":
                return run_id, number
        return None

    return wait_until(deferred, 120, poll_s=0.5)


def test_a_run_of_services_was_started_once(airflow, epoch):
    assert len(airflow.active_runs(SERVICES_DAG)) == 1


def test_killing_all_of_airflow_touches_no_service(pipeline, airflow, epoch):
    names = (*SUPERVISING.values(), "replayer")
    tries = airflow.tries(SERVICES_DAG, epoch)
    with a_replay(pipeline, "speed:500") as follower:  # which is not over before all are killed
        run_id, number = running_task(airflow, PIPELINE_DAG, "replay")
        before = pipeline.pids(names)
        parts = ("airflow-triggerer", "airflow-scheduler", "airflow-dag-processor", "airflow-api-server")
        for part in parts:
            old = pipeline.pids([part])[part]
            os.kill(old, signal.SIGKILL)

            def is_back(part=part, old=old):
                service = pipeline.services()[part]
                return service["healthy"] and service["pid"] != old

            wait_until(is_back, 180, poll_s=1)
        assert pipeline.pids(names) == before
        wait_until(lambda: airflow.run_state(PIPELINE_DAG, run_id) == "success", 300, poll_s=1)
        assert airflow.tries(PIPELINE_DAG, run_id)["replay"] == ("success", number)
        assert airflow.tries(SERVICES_DAG, epoch) == tries
        follower.wait(60)


@contextmanager
def database_away(pipeline):
    """Nobody else can read or write Airflow's database."""
    database = next(pipeline.state_dir.rglob("airflow.db"))
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield


def test_a_write_of_seconds_to_airflows_database_is_waited_for(pipeline, airflow, epoch):
    """A commit took so long on a busy disk: after five seconds the API server answered with errors."""
    with ThreadPoolExecutor(1) as pool:
        with database_away(pipeline):
            asked = pool.submit(airflow.trigger, SERVICES_DAG, {}, epoch)  # which there is
            with pytest.raises(TimeoutError):
                asked.result(7)
        assert asked.result(60) == epoch


@contextmanager
def api_away(pipeline):
    """The API server hangs."""
    pid = pipeline.pids(["airflow-api-server"])["airflow-api-server"]
    os.kill(pid, signal.SIGSTOP)
    yield
    os.kill(pid, signal.SIGCONT)


def test_a_replay_that_is_asked_for_while_the_api_server_is_away_begins_once(pipeline, airflow, epoch):
    before = [run["dag_run_id"] for run in airflow.runs(PIPELINE_DAG)]
    os.kill(pipeline.pids(["airflow-api-server"])["airflow-api-server"], signal.SIGKILL)
    run_id = airflow.trigger(PIPELINE_DAG, {"pace": "max", "limit": 1})
    wait_until(lambda: airflow.run_state(PIPELINE_DAG, run_id) == "success", 300, poll_s=1)
    assert [run["dag_run_id"] for run in airflow.runs(PIPELINE_DAG)] == [run_id, *before]
    assert airflow.supervised() == epoch


def test_a_task_waits_for_an_api_server_that_takes_long_to_start(pipeline, airflow, epoch):
    host = client(ProcessHost, PROCESS_HOST, pipeline.settings(), Layout(pipeline.state_dir))
    scheduler = pipeline.pids(["airflow-scheduler"])["airflow-scheduler"]
    log = pipeline.state_dir / "logs" / "airflow-scheduler.log"
    seen_bytes = log.stat().st_size
    os.kill(scheduler, signal.SIGSTOP)
    try:
        run_id = airflow.trigger(PIPELINE_DAG, {"pace": "max", "limit": 1})
        host.stop("airflow-api-server")
    finally:
        os.kill(scheduler, signal.SIGCONT)
    try:  # by default Airflow asks five times, ten seconds or so
        wait_until(lambda: b"the 6th time calling it" in log.read_bytes()[seen_bytes:], 120, poll_s=1)
    finally:
        host.start("airflow-api-server")
    wait_until(lambda: airflow.run_state(PIPELINE_DAG, run_id) == "success", 300, poll_s=1)
    assert airflow.supervised() == epoch


@pytest.mark.slow
@pytest.mark.parametrize("away", [database_away, api_away])
def test_a_minute_without_database_or_api_touches_no_service(pipeline, airflow, epoch, away):
    names = (*SUPERVISING.values(), "replayer")
    with a_replay(pipeline, "speed:600"):
        run_id, number = running_task(airflow, PIPELINE_DAG, "replay")
        before = pipeline.pids(names)
        with away(pipeline):
            end = time.monotonic() + 60
            wait_until(lambda: time.monotonic() > end, 61)
        assert pipeline.pids(names) == before
        wait_until(lambda: airflow.run_state(PIPELINE_DAG, run_id) == "success", 300, poll_s=1)
        assert airflow.tries(PIPELINE_DAG, run_id)["replay"] == ("success", number)
    assert airflow.supervised() == epoch


@pytest.mark.parametrize(
    ("blow", "limit_s"),
    [(signal.SIGKILL, DEAD_HEALED_S), (signal.SIGSTOP, HUNG_HEALED_S)],
    ids=["dead", "hung"],
)
@pytest.mark.parametrize("task_id", [pytest.param(task, marks=pytest.mark.slow) for task in SUPERVISING])
def test_a_service_is_healed_in_time(pipeline, airflow, epoch, task_id, blow, limit_s):
    service = SUPERVISING[task_id]
    with a_replay(pipeline):
        running_task(airflow, PIPELINE_DAG, "replay")
        old = pipeline.pids([service])[service]
        os.kill(old, blow)
        started = time.monotonic()

        def has_a_new_process():
            return pipeline.pids([service])[service] not in (None, old)

        wait_until(has_a_new_process, limit_s)
        print(f"{service}: new process after {time.monotonic() - started:.1f} s")

        def told():
            heals = airflow.xcom(SERVICES_DAG, epoch, task_id, key="heals") or []
            return any(heal["process"] == str(pipeline.pids([service])[service]) for heal in heals)

        wait_until(told, 90, poll_s=1)


def test_a_cleared_task_reattaches_and_stops_nothing(pipeline, airflow, epoch):
    before = pipeline.pids(SUPERVISING.values())
    tries = airflow.tries(SERVICES_DAG, epoch)
    wanted = {task: ("deferred", tries[task][1] + 1) for task in SUPERVISING}
    for task_id in SUPERVISING:
        airflow.clear(SERVICES_DAG, epoch, task_id)
    wait_until(lambda: wanted.items() <= airflow.tries(SERVICES_DAG, epoch).items(), 120, poll_s=0.5)
    assert pipeline.pids(SUPERVISING.values()) == before
    log = airflow.task_log(SERVICES_DAG, epoch, "agent_1", tries["agent_1"][1] + 1)
    assert "Reattached to flume-agent1:durable" in log


def test_a_second_run_waits_for_the_first(airflow, epoch):
    second = airflow.trigger(SERVICES_DAG, {}, "second")
    assert airflow.trigger(SERVICES_DAG, {}, "second") == second == "second", "asked for again it is the same"
    try:
        wait_until(lambda: second in airflow.active_runs(SERVICES_DAG), 30)
        assert airflow.run_state(SERVICES_DAG, second) == "queued"
        assert airflow.run_state(SERVICES_DAG, epoch) == "running"
    finally:
        airflow.delete(SERVICES_DAG, second)


def all_stopped(pipeline):
    return not any(pipeline.pids(SUPERVISING.values()).values())


def ends_when(pipeline, end):
    """Services are down in time after it, and have lost nothing."""
    _, before = pipeline.verify()
    started = time.monotonic()
    end()
    wait_until(lambda: all_stopped(pipeline), STOPPED_S)
    print(f"stopped after {time.monotonic() - started:.1f} s")
    status, after = pipeline.verify()
    assert (status, after) == (0, before)


@pytest.mark.parametrize("state", ["failed", pytest.param("success", marks=pytest.mark.slow)])
def test_marking_the_run_stops_the_services_with_or_without_a_triggerer(pipeline, airflow, epoch, state):
    def marked():
        os.kill(pipeline.pids(["airflow-triggerer"])["airflow-triggerer"], signal.SIGKILL)
        airflow.mark(SERVICES_DAG, epoch, state)

    ends_when(pipeline, marked)
    wait_until(lambda: airflow.run_state(SERVICES_DAG, epoch) == state, 60, poll_s=0.5)


def test_a_replay_right_behind_the_mark_has_a_run_of_services_of_its_own(pipeline, airflow, epoch):
    _, before = pipeline.verify()
    airflow.mark(SERVICES_DAG, epoch, "failed")
    run_id = airflow.trigger(PIPELINE_DAG, {"pace": "max", "limit": 1})
    wait_until(lambda: airflow.run_state(PIPELINE_DAG, run_id) == "success", 300, poll_s=1)
    assert airflow.run_state(SERVICES_DAG, epoch) == "failed"
    assert airflow.supervised() != epoch
    status, after = pipeline.verify()
    assert (after["source"], status) == (before["source"] + 1, 0)


def test_a_run_that_is_active_cannot_be_deleted(pipeline, airflow, epoch):
    before = pipeline.pids(SUPERVISING.values())
    with pytest.raises(AirflowError, match="409"):
        airflow.delete(SERVICES_DAG, epoch)
    assert pipeline.pids(SUPERVISING.values()) == before


def test_the_stop_dag_stops_the_services_and_the_run_ends_well(pipeline, airflow, epoch):
    ends_when(pipeline, lambda: airflow.trigger("stop_pipeline", {}))
    wait_until(lambda: airflow.run_state(SERVICES_DAG, epoch) == "success", 180, poll_s=0.5)
    assert all_stopped(pipeline)


@pytest.mark.slow
def test_services_and_a_replay_go_on_after_make_stop_and_make_run(pipeline, airflow, epoch):
    _, before = pipeline.verify()
    run_id = airflow.trigger(PIPELINE_DAG, {"pace": "speed:300"})
    running_task(airflow, PIPELINE_DAG, "replay")
    assert pipeline.command("stop").returncode == 0
    answer = pipeline.command("run", "--pace", "max", "--limit", "1")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert airflow.run_state(PIPELINE_DAG, run_id) == "success"
    assert airflow.supervised() == epoch
    status, after = pipeline.verify()
    assert (after["source"], status) == (before["source"] + 20_001, 0)
