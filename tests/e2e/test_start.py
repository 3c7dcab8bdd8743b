"""A start that goes wrong in the middle leaves nothing behind; what ran before runs on."""

import signal
import socket
import subprocess
import sys

import psutil
import pytest

from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.stack import Stack
from logpipe.settings import PROJECT_DIR
from tests.e2e.conftest import Pipeline, own_copy
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture
def fresh(tmp_path):
    """A copy that has never run."""
    with own_copy(tmp_path / "state", tmp_path) as copy:
        yield copy


def begin(copy: Pipeline, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "logpipe.cli", *arguments],
        env=copy.environment, cwd=PROJECT_DIR, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def has_begun(copy: Pipeline) -> bool:
    return (copy.state_dir / "supervisord.pid").exists()


def processes(copy: Pipeline) -> list[psutil.Process]:
    return [
        each for each in psutil.process_iter(["cmdline"]) if str(copy.state_dir) in str(each.info["cmdline"])
    ]


@pytest.mark.slow
def test_a_port_taken_after_the_check_ends_the_run_and_all_it_started(fresh):
    run = begin(fresh, "run")
    wait_until(lambda: has_begun(fresh), 120, 0.01)
    with socket.create_server(("127.0.0.1", fresh.settings().kafka_port)):
        output, errors = run.communicate(timeout=300)
    assert run.returncode == 1, output + errors
    assert "kafka is not ready" in errors
    assert "Address already in use" in errors
    assert processes(fresh) == []
    assert {service["state"] for service in fresh.services().values()} == {"stopped"}


def test_a_broken_store_ends_the_start_and_all_it_started(fresh):
    settings = fresh.settings()
    layout = Layout.of(settings)
    layout.claim(settings.topic, settings.timezone)
    layout.make_dirs()
    (layout.kafka_dir / "meta.properties").write_text(
        "version=1\nnode.id=77\ncluster.id=AAAAAAAAAAAAAAAAAAAAAA\n"
    )
    answer = fresh.command("up")
    assert answer.returncode == 1
    assert "kafka is not ready" in answer.stderr
    assert "77" in answer.stderr
    assert processes(fresh) == []


def test_an_interrupted_start_stops_what_it_started_and_says_so(fresh):
    up = begin(fresh, "up")
    wait_until(lambda: has_begun(fresh), 120, 0.01)
    up.send_signal(signal.SIGINT)
    output, errors = up.communicate(timeout=300)
    assert up.returncode == 130, output + errors
    assert "Nothing runs" in errors
    assert processes(fresh) == []


def test_a_start_that_fails_beside_a_running_copy_leaves_that_alone(pipeline, first_run):
    stack = Stack(pipeline.settings())
    before = {name: service["pid"] for name, service in pipeline.services().items() if name != "ftp"}
    stack.host.client.stop("ftp")
    with socket.create_server(("127.0.0.1", pipeline.settings().ftp_port)):
        answer = pipeline.command("replay")
    assert answer.returncode == 1
    assert "Port" in answer.stderr
    assert "LOGPIPE_FTP_PORT" in answer.stderr
    assert {name: service["pid"] for name, service in pipeline.services().items() if name != "ftp"} == before
    assert pipeline.command("up").returncode == 0
    assert pipeline.services()["ftp"]["healthy"] is True


def test_an_interrupted_replay_goes_on_and_so_do_the_services(pipeline, first_run, airflow, epoch):
    replay = begin(pipeline, "replay", "--pace", "delay:0.5", "--limit", "8")
    wait_until(lambda: airflow.active_runs("replay_log"), 180, poll_s=0.5)
    replay.send_signal(signal.SIGINT)
    output, errors = replay.communicate(timeout=60)
    assert replay.returncode == 130, output + errors
    assert "go on running" in errors
    for word in ("kafka", "flume-agent2", "airflow-scheduler", "make stop"):
        assert word in errors
    wait_until(lambda: not airflow.active_runs("replay_log"), 120, poll_s=0.5)
    assert airflow.runs("replay_log")[0]["state"] == "success"


def test_a_run_that_waits_for_a_paused_dag_says_so_and_begins_when_it_is_not(
    pipeline, first_run, airflow, epoch
):
    airflow.pause("replay_log", True)
    try:
        replay = begin(pipeline, "replay", "--pace", "max", "--limit", "3")
        assert replay.stdout is not None
        assert any("replay_log is paused in Airflow" in line for line in replay.stdout)
    finally:
        airflow.pause("replay_log", False)
    output, errors = replay.communicate(timeout=180)
    assert replay.returncode == 0, output + errors
