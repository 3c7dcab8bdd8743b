"""Passwords and keys are changed while lines are on their way."""

import json

import httpx
import pytest

from logpipe.clients.airflow import PIPELINE_DAG
from logpipe.hosts.layout import AIRFLOW_USER, FERNET_KEY, USER, Layout
from tests.e2e.airflow_client import AirflowClient
from tests.waiting import wait_until

# What logged in before is known no more: the last of the suite.
pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.last(9)]


def test_all_secrets_change_and_no_line_is_lost(pipeline, airflow, epoch):
    layout, settings = Layout(pipeline.state_dir), pipeline.settings()
    old, viewer = layout.secrets(), layout.password_file("viewer").read_text()
    airflow._request("POST", "/variables", json={"key": "kept", "value": "as it was"})
    before = pipeline.verify()[1]["source"]
    run_id = airflow.trigger(PIPELINE_DAG, {"pace": "speed:300"})
    wait_until(lambda: airflow.tries(PIPELINE_DAG, run_id)["replay"][0] == "deferred", 120, poll_s=1)

    answer = pipeline.command("rotate")
    assert answer.returncode == 0, answer.stdout + answer.stderr

    new = layout.secrets()
    assert old.keys() == new.keys()
    assert [name for name in old if old[name] == new[name]] == []
    assert "," not in new[FERNET_KEY]
    assert layout.password_file("viewer").read_text() != viewer
    for secrets, status in ((old, 401), (new, 200)):
        login = (USER, secrets["replayer_password"])
        url = f"http://localhost:{settings.replayer_port}/follows"
        assert httpx.get(url, auth=login).status_code == status
    known = {"username": AIRFLOW_USER, "password": old["airflow_admin_password"]}
    assert httpx.post(f"{airflow.url}/auth/token", json=known).status_code == 401
    again = AirflowClient([settings.host], settings.airflow_port, AIRFLOW_USER, new["airflow_admin_password"])
    assert again._request("GET", "/variables/kept")["value"] == "as it was"
    for path in pipeline.state_dir.rglob("*"):
        if path.suffix in (".json", ".cfg", ".conf") and path.is_file():
            text = path.read_text(errors="replace")
            assert not [name for name, secret in old.items() if secret in text], path

    wait_until(lambda: again.run_state(PIPELINE_DAG, run_id) in ("success", "failed"), 400, poll_s=1)
    assert again.run_state(PIPELINE_DAG, run_id) == "success"
    assert again.supervised() == epoch
    status, after = pipeline.verify()
    assert (status, after["source"] - before) == (0, 20_000), json.dumps(after)
