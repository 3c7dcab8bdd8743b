"""Launching on YARN, with a ResourceManager and a spark-submit that only play their parts.

The real ones are in tests/cluster.
"""

import asyncio
import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from airflow.sdk.exceptions import AirflowSkipException, TaskDeferred

from logpipe import settings
from logpipe.airflow.operators.launch import ServiceNotHealthyError, SparkStreamingOperator
from logpipe.airflow.operators.stop import SparkStreamingStopOperator
from logpipe.airflow.services.kinds import WindowsJob
from logpipe.airflow.triggers.service import ServiceEvent, ServiceTrigger
from logpipe.clients.errors import RefusedError
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
        self.submissions = 1
        self.submitted_state = "RUNNING"
        self.refuses = False
        self.looks = 0
        self.program = Path()

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
                state.looks += 1
                wanted = parse_qs(self.path.partition("?")[2]).get("states", [""])[0].split(",")
                found = [item for item in state.applications if wanted == [""] or item["state"] in wanted]
                self.reply(400 if state.refuses else 200, {"apps": {"app": found} if found else None})
            elif path.startswith("/ws/v1/cluster/apps/"):
                self.reply(200, {"app": state.application(path.rpartition("/")[2])})
            else:
                self.reply(200, {"FileStatus": {}})  # of the root, for the provider's hook

        def do_PUT(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path = self.path.partition("?")[0]
            if path.startswith("/webhdfs"):
                state.files.add(path.removeprefix("/webhdfs/v1"))
                self.reply(200, {"Location": f"http://127.0.0.1:{self.server.server_address[1]}/data"})
            elif path == "/data":
                if state.stops_on_marker:
                    state.end(state.applications[-1]["id"], "FINISHED", "SUCCEEDED")
                self.reply(201)
            else:
                state.end(path.split("/")[-2], "KILLED", "KILLED")
                self.reply(202)

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            state.arguments = body["arguments"]
            for _ in range(state.submissions):
                state.add(state.submitted_state, body["name"])
            self.reply(200)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    port = server.server_address[1]
    absent = {"bootstrap.servers": "127.0.0.1:1"}
    connect(monkeypatch, "kafka_default", conn_type="kafka", extra=absent)
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
    state.program = program
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


@pytest.fixture(autouse=True)
def on_yarn(monkeypatch: pytest.MonkeyPatch) -> None:
    conf = settings.parse(
        spark_master="yarn", hdfs_checkpoint_dir="/checkpoint", topic="other", spark_heap_mb=700
    )
    monkeypatch.setattr(settings, "load", lambda: conf)


def job(**arguments: Any) -> SparkStreamingOperator:
    return SparkStreamingOperator(task_id="spark_job", **{"first_look_s": 5} | arguments)


def supervisor(**more: Any) -> ServiceTrigger:
    values = {
        "supervise": True,
        "check_interval_s": 0.05,
        "poll_interval_s": 0.05,
        "start_timeout_s": 5,
    } | more
    return ServiceTrigger(service=WindowsJob().serialize(), **values)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # the cluster's state
            await asyncio.sleep(0.05)


def test_the_job_is_submitted_in_cluster_mode_with_its_settings(cluster: Cluster) -> None:
    payload = job().execute({"ti": Instance()})
    assert ServiceEvent.from_payload(payload).healthy
    text = " ".join(cluster.arguments)
    assert "--master yarn" in text
    assert "--deploy-mode cluster" in text
    assert "--driver-memory 700m" in text
    assert "spark.yarn.submit.waitAppCompletion=false" in text
    assert "spark.yarn.appMasterEnv.LOGPIPE_TOPIC=other" in text
    assert text.endswith("spark_jobs/stream_windows.py")


def test_a_live_application_is_taken_over(cluster: Cluster) -> None:
    cluster.add(name="somebody else's")
    running = cluster.add()
    assert job().execute({"ti": Instance()})["process"] == running
    assert cluster.arguments == []


def test_of_two_submitted_at_once_the_younger_is_killed(cluster: Cluster) -> None:
    cluster.submissions = 2
    assert job().execute({"ti": Instance()})["process"] == "application_1_0001"
    assert cluster.application("application_1_0002")["state"] == "KILLED"


def test_an_application_that_fails_at_its_start_is_an_error(cluster: Cluster) -> None:
    cluster.submitted_state = "ACCEPTED"
    with pytest.raises(TaskDeferred) as deferral:
        job(first_look_s=0.5).execute({"ti": Instance()})
    cluster.end("application_1_0001", "FAILED", "FAILED")
    trigger = deferral.value.trigger
    assert isinstance(trigger, ServiceTrigger)
    event = asyncio.run(trigger.outcome()).to_payload()
    with pytest.raises(ServiceNotHealthyError, match=r"it is|its process is FAILED .*why it ended"):
        job().execute_complete({}, event)


def test_a_submission_that_fails_is_named(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    cluster.program.write_text("#!/bin/sh\necho no such queue\nexit 1\n")
    with pytest.raises(RefusedError, match=f"{NAME} cannot be submitted"):
        job().execute({"ti": Instance()})


async def test_a_supervised_job_that_ended_is_submitted_anew_and_counted(cluster: Cluster) -> None:
    application = cluster.add()
    watching = asyncio.create_task(supervisor(launched=application).event())
    await until(lambda: cluster.looks > 2)
    cluster.end(application, "FAILED", "FAILED")
    await until(lambda: len(cluster.applications) == 2)
    looks = cluster.looks
    await until(lambda: cluster.looks > looks + 4)
    assert not watching.done()
    cluster.end("application_1_0002", "FINISHED", "SUCCEEDED")
    event = await asyncio.wait_for(watching, 30)
    assert event.stopped


async def test_too_many_heals_are_an_error(cluster: Cluster) -> None:
    application = cluster.add()
    cluster.end(application, "FAILED", "FAILED")
    event = await asyncio.wait_for(supervisor(launched="an earlier one", max_heals=0).event(), 30)
    assert not event.healthy
    assert event.reason.startswith("1 heals in 600 s")


async def test_a_job_that_hangs_is_killed_and_submitted_anew(cluster: Cluster) -> None:
    application = cluster.add("ACCEPTED")
    watching = asyncio.create_task(
        supervisor(launched=application, start_timeout_s=1, hung_after_s=0.5).event()
    )
    await until(lambda: len(cluster.applications) == 2)
    assert cluster.application(application)["state"] == "KILLED"
    looks = cluster.looks
    await until(lambda: cluster.looks > looks + 4)
    cluster.end("application_1_0002", "FINISHED", "SUCCEEDED")
    assert (await asyncio.wait_for(watching, 30)).stopped


async def test_a_resource_manager_that_answers_wrongly_once_ends_no_supervision(cluster: Cluster) -> None:
    application = cluster.add()
    watching = asyncio.create_task(supervisor(launched=application).event())
    await until(lambda: cluster.looks > 2)
    cluster.refuses = True
    looks = cluster.looks
    await until(lambda: cluster.looks > looks + 2)
    cluster.refuses = False
    assert not watching.done()
    cluster.end(application, "FINISHED", "SUCCEEDED")
    assert (await asyncio.wait_for(watching, 30)).stopped
    assert len(cluster.applications) == 1


def stop(**arguments: Any) -> list[str]:
    return SparkStreamingStopOperator(task_id="stop", **arguments).execute({})


def test_a_stop_sets_the_marker_and_waits(cluster: Cluster) -> None:
    application = cluster.add()
    assert stop() == [application]
    assert cluster.files == {"/checkpoint/stop"}
    assert cluster.application(application)["state"] == "FINISHED"


def test_a_job_that_does_not_see_the_marker_is_killed(cluster: Cluster) -> None:
    cluster.stops_on_marker = False
    application = cluster.add()
    host = WindowsJob().host
    assert host.stop(1.5) == [application]
    assert cluster.application(application)["state"] == "KILLED"


def test_stopping_what_does_not_run_is_no_error_and_another_service_is_skipped(cluster: Cluster) -> None:
    assert stop() == []
    with pytest.raises(AirflowSkipException):
        stop(only="replayer")
