"""`make follow`: a log that a real nginx writes, by the command line and the DAG."""

import json
import os
import signal

import pytest

from logpipe.clients.airflow import FOLLOW_DAG
from logpipe.formats.presets import NGINX_JSON
from tests.waiting import wait_until
from tests.web_servers import ask, missing, running

# Last, since other tests count what arrived today.
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600), pytest.mark.last(1)]

REQUESTS = 50


def test_a_log_is_followed_from_the_command_until_it_is_unfollowed(
    pipeline, airflow, epoch, tmp_path_factory
):
    if missing("nginx"):
        pytest.skip(missing("nginx"))
    _, before = pipeline.verify()
    with running("nginx", tmp_path_factory.mktemp("shop"), NGINX_JSON, ["combined"]) as server:
        log = str(server.log("combined"))
        answer = pipeline.command("follow", log, "--format", "nginx")
        assert answer.returncode == 0, answer.stdout + answer.stderr
        assert f"{log}: following, format nginx" in answer.stdout
        (run_id,) = airflow.active_runs(FOLLOW_DAG)
        for number in range(REQUESTS):
            ask(server.port, b"GET /%d HTTP/1.0\r\n\r\n" % number)

        def arrived():
            status, verified = pipeline.verify()
            assert status == 0
            is_sent = verified["source"] == before["source"] + REQUESTS
            return is_sent and verified["in_flight"] == 0 and verified["windows"] == verified["hdfs"]

        wait_until(arrived, 240, poll_s=0.5)  # the services may just have been started again
        listed = json.loads(pipeline.command("status", "--json").stdout)["follows"]
        (followed,) = [each for each in listed if each["path"] == log]  # an example's may be there, stopped
        assert (followed["state"], followed["lines"]) == ("following", REQUESTS)
        assert airflow.run_state(FOLLOW_DAG, run_id) == "running"

        answer = pipeline.command("unfollow", log)
        assert answer.returncode == 0, answer.stdout + answer.stderr
        wait_until(lambda: airflow.run_state(FOLLOW_DAG, run_id) == "success", 180, poll_s=0.5)
    status, after = pipeline.verify()
    assert (status, after["source"]) == (0, before["source"] + REQUESTS)


def test_a_log_that_may_not_be_read_is_refused_with_the_reason(pipeline, epoch):
    answer = pipeline.command("follow", "/etc/passwd")
    assert answer.returncode == 1
    assert "LOGPIPE_FILE_ROOTS" in answer.stdout, answer.stdout + answer.stderr


def test_marking_the_run_ends_the_following_with_or_without_a_triggerer(
    pipeline, airflow, epoch, tmp_path_factory
):
    log = tmp_path_factory.mktemp("marked") / "access.log"
    log.touch()
    answer = pipeline.command("follow", str(log), "--format", "nginx")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    (run_id,) = airflow.active_runs(FOLLOW_DAG)

    def state():
        follows = json.loads(pipeline.command("status", "--json").stdout)["follows"]
        return next(each["state"] for each in follows if each["path"] == str(log))

    assert state() == "following"
    os.kill(pipeline.pids(["airflow-triggerer"])["airflow-triggerer"], signal.SIGKILL)
    airflow.mark(FOLLOW_DAG, run_id, "failed")
    wait_until(lambda: state() == "stopped", 60, poll_s=1)
    wait_until(lambda: airflow.run_state(FOLLOW_DAG, run_id) == "failed", 60, poll_s=0.5)
