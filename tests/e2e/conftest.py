"""One copy of the whole pipeline for a test session: own ports, own state folder, stopped at the end."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from secrets import token_hex

import psutil
import pytest

from logpipe import settings as project_settings
from logpipe.cli.machine import MachineTarget
from logpipe.cli.terminal import make_console
from logpipe.clients.airflow import SERVICES_DAG
from logpipe.hosts.layout import AIRFLOW_USER, Layout
from logpipe.settings import PROJECT_DIR
from tests.e2e.airflow_client import AirflowClient
from tests.ports import free_port, free_ports
from tests.replayer.servers import LOGIN

# What other tests do here on purpose is not told of.
NO_ALERTS = "".join(
    f"[{rule}]\nenabled = false\n" for rule in ("accounting", "heals", "lag", "silence", "watcher")
)
CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
COMMAND_TIMEOUT_S = float(os.environ.get("COMMAND_S") or 420)  # more on a busy machine


@dataclass(frozen=True)
class Pipeline:
    """A copy of the pipeline, used through its commands as a person would.

    What is asked again and again is asked in this process, as the command does it: to start one costs a
    second of CPU.
    """

    environment: dict[str, str]
    state_dir: Path
    messages_port: int  # whom Airflow's connection for messages leads to
    server_port: int  # where a log's server may be
    signature: str  # what that asks for, besides the tests' user and password, by the connection `signed`

    def command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "logpipe.cli", *arguments],
            env=self.environment, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
        )  # fmt: skip

    @property
    def target(self) -> MachineTarget:
        """What the commands act on."""
        return MachineTarget(self.settings(), make_console())

    def services(self) -> dict[str, dict[str, object]]:
        """What `make status JSON=1` prints of the services."""
        return {name: service.to_json() for name, service in self.target.services().items()}

    def pids(self, names: Collection[str]) -> dict[str, int | None]:
        """The process of each of these services; asks the process host only."""
        running = {each.service: each.pid for each in self.target.stack.host.client.processes() if each.pid}
        return {name: running.get(name) for name in names}

    def verify(self) -> tuple[int, dict[str, int]]:
        """Exit status of `make verify` and its last line."""
        with redirect_stdout(StringIO()) as printed:
            status = self.target.verify()
        return status, json.loads(printed.getvalue().splitlines()[-1])

    def settings(self) -> project_settings.Settings:
        """The settings of this copy."""
        values = {
            name.removeprefix("LOGPIPE_").lower(): value
            for name, value in self.environment.items()
            if name.startswith("LOGPIPE_")
        }
        return project_settings.parse(**values)


@contextmanager
def own_copy(state_dir: Path, file_roots: Path) -> Iterator[Pipeline]:
    """A copy with ports of its own; stopped at the end, and nothing of it may be left behind."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGPIPE_")}
    messages_port, server_port, signature = free_port(), free_port(), token_hex()
    receiver = {"path": f"json://127.0.0.1:{messages_port}/", "tag": "all"}
    rules = state_dir.with_name("alerts.toml")
    rules.write_text(NO_ALERTS)
    environment |= free_ports() | {
        "LOGPIPE_STATE_DIR": str(state_dir),
        "LOGPIPE_ROLL_INTERVAL_S": "20",
        "LOGPIPE_FILE_ROOTS": str(file_roots),
        "LOGPIPE_ALERTS_FILE": str(rules),
        "AIRFLOW_CONN_APPRISE_DEFAULT": json.dumps({"conn_type": "apprise", "extra": {"config": [receiver]}}),
        "LOGPIPE_SOURCE_HOSTS": f"public,localhost:{server_port}",
        "AIRFLOW_CONN_SIGNED": json.dumps(
            {
                "conn_type": "http",
                "host": "localhost",
                "login": LOGIN.user,
                "password": LOGIN.password,
                "extra": {"query": f"X-Amz-Signature={signature}"},
            }
        ),
    }
    copy = Pipeline(environment, state_dir, messages_port, server_port, signature)
    consumers = state_dir.with_name("consumers")
    consumers.mkdir()
    settings = copy.settings()
    (consumers / "days.py").write_text(CONSUMERS.format(uri=f"{settings.hdfs_url}{settings.hdfs_logs_dir}"))
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    bundles = [
        {"name": "dags-folder", "classpath": local, "kwargs": {}},
        {"name": "consumers", "classpath": local, "kwargs": {"path": str(consumers)}},
    ]
    environment["AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST"] = json.dumps(bundles)
    try:
        yield copy
    finally:
        stopped = copy.command("stop")
        left = [
            process for process in psutil.process_iter(["cmdline"]) if str(state_dir) in str(process.info)
        ]
        for process in left:
            process.kill()
        assert stopped.returncode == 0, stopped.stdout + stopped.stderr
        assert not left, f"left behind: {left}"


