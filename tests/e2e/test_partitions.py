"""The DAG of dated partitions, over the lines of the first run."""

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


def test_a_day_that_is_not_over_is_waited_for_and_left_alone(pipeline, first_run, airflow, webhdfs):
    today = datetime.now(UTC).date()
    before = pipeline.verify()
    answer = pipeline.command("seal", today.isoformat())
    assert answer.returncode == 3, answer.stdout + answer.stderr
    assert "Not over yet" in answer.stdout
    assert webhdfs(f"{today:%y-%m-%d}/_SUCCESS") is None
    assert pipeline.verify() == before


def test_a_backfill_takes_the_day_before_each_date(first_run, airflow, webhdfs):
    day = datetime.now(UTC).date() - timedelta(days=9)
    known = {run["dag_run_id"] for run in airflow.runs(DAG_ID)}
    events = airflow.asset_events()
    first = f"{day + timedelta(days=1)}T00:00:00Z"
    airflow.backfill(DAG_ID, first, f"{day + timedelta(days=1)}T23:00:00Z")
    run_id = wait_until(
        lambda: next(
            (run["dag_run_id"] for run in airflow.runs(DAG_ID) if run["dag_run_id"] not in known), ""
        ),
        60,
    )
    finished(airflow, run_id)
    assert f"{day} is empty: 0 lines" in airflow.task_log(DAG_ID, run_id, "seal")
    assert airflow.asset_events() == events, "a day without lines is no event"
    assert webhdfs(f"{day:%y-%m-%d}/_SUCCESS") is None


def test_repair_has_nothing_to_do(pipeline, first_run):
    answer = pipeline.command("repair")
    assert (answer.returncode, answer.stdout.strip()) == (0, "Nothing was repaired."), answer.stderr
