"""Page and runs under Airflow's auth manager with roles of its own (FAB): who may look starts nothing."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.airflow.operators.test_wheel import Elsewhere
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(1200)]

DAG = "# none of its own"
USERS = {"viewer": "Viewer", "user": "User", "public": "Public"}
BUNDLES = [{"name": "logpipe", "classpath": "logpipe.airflow.bundle.LogpipeDagBundle", "kwargs": {}}]
START_S = 600  # a busy machine imports slowly
RUNS = "/api/v2/dags/replay_log/dagRuns"


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Its address."""
    elsewhere, port = Elsewhere(tmp_path_factory.mktemp("fab")), free_port()
    elsewhere.install(DAG, "lineage", "apache-airflow-providers-fab", free=["python-dateutil"])
    elsewhere.environment |= {
        "AIRFLOW__CORE__AUTH_MANAGER": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
        "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(BUNDLES),
    }

    def do(*command: str) -> None:
        answer = elsewhere.run("airflow", *command)
        assert answer.returncode == 0, answer.stdout[-3000:] + answer.stderr[-3000:]

    do("db", "migrate")
    for name, role in USERS.items():
        person = ("--firstname", name, "--lastname", name, "--email", f"{name}@example.org")
        do("users", "create", "--username", name, "--password", name, "--role", role, *person)
    do("dags", "reserialize")
    with (elsewhere.folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            [elsewhere.bin / "airflow", "api-server", "--host", "127.0.0.1", "--port", str(port)],
            env=elsewhere.environment, cwd=elsewhere.folder, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    try:
        wait_until(lambda: is_up(server, address, Path(log.name)), START_S, "the API server", 0.5)
        yield address
    finally:
        server.terminate()
        server.wait(60)


def is_up(server: "subprocess.Popen[bytes]", address: str, log: Path) -> bool:
    assert server.poll() is None, log.read_text()[-3000:]
    try:
        return httpx.get(f"{address}/api/v2/version", timeout=10).is_success
    except httpx.HTTPError:
        return False


def token(airflow: str, name: str) -> str:
    answer = httpx.post(f"{airflow}/auth/token", json={"username": name, "password": name}, timeout=60)
    return str(answer.raise_for_status().json()["access_token"])


def asked(airflow: str, name: str, method: str, path: str, **more: object) -> int:
    """How the server answers somebody, as a browser asks; nobody without a name."""
    cookies = {"_token": token(airflow, name)} if name else {}
    with httpx.Client(cookies=cookies, timeout=60) as client:
        return client.request(method, f"{airflow}{path}", json=more or None).status_code


def test_a_viewer_sees_page_and_runs_and_starts_none(airflow: str) -> None:
    for path in ("/logpipe/", "/logpipe/static/uPlot.iife.min.js", RUNS):
        assert asked(airflow, "viewer", "GET", path) == 200, path
    assert asked(airflow, "viewer", "GET", "/logpipe/api/flow") == 503, "its service is nowhere"
    assert asked(airflow, "viewer", "POST", RUNS, logical_date=None) == 403
    assert asked(airflow, "viewer", "GET", "/api/v2/connections") == 403


def test_a_user_starts_runs_and_sees_no_connection(airflow: str) -> None:
    assert asked(airflow, "user", "GET", "/logpipe/") == 200
    assert asked(airflow, "user", "POST", RUNS, logical_date=None) == 200
    assert asked(airflow, "user", "GET", "/api/v2/connections") == 403


@pytest.mark.parametrize(("name", "status"), [("public", 403), ("", 401)])
def test_who_has_no_rights_sees_nothing(airflow: str, name: str, status: int) -> None:
    for path in ("/logpipe/", "/logpipe/static/uPlot.iife.min.js", "/logpipe/api/flow", RUNS):
        assert asked(airflow, name, "GET", path) == status, path