# DAGs of somebody else, in a folder of their own: one by the plain event, one by its partition.
CONSUMERS = """
from airflow.sdk import DAG, Asset, PartitionedAssetTimetable
from airflow.providers.standard.operators.empty import EmptyOperator
days = Asset("apache_logs_partition", uri="{uri}")
for dag_id, schedule in (("by_event", [days]), ("by_partition", PartitionedAssetTimetable(assets=days))):
    with DAG(dag_id, schedule=schedule, is_paused_upon_creation=False) as dag:
        EmptyOperator(task_id="told")
    globals()[dag_id] = dag
"""


@dataclass(frozen=True)
class FirstRun:
    """What `make run` printed, and what `make verify` and `make status` told behind it."""

    output: str
    verified: tuple[int, dict[str, int]]
    status: dict[str, object]


@pytest.fixture(scope="package")
def pipeline(tmp_path_factory):
    with own_copy(tmp_path_factory.mktemp("pipeline") / "state", tmp_path_factory.getbasetemp()) as copy:
        yield copy


@pytest.fixture(scope="package")
def first_run(pipeline):
    """`make run` with the bundled log, as fast as it is acknowledged."""
    answer = pipeline.command("run", "--pace", "max")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    status = json.loads(pipeline.command("status", "--json").stdout)
    verified = pipeline.command("verify")
    assert verified.stdout, verified.stderr
    accounting = json.loads(verified.stdout.splitlines()[-1])
    return FirstRun(answer.stdout, (verified.returncode, accounting), status)


@pytest.fixture(scope="package")
def airflow(pipeline, first_run):
    settings = pipeline.settings()
    password = Layout.of(settings).secrets()["airflow_admin_password"]
    return AirflowClient([settings.host], settings.airflow_port, AIRFLOW_USER, password)


@pytest.fixture
def epoch(airflow):
    """The run that supervises the services; all of them run."""
    if not airflow.active_runs(SERVICES_DAG):
        airflow.trigger(SERVICES_DAG, {})
    return airflow.supervised()


@pytest.fixture(scope="package")
def browser():
    if CHROMIUM is None:
        pytest.skip("chromium is not on PATH (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


def log_in(browser, address, user, password):
    """A window of a browser in which a person has logged in at an Airflow; it shares nothing with others."""
    page = browser.new_page(viewport={"width": 1440, "height": 810})
    page.goto(address)
    page.get_by_label("Username").fill(user)
    page.get_by_label("Password").fill(password)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "login" not in url)
    return page


@pytest.fixture(scope="package")
def login(browser, airflow, pipeline):
    """What a browser knows once the administrator has logged in."""
    secrets = json.loads((pipeline.state_dir / "secrets.json").read_text())
    page = log_in(browser, airflow.url, "admin", secrets["airflow_admin_password"])
    state = page.context.storage_state()
    page.close()
    return state


@pytest.fixture
def logged_in(browser, login):
    page = browser.new_page(viewport={"width": 1440, "height": 810}, storage_state=login)
    page.set_default_timeout(120_000)  # Airflow's first pages are slow on a busy machine
    yield page
    page.close()
