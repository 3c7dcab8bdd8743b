"""Alerts in a real Airflow: told once, though all of it was killed; and a day that is not sealed in time."""

import json
import os
import signal
import sqlite3
import threading
from contextlib import closing
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from logpipe.hosts.layout import Layout
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DAG_ID = "watch_logs"
TOLD = """
[[notify]]
notifier = "airflow.providers.apprise.notifications.apprise.AppriseNotifier"
[notify.arguments]
title = "{{ alert.state }}: {{ alert.key }}"
body = "{{ alert.told }}"
"""
FULL = "[disk]\nused = 0.000001\nhold_s = 0\nquiet_s = 0\n"
ROOM = "[disk]\nused = 1.0\nquiet_s = 0\n"


@pytest.fixture
def messages(pipeline):
    """What Apprise sends by the connection that Airflow has."""
    received = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["title"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Nothing on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", pipeline.messages_port), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield received
    server.shutdown()
    server.server_close()


@pytest.fixture
def rules(pipeline, messages):
    """Writes the rules that differ; at the end nobody is told any more."""
    path = Path(pipeline.environment["LOGPIPE_ALERTS_FILE"])
    before = path.read_text()

    def write(text):
        others = before.replace(f"{text.partition(chr(10))[0]}\nenabled = false\n", "")
        path.write_text(others + text + TOLD)

    yield write
    path.write_text(before)


def watching(airflow):
    """The run that waits for alerts."""

    def deferred():
        runs = airflow.active_runs(DAG_ID)
        states = [(run, airflow.tries(DAG_ID, run)["watch"]) for run in runs]
        return next(((run, number) for run, (state, number) in states if state == "deferred"), None)

    return wait_until(deferred, 120, "the task to be deferred", poll_s=1)


def alert_events(airflow):
    return [event["extra"] for event in airflow.asset_events() if event["name"] == "apache_logs_alert"]


@pytest.mark.slow
def test_an_alert_is_told_once_though_airflow_was_killed(pipeline, airflow, rules, messages):
    run_id, number = watching(airflow)
    processes = pipeline.services()
    for name in ("airflow-triggerer", "airflow-scheduler", "airflow-api-server", "airflow-dag-processor"):
        os.kill(processes[name]["pid"], signal.SIGKILL)
    rules(FULL)
    wait_until(lambda: len(messages) >= 3, 240, "messages of all disks")
    assert sorted(messages) == [
        "firing: disk HDFS",
        "firing: disk disk of hadoop",
        "firing: disk disk of kafka",
    ]
    wait_until(lambda: airflow.run_state(DAG_ID, run_id) == "success", 120, "the end of the run", poll_s=1)
    assert airflow.tries(DAG_ID, run_id)["watch"] == ("success", number), "the same try"
    fired = [event for event in alert_events(airflow) if event["rule"] == "disk"]
    assert sorted(event["key"] for event in fired) == [
        title.removeprefix("firing: ") for title in sorted(messages)
    ]
    rules(ROOM)
    wait_until(lambda: len(messages) >= 6, 240, "messages of their end")
    assert sorted(messages[3:]) == [title.replace("firing", "resolved") for title in sorted(messages[:3])]
    watching(airflow)
    assert len(alert_events(airflow)) == len(fired), "what resolves is no event"


@pytest.mark.slow
def test_a_triggerer_that_lives_and_runs_no_triggers_is_told(pipeline, airflow, rules, messages):
    """Its process is there, so nobody starts it again; what runs its triggers is frozen."""
    watching(airflow)
    triggerer = psutil.Process(pipeline.services()["airflow-triggerer"]["pid"])
    runner = max(triggerer.children(), key=lambda child: child.memory_info().rss)
    rules("[watcher]\nenabled = true\nhold_s = 0\nquiet_s = 0\nsilent_s = 60\n")
    runner.suspend()
    try:
        wait_until(lambda: "firing: watcher" in messages, 240, "the message")
        assert triggerer.is_running()
    finally:
        triggerer.kill()  # what docs/alerts.md says that a person does
        runner.kill()
    wait_until(lambda: "resolved: watcher" in messages, 240, "the message of its end")
    watching(airflow)


@pytest.mark.slow
def test_a_day_that_is_not_sealed_in_time_is_told(pipeline, airflow, rules, messages):
    """Airflow's own deadline, whose time is brought forward in its database."""
    rules(ROOM)
    watching(airflow)
    day = datetime.now(UTC).date().isoformat()  # it is not over, so nobody seals it
    run_id = airflow.trigger("hdfs_partitions", {"date": day})
    database = Layout(pipeline.state_dir).airflow_dir / "airflow.db"

    def brought_forward():
        with closing(sqlite3.connect(database, timeout=30)) as connection, connection:
            now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ")
            return connection.execute(
                "UPDATE deadline SET deadline_time = ? WHERE NOT missed", [now]
            ).rowcount

    wait_until(brought_forward, 60, "a deadline of the run")
    wait_until(lambda: f"firing: days {day}" in messages, 180, "the message")
    airflow.mark("hdfs_partitions", run_id, "failed")
