"""One cluster for a test session: own name, own state folder, own port; taken down at the end."""

import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from logpipe.alerts.rules import load
from logpipe.hosts.cluster.compose import Compose, ComposeError
from logpipe.settings import PROJECT_DIR
from tests.cluster.under_test import ClusterUnderTest, Row, write_table
from tests.ports import free_port

RECEIVER_PORT = 8025  # of messages, on the FTP server's host
# Of all rules this one alone, within what a test waits for; nobody hears of the faults.
RULES = """
[malformed]
for_s = 60
share = 0.3
quiet_s = 0

[[notify]]
notifier = "airflow.providers.apprise.notifications.apprise.AppriseNotifier"
[notify.arguments]
title = "{{ alert.state }}: {{ alert.key }}"
body = "{{ alert.told }}"
"""
NOTIFIER = {
    "conn_type": "apprise",
    "extra": {"config": [{"path": f"json://ftp:{RECEIVER_PORT}/", "tag": "all"}]},
}
ENGINE = PROJECT_DIR / "docker" / "engine"
ROWS: list[Row] = []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A cluster takes its time; each test has a deadline of its own inside."""
    for item in items:
        if "tests/cluster" in str(item.path):
            item.add_marker(pytest.mark.timeout(1800))


@pytest.fixture(scope="session")
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, str]]:
    """Environment variables that lead to an engine."""
    if request.config.getoption("--engine") == "found":
        try:
            Compose("none", {}).check()
        except ComposeError as error:
            pytest.skip(f"{error}\n(as root on Debian, ENGINE=own installs and starts one)")
        yield {}
        return
    if os.getuid() != 0:
        pytest.skip("an engine of its own needs root")
    folder = tmp_path_factory.mktemp("engine")
    try:
        started = subprocess.run([ENGINE, "start", folder], capture_output=True, text=True, check=False)
        if started.returncode:
            pytest.skip(f"no engine could be installed and started here:\n{started.stderr[-2000:]}")
        yield {"DOCKER_HOST": started.stdout.strip(), "PATH": f"/usr/bin:{os.environ['PATH']}"}
    finally:
        subprocess.run([ENGINE, "stop", folder], check=True)


def others_off() -> str:
    """Rules but that of malformed lines, switched off."""
    known = (name.replace("errors.", "errors.burns.") for name in load().names() if name != "malformed")
    return "".join(f"[{name}]\nenabled = false\n" for name in known)


@pytest.fixture(scope="session")
def cluster(engine: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterUnderTest]:
    folder = tmp_path_factory.mktemp("cluster")
    (folder / "alerts.toml").write_text(RULES + others_off())
    kept = {name: value for name, value in os.environ.items() if not name.startswith("LOGPIPE_")}
    environment = kept | engine | {
        "LOGPIPE_CLUSTER_NAME": f"logpipe-test-{os.getpid()}",
        "LOGPIPE_STATE_DIR": str(folder / "state"),
        "LOGPIPE_AIRFLOW_PORT": str(free_port()),
        "LOGPIPE_ROLL_INTERVAL_S": "10",
        "LOGPIPE_ALERTS_FILE": str(folder / "alerts.toml"),
        "AIRFLOW_CONN_APPRISE_DEFAULT": json.dumps(NOTIFIER),
        "LOGPIPE_SECURE_HADOOP": os.environ.get("LOGPIPE_SECURE_HADOOP", "1"),
        "LOGPIPE_FILE_ROOTS": "/tmp",  # the only folder that an edge host's container may write
    }  # fmt: skip
    under_test = ClusterUnderTest(environment)
    try:
        under_test.command("up")
        yield under_test
    finally:
        under_test.command("clean", check=False)
    assert not under_test.container_ids(), "containers are left behind"


@pytest.fixture
def kerberos(cluster: ClusterUnderTest) -> None:
    if not cluster.has_kerberos:
        pytest.skip("HDFS and YARN ask nobody: LOGPIPE_SECURE_HADOOP=0")


@pytest.fixture
def long_form(request: pytest.FixtureRequest) -> None:
    if request.config.getoption("--short-faults"):
        pytest.skip("not part of the short form")


def pytest_sessionfinish() -> None:
    if ROWS and os.environ.get("WRITE_RELIABILITY"):
        write_table(ROWS, PROJECT_DIR / "docs" / "reliability-cluster.md")
