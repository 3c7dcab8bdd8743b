"""Alerts of a real pipeline: from a lost line to a mail and a message, told once, also when nobody asks."""

import asyncio
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiosmtpd.controller import Controller
from airflow.sdk import Asset
from airflow.sdk.exceptions import TaskDeferred

from logpipe.airflow.operators.seal import day_is_late
from logpipe.airflow.operators.watch import AlertsUntoldError, WatchOperator
from logpipe.airflow.triggers.alert import AlertTrigger
from logpipe.contracts.days import date_of
from logpipe.digest import Digest
from logpipe.hosts.layout import Layout
from logpipe.serving import USER
from tests.accounting.pipeline import DAY, Pipeline, nasa_lines
from tests.machine import Service
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = nasa_lines(300)
QUICK = """
[retention]
enabled = false
[disk]
enabled = false
[lag]
enabled = false
"""
NOTIFIERS = """
[[notify]]
notifier = "airflow.providers.smtp.notifications.smtp.SmtpNotifier"
severities = ["urgent"]
[notify.arguments]
from_email = "logs@example.org"
to = "operators@example.org"
subject = "{{ alert.state }}: {{ alert.title }}"
html_content = "{{ alert.told }}"

[[notify]]
notifier = "airflow.providers.apprise.notifications.apprise.AppriseNotifier"
[notify.arguments]
title = "{{ alert.state }}: {{ alert.title }}"
body = "{{ alert.told }}"
"""


@dataclass
class Inbox:
    """A mail server and an HTTP receiver, and what both were sent."""

    mails: list[tuple[str, str]] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802
        mail = message_from_bytes(envelope.content)
        body = mail.get_payload()[0] if mail.is_multipart() else mail
        self.mails.append((mail["Subject"], body.get_payload(decode=True).decode().strip()))
        return "250 OK"

    @property
    def subjects(self) -> list[str]:
        return [subject for subject, _ in self.mails]

    @property
    def titles(self) -> list[str]:
        return [title for title, _ in self.messages]


@contextmanager
def mail_server(inbox: Inbox, port: int) -> Iterator[None]:
    controller = Controller(inbox, hostname="127.0.0.1", port=port)
    controller.start()
    yield
    controller.stop()


