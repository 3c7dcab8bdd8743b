"""Launching on YARN, with a ResourceManager and a spark-submit that only play their parts.

The real ones are in tests/cluster.
"""

import json
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from logpipe import settings
from logpipe.airflow.operators.service_launch import ServiceNotHealthyError
from logpipe.airflow.operators.spark_streaming import SparkStreamingOperator
from logpipe.airflow.operators.spark_yarn import SparkYarnOperator, SparkYarnStopOperator
from logpipe.airflow.operators.windows_job import windows_job, windows_job_stop
from logpipe.airflow.triggers.spark_yarn import SparkYarnEvent
from tests.airflow.real_parts import connect

NAME = "logpipe windows /checkpoint"
SUBMIT = """#!{python}
import json, sys, urllib.request
name = sys.argv[sys.argv.index("--name") + 1]
body = json.dumps(dict(name=name, arguments=sys.argv[1:])).encode()
urllib.request.urlopen(urllib.request.Request("http://127.0.0.1:{port}/submit", body, method="POST"))
"""


class Cluster:
    """What stands in the ResourceManager and on HDFS."""

    def __init__(self) -> None:
        self.applications: list[dict[str, Any]] = []
        self.files: set[str] = set()
        self.arguments: list[str] = []
        self.stops_on_marker = True

    def add(self, state: str = "RUNNING", name: str = NAME) -> str:
        number = len(self.applications) + 1
        application = {
            "id": f"application_1_{number:04}", "name": name, "state": state, "startedTime": number,
            "finalStatus": "UNDEFINED", "diagnostics": "",
        }  # fmt: skip
        self.applications.append(application)
        return str(application["id"])

    def application(self, application_id: str) -> dict[str, Any]:
        return next(item for item in self.applications if item["id"] == application_id)

    def end(self, application_id: str, state: str, status: str) -> None:
        self.application(application_id).update(state=state, finalStatus=status, diagnostics="why it ended")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    state = Cluster()

    class Answer(BaseHTTPRequestHandler):
        def reply(self, code: int, body: object = None) -> None:
            self.send_response(code)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/ws/v1/cluster/apps":
                live = [item for item in state.applications if item["finalStatus"] == "UNDEFINED"]
                self.reply(200, {"apps": {"app": live} if live else None})
            elif path.startswith("/ws/v1/cluster/apps/"):
                self.reply(200, {"app": state.application(path.rpartition("/")[2])})
            elif path.removeprefix("/webhdfs/v1") in state.files:
                self.reply(200, {"FileStatus": {"modificationTime": 1}})
            else:
                self.reply(404)

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            if path.startswith("/webhdfs"):
                state.files.add(path.removeprefix("/webhdfs/v1"))
                if state.stops_on_marker:
                    state.end(state.applications[-1]["id"], "FINISHED", "SUCCEEDED")
                self.reply(201)
            else:
                state.end(path.split("/")[-2], "KILLED", "KILLED")
                self.reply(202)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.arguments = body["arguments"]
            state.add(name=body["name"])
            self.reply(200)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    connect(monkeypatch, "yarn_default", host="127.0.0.1", port=port)
    connect(monkeypatch, "webhdfs_default", conn_type="webhdfs", host="127.0.0.1", port=port, login="bigdata")
    connect(
        monkeypatch,
        "spark_default",
        conn_type="spark",
        host="yarn",
        extra=json.dumps({"deploy-mode": "cluster"}),
    )
    program = tmp_path / "spark-submit"
    program.write_text(SUBMIT.format(python=sys.executable, port=port))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    yield state
    server.shutdown()
    server.server_close()


