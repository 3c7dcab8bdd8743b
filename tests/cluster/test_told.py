"""Alerts by the rules, and the notifier's connection, that `make cluster-up` was given."""

import json
import time

import httpx
import pytest

from logpipe.settings import ADMIN
from tests.cluster.conftest import RECEIVER_PORT
from tests.cluster.test_cluster import EDGES
from tests.cluster.under_test import ClusterUnderTest
from tests.waiting import wait_until

pytestmark = pytest.mark.cluster

MESSAGES = "/tmp/messages"
RECEIVER = f"""
import http.server
class Receiver(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        with open("{MESSAGES}", "ab") as file:
            file.write(self.rfile.read(int(self.headers["Content-Length"])) + b"\\n")
        self.send_response(200)
        self.end_headers()
http.server.ThreadingHTTPServer(("0.0.0.0", {RECEIVER_PORT}), Receiver).serve_forever()
"""
BEGAN = time.time_ns()  # a log with lines of before would be the one that was followed before
LOG = f"/tmp/broken/{BEGAN}.log"
WRITE = f"""
mkdir -p $(dirname {LOG})
for n in $(seq 200); do echo '127.0.0.1 - - [29/Nov/2026:12:00:00 +0000] "GET /{BEGAN}/'$n' HTTP/1.1" 200 5 "-" "-"'; done > {LOG}
for n in $(seq 300); do echo "no line of an access log $n"; done >> {LOG}
"""  # noqa: E501


def titles(cluster: ClusterUnderTest) -> list[str]:
    """Of the messages that have come, in order."""
    lines = cluster.execute("ftp", f"touch {MESSAGES}; cat {MESSAGES}").splitlines()
    return [json.loads(line)["title"] for line in lines]


def on_the_page(cluster: ClusterUnderTest) -> dict[str, list[dict[str, str]]]:
    """The alerts, by Airflow's page, as who may see it."""
    address = f"http://localhost:{cluster.environment['LOGPIPE_AIRFLOW_PORT']}"
    login = {"username": ADMIN, "password": cluster.secret("airflow_admin_password")}
    token = httpx.post(f"{address}/auth/token", json=login, timeout=60).raise_for_status().json()
    headers = {"Authorization": f"Bearer {token['access_token']}"}
    found: dict[str, list[dict[str, str]]] = (
        httpx.get(f"{address}/logpipe/api/alerts", headers=headers, timeout=60).raise_for_status().json()
    )
    return found


def test_malformed_lines_are_told_once_and_so_is_their_end(
    cluster: ClusterUnderTest, long_form: None
) -> None:
    cluster.docker("exec", "-d", cluster.container("ftp"), "python", "-c", RECEIVER)
    for host in EDGES:
        cluster.execute(host, WRITE)
    cluster.command("follow", "--from", "start", "--", LOG)
    try:
        wait_until(lambda: titles(cluster), 300, "the message", 2.0)
        assert titles(cluster) == ["firing: malformed"]
        assert [alert["key"] for alert in on_the_page(cluster)["firing"]] == ["malformed"]
        wait_until(lambda: titles(cluster)[1:], 300, "the message of its end", 2.0)
    finally:
        cluster.command("unfollow", "--", LOG)
    assert titles(cluster) == ["firing: malformed", "resolved: malformed"]
    page = on_the_page(cluster)
    assert page["firing"] == []
    assert [alert["key"] for alert in page["history"]] == ["malformed"]