@pytest.fixture
def inbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Inbox]:
    """Connections of Airflow's lead to it, in the environment: programs that are started have them."""
    inbox, port = Inbox(), free_port()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            inbox.messages.append((sent["title"], sent["message"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing on the terminal."""

    receiver = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    smtp = {"disable_ssl": True, "disable_tls": True, "timeout": 10, "retry_limit": 1}
    connect(monkeypatch, "smtp_default", conn_type="smtp", host="127.0.0.1", port=port, extra=smtp)
    config = {"path": f"json://127.0.0.1:{receiver.server_port}/", "tag": "all"}
    connect(monkeypatch, "apprise_default", conn_type="apprise", extra={"config": [config]})
    inbox.smtp_port = port  # type: ignore[attr-defined]
    yield inbox
    receiver.shutdown()
    receiver.server_close()


def connect(monkeypatch: pytest.MonkeyPatch, conn_id: str, **values: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(values))


@dataclass
class Watched:
    """A pipeline whose page's service looks at rules of its own."""

    pipeline: Pipeline
    rules: Path
    service: Service
    password: str

    def ask(self, path: str, method: str = "GET") -> dict[str, Any]:
        url = f"http://localhost:{self.pipeline.settings.page_port}{path}"
        return httpx.request(method, url, auth=(USER, self.password)).raise_for_status().json()

    @property
    def firing(self) -> set[str]:
        return {alert["key"] for alert in self.ask("/alerts")["firing"]}


def lose(pipeline: Pipeline) -> None:
    """Two lines are acknowledged that never came to the topic."""
    pipeline.record("a", LINES)
    pipeline.send("a", LINES[:-2])
    pipeline.write()
    pipeline.count()


@pytest.fixture
def watched(
    pipeline: Pipeline, inbox: Inbox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Watched]:
    """Two of its lines are lost."""
    lose(pipeline)
    rules = tmp_path / "alerts.toml"
    rules.write_text(QUICK + NOTIFIERS)
    monkeypatch.setenv("LOGPIPE_ALERTS_FILE", str(rules))
    monkeypatch.setattr("logpipe.airflow.tell.settings.load", lambda: pipeline.settings)
    pipeline.settings = pipeline.settings.model_copy(update={"alerts_file": str(rules)})
    password = Layout.of(pipeline.settings).secrets()["page_password"]
    port = pipeline.settings.page_port
    login = {"login": USER, "password": password}
    connect(monkeypatch, "page_default", conn_type="http", host="localhost", port=port, **login)
    service = Service.of("page", pipeline.settings, tmp_path / "page.log", AIRFLOW_HOME=str(tmp_path))
    yield Watched(pipeline, rules, service.start(), password)
    service.end()


class Outlet(dict[Any, Any]):
    """What a task's context has for the events of its outlets."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []

    def __missing__(self, _: object) -> "Outlet":
        return self

    def add(self, asset: Asset, extra: dict[str, Any]) -> None:
        self.events.append(extra)


def watch() -> list[dict[str, Any]]:
    """One run of the task: defers, waits, resumes on a worker; gives the events of the asset."""
    operator = WatchOperator(task_id="watch", asset=Asset("alert"), poll_interval_s=0.2, patience_s=1)
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute({})
    trigger = deferred.value.trigger
    assert isinstance(trigger, AlertTrigger)
    trigger.not_before_epoch_s = 0

    async def fired() -> dict[str, Any]:
        async for event in trigger.run():
            return json.loads(json.dumps(event.payload))
        raise AssertionError

    context = {"outlet_events": Outlet()}
    operator.execute_complete(context, asyncio.run(asyncio.wait_for(fired(), 90)))
    return context["outlet_events"].events


LOST = "firing: Lines are not accounted for"
FOUND = "resolved: Lines are not accounted for"


def test_lost_lines_are_told_once_by_mail_and_message_and_resolve(watched: Watched, inbox: Inbox) -> None:
    with mail_server(inbox, inbox.smtp_port):
        events = watch()
        assert [(event["key"], event["state"]) for event in events] == [("accounting", "firing")]
        assert events[0]["told"].startswith("2 lines lost, 0 doubled")
        assert inbox.mails == inbox.messages == [(LOST, events[0]["told"])]
        assert watched.firing == {"accounting"}
        assert watched.ask("/alerts/look", "POST")["changes"] == [], "it was told"
        watched.service.kill()
        watched.pipeline.send("a", LINES[-2:], first=len(LINES) - 1)
        watched.pipeline.write()
        watched.pipeline.count()
        watched.service.start()
        assert watched.firing == {"accounting"}, "its state is on the disk"
        assert watch() == [], "what resolves is no event of the asset"
    assert inbox.subjects == inbox.titles == [LOST, FOUND]
    told = watched.ask("/alerts")
    assert told["firing"] == []
    assert [alert["key"] for alert in told["history"]] == ["accounting"]


def test_a_mail_that_cannot_be_sent_is_sent_later_and_the_message_is_not_sent_again(
    watched: Watched, inbox: Inbox
) -> None:
    with pytest.raises(AlertsUntoldError, match="SmtpNotifier has not sent accounting"):
        watch()
    assert (inbox.subjects, inbox.titles) == ([], [LOST])
    watched.service.kill()
    watched.service.start()  # forgets who took it; else it comes again after two minutes
    with mail_server(inbox, inbox.smtp_port):
        assert [event["key"] for event in watch()] == ["accounting"]
    assert (inbox.subjects, inbox.titles) == ([LOST], [LOST])


def test_rules_that_cannot_work_fail_the_task_and_are_on_the_page(watched: Watched) -> None:
    watched.rules.write_text("[lag]\nseconds = -1")
    with pytest.raises(AlertsUntoldError, match=r"\[lag\] seconds is -1"):
        watch()
    assert "[lag] seconds is -1" in watched.ask("/alerts")["error"]
    watched.rules.write_text(QUICK)
    wait_until(lambda: not watched.ask("/alerts/look", "POST")["error"], 10, "the rules to be read again")


def test_a_service_that_is_away_fails_the_task_on_its_worker(watched: Watched) -> None:
    watched.service.end()
    with pytest.raises(AlertsUntoldError, match="No answer"):
        watch()


def test_nobody_asks_and_it_is_told_all_the_same(watched: Watched, inbox: Inbox) -> None:
    """Airflow's triggerer runs no triggers: the page's service notices, and sends by itself."""
    watched.rules.write_text(QUICK + "[watcher]\nsilent_s = 2\n" + NOTIFIERS)
    with mail_server(inbox, inbox.smtp_port):
        wait_until(lambda: len(inbox.messages) >= 2, 120, "messages of the page's service")
        assert set(inbox.subjects) == set(inbox.titles) == {LOST, "firing: Nobody watches in Airflow"}
        assert not watched.ask("/alerts")["is_watched"]
        watch()
    assert "resolved: Nobody watches in Airflow" in inbox.subjects
    assert len(inbox.mails) == len(inbox.messages) == 3


def test_a_late_day_is_an_alert_until_it_is_sealed(watched: Watched) -> None:
    day = date_of(DAY).isoformat()
    run = {"dag_id": "hdfs_partitions", "dag_run_id": "one", "conf": {}, "logical_date": None}
    run["run_after"] = f"{date_of(DAY) + timedelta(days=1)}T00:30:00Z"  # type: ignore[assignment]
    day_is_late({"dag_run": run, "deadline": {"deadline_time": "04:30"}})
    wait_until(
        lambda: watched.ask("/alerts/look", "POST") and f"days {day}" in watched.firing, 60, "an alert"
    )
    watched.service.kill()
    watched.pipeline.seal(DAY, Digest.of(LINES[:-2]))
    watched.service.start()
    wait_until(
        lambda: watched.ask("/alerts/look", "POST") and f"days {day}" not in watched.firing, 60, "its end"
    )


def test_alerts_are_metrics(watched: Watched) -> None:
    wait_until(lambda: watched.ask("/alerts/look", "POST") and watched.firing, 90, "an alert")
    url = f"http://localhost:{watched.pipeline.settings.page_port}/metrics"
    text = httpx.get(url, auth=(USER, watched.password)).text
    assert 'logpipe_alert_firing{key="accounting",rule="accounting",severity="urgent"} 1.0' in text
    assert 'logpipe_alerts_fired_total{rule="accounting"} 1.0' in text
    assert 'logpipe_alerts_fired_total{rule="silence"} 0.0' in text
    assert "logpipe_alerts_untold 1.0" in text