class Instance:
    """The task instance's XCom."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.values[key] = value

    def xcom_pull(self, *, task_ids: str, key: str) -> Any:
        return self.values.get(key)


def operator(**arguments: Any) -> SparkYarnOperator:
    return SparkYarnOperator(
        task_id="spark_job", application=NAME, checkpoint_dir="/checkpoint", first_look_s=5, **arguments
    )


def test_the_job_is_submitted_in_cluster_mode_with_its_settings(cluster: Cluster) -> None:
    payload = operator(job_settings={"LOGPIPE_TOPIC": "other"}).execute({"ti": Instance()})
    assert SparkYarnEvent.from_payload(payload).healthy
    text = " ".join(cluster.arguments)
    assert "--master yarn" in text
    assert "--deploy-mode cluster" in text
    assert "spark.yarn.submit.waitAppCompletion=false" in text
    assert "spark.yarn.appMasterEnv.LOGPIPE_TOPIC=other" in text
    assert text.endswith("spark_jobs/stream_windows.py")


def test_a_live_application_is_taken_over(cluster: Cluster) -> None:
    cluster.add(name="somebody else's")
    running = cluster.add()
    assert operator().execute({"ti": Instance()})["application_id"] == running
    assert cluster.arguments == []


def test_of_two_submitted_at_once_the_younger_is_killed(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = operator()
    monkeypatch.setattr(task, "_submit", lambda: [cluster.add("ACCEPTED"), cluster.add("ACCEPTED")])
    assert task._have_live() == "application_1_0001"
    assert cluster.application("application_1_0002")["state"] == "KILLED"


def test_an_application_that_fails_at_its_start_is_an_error(cluster: Cluster) -> None:
    application = cluster.add("ACCEPTED")
    cluster.end(application, "FAILED", "FAILED")
    event = SparkYarnEvent(application, "ended", "FAILED: why it ended", 3.0).to_payload()
    with pytest.raises(ServiceNotHealthyError, match="why it ended"):
        operator().execute_complete({"ti": Instance()}, event)


def test_a_supervised_job_that_ended_is_submitted_anew_and_counted(cluster: Cluster) -> None:
    application = cluster.add()
    cluster.end(application, "FAILED", "FAILED")
    instance = Instance()
    event = SparkYarnEvent(application, "ended", "FAILED", 3.0).to_payload()
    with pytest.raises(TaskDeferred) as deferred:
        operator(supervise=True).execute_complete({"ti": instance}, event)
    assert deferred.value.trigger.application_id == "application_1_0002"
    assert [heal["application"] for heal in instance.values["heals"]] == [application]


def test_a_job_that_hangs_is_killed_before_it_is_submitted_anew(cluster: Cluster) -> None:
    application = cluster.add()
    event = SparkYarnEvent(application, "hung", "its heartbeat stands", 3.0).to_payload()
    with pytest.raises(TaskDeferred):
        operator(supervise=True).execute_complete({"ti": Instance()}, event)
    assert cluster.application(application)["state"] == "KILLED"


def test_too_many_heals_are_an_error(cluster: Cluster) -> None:
    application = cluster.add()
    event = SparkYarnEvent(application, "ended", "FAILED", 3.0).to_payload()
    with pytest.raises(ServiceNotHealthyError, match="1 heals"):
        operator(supervise=True, max_heals=0).execute_complete({"ti": Instance()}, event)


def test_a_supervised_job_that_was_stopped_on_request_is_a_success(cluster: Cluster) -> None:
    application = cluster.add()
    event = SparkYarnEvent(application, "stopped", "FINISHED, SUCCEEDED", 3.0).to_payload()
    assert operator(supervise=True).execute_complete({"ti": Instance()}, event)["state"] == "stopped"
    assert cluster.arguments == []


def stop(**arguments: Any) -> SparkYarnStopOperator:
    return SparkYarnStopOperator(task_id="stop", application=NAME, checkpoint_dir="/checkpoint", **arguments)


def test_a_stop_sets_the_marker_and_waits(cluster: Cluster) -> None:
    application = cluster.add()
    assert stop().execute({}) == [application]
    assert cluster.files == {"/checkpoint/stop"}
    assert cluster.application(application)["state"] == "FINISHED"


def test_a_job_that_does_not_see_the_marker_is_killed(cluster: Cluster) -> None:
    cluster.stops_on_marker = False
    application = cluster.add()
    stop(stop_timeout_s=1.5).execute({})
    assert cluster.application(application)["state"] == "KILLED"


def test_stopping_what_does_not_run_is_no_error_and_another_service_is_skipped(cluster: Cluster) -> None:
    assert stop().execute({}) == []
    with pytest.raises(AirflowSkipException):
        stop(only="replayer").execute({})


@pytest.fixture
def on_yarn(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("LOGPIPE_SPARK_MASTER", "yarn")
    settings.load.cache_clear()
    yield
    monkeypatch.undo()
    settings.load.cache_clear()


def test_the_setting_decides_where_the_windows_job_runs(on_yarn: None) -> None:
    job = windows_job(task_id="job", topic="t", supervise=True)
    assert isinstance(job, SparkYarnOperator)
    assert job.job_settings == {"LOGPIPE_SPARK_MASTER": "yarn"}
    assert isinstance(windows_job_stop(task_id="stop"), SparkYarnStopOperator)


def test_by_default_it_runs_under_the_process_host() -> None:
    assert isinstance(windows_job(task_id="job"), SparkStreamingOperator)
