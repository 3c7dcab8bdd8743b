"""The DAG of dated partitions, over the lines of the first run."""

import json
from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DAG_ID = "hdfs_partitions"


@pytest.fixture
def webhdfs(pipeline):
    settings = pipeline.settings()
    base = f"{settings.webhdfs_url}/webhdfs/v1{settings.hdfs_logs_dir}"

    def read(path: str) -> bytes | None:
        answer = httpx.get(f"{base}/{path}?op=OPEN", follow_redirects=True)
        return None if answer.status_code == 404 else answer.raise_for_status().content

    return read


def finished(airflow, run_id: str) -> str:
    state = wait_until(
        lambda: (now := airflow.run_state(DAG_ID, run_id)) in ("success", "failed") and now, 300, poll_s=1
    )
    if state == "failed":
        pytest.fail(
            "\n".join(airflow.task_log(DAG_ID, run_id, task) for task in airflow.tries(DAG_ID, run_id))
        )
    return state


def test_todays_partition_is_closed_reconciled_and_told(pipeline, first_run, airflow, webhdfs):
    today = datetime.now(UTC).date()
    _, accounting = pipeline.verify()
    finished(airflow, airflow.trigger(DAG_ID, {"date": today.isoformat()}))
    manifest = json.loads(webhdfs(f"{today:%y-%m-%d}/_manifest.json"))
    assert manifest["lines"] == accounting["topic"]
    assert webhdfs(f"{today:%y-%m-%d}/_SUCCESS") is None, "a day that is not over is no success yet"
    event = airflow.asset_events()[-1]
    assert event["name"] == "apache_logs_partition"
    assert (event["extra"]["date"], event["extra"]["lines"]) == (today.isoformat(), manifest["lines"])
    status, after = pipeline.verify()
    assert (status, after) == (0, accounting)


def test_a_backfill_reconciles_the_day_before_each_date(first_run, airflow, webhdfs):
    day = datetime.now(UTC).date() - timedelta(days=9)
    known = {run["dag_run_id"] for run in airflow.runs(DAG_ID)}
    first = f"{day + timedelta(days=1)}T00:00:00Z"
    airflow.backfill(DAG_ID, first, f"{day + timedelta(days=1)}T23:00:00Z")
    run_id = wait_until(
        lambda: next(
            (run["dag_run_id"] for run in airflow.runs(DAG_ID) if run["dag_run_id"] not in known), ""
        ),
        60,
    )
    finished(airflow, run_id)
    assert airflow.asset_events()[-1]["extra"] | {"repaired": {}} == {
        "date": day.isoformat(), "lines": 0, "repaired": {}
    }  # fmt: skip
