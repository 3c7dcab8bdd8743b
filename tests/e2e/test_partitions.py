"""The DAG of dated partitions, over the lines of the first run."""

from datetime import UTC, date, datetime, timedelta

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from logpipe.clients.hdfs import Hdfs
from logpipe.contracts.sealed import SealedDay
from logpipe.digest import Digest
from logpipe.sealing.place import Place
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

DAG_ID = "hdfs_partitions"


@pytest.fixture
def webhdfs(pipeline):
    settings = pipeline.settings()
    base = f"{settings.webhdfs_url}/webhdfs/v1{settings.hdfs_logs_dir}"

    def read(path: str) -> bytes | None:
        asked = {"op": "OPEN", "user.name": settings.hdfs_user}
        answer = httpx.get(f"{base}/{path}", params=asked, follow_redirects=True)
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


@pytest.fixture
def sealed_day(pipeline, first_run):
    """A day of long ago that is sealed and has no report; nor lines: all of this copy are of today."""
    settings, day = pipeline.settings(), date(2026, 3, 10)
    place = Place(Hdfs.of(settings), settings, day)
    sealed = SealedDay("26-03-10", "0", Digest(), Digest(), {}, 0, 0, 0, (), (), "2026-03-11T00:30:00+00:00")
    place.write_manifest(place.folder, sealed)
    place.save(sealed, overwrite=True)
    yield day
    place.hdfs.delete(place.layout.sealed(place.name))
    place.hdfs.delete(place.folder)


def test_a_days_report_is_a_click_away_from_its_task_and_from_the_page(sealed_day, airflow, logged_in):
    logged_in.goto(f"{airflow.url}/logpipe/")  # somebody looks: the days are read often
    before = airflow.asset_events()
    run_id = airflow.trigger(DAG_ID, {"date": sealed_day.isoformat()})
    assert finished(airflow, run_id) == "success"
    assert airflow.asset_events() != before
    logged_in.goto(f"{airflow.url}/dags/{DAG_ID}/runs/{run_id}/tasks/report/details")
    link = logged_in.get_by_role("link", name="Report", exact=True)
    assert link.get_attribute("href") == f"{airflow.url}/logpipe/reports/26-03-10/_report.html"

    def is_shown():
        logged_in.goto(f"{airflow.url}/logpipe/")
        logged_in.locator(".day[data-state]").first.wait_for()
        return logged_in.get_by_role("link", name="2026-03-10").count()

    wait_until(is_shown, 60, "the report on the page", poll_s=1)
    found = Axe().run(logged_in)
    assert found.violations_count == 0, found.generate_report()
    logged_in.goto(
        f"{airflow.url}/plugin/logpipe"
    )  # inside Airflow's frame, which opens no windows by itself
    with logged_in.context.expect_page() as opened:
        logged_in.frame_locator("iframe").locator("#day-list").get_by_role("link", name="2026-03-10").click()
    report = opened.value
    errors = []
    report.on("console", lambda message: message.type == "error" and errors.append(message.text))
    report.wait_for_load_state()
    report.reload()
    report.get_by_role("heading", name="0 requests by 0 visitors").wait_for()
    colour = "getComputedStyle(document.querySelector('.card')).borderRadius"
    assert report.evaluate(colour) == "12px", "its own style is let through"
    assert errors == []
    report.get_by_role("link", name="_report.json").first.click()
    report.get_by_text('"date":"2026-03-10"').wait_for()


def test_a_sealed_day_starts_who_waits_for_the_asset_and_who_waits_for_its_partition(sealed_day, airflow):
    keys = {"by_event": None, "by_partition": sealed_day.isoformat()}
    before = {dag_id: len(airflow.runs(dag_id)) for dag_id in keys}
    assert finished(airflow, airflow.trigger(DAG_ID, {"date": sealed_day.isoformat()})) == "success"

    def new_runs():
        found = {dag_id: airflow.runs(dag_id) for dag_id in keys}
        newest = {dag_id: runs[0] for dag_id, runs in found.items() if len(runs) > before[dag_id]}
        return newest if [run["state"] for run in newest.values()] == ["success", "success"] else None

    newest = wait_until(new_runs, 120, "a run of each", poll_s=1)
    assert {dag_id: run["partition_key"] for dag_id, run in newest.items()} == keys
    plain, keyed = airflow.asset_events()[-2:]
    assert (
        plain["extra"] == keyed["extra"] == {"date": "2026-03-10", "lines": 0, "digest": Digest().to_json()}
    )
    assert {plain["partition_key"], keyed["partition_key"]} == {None, "2026-03-10"}


def test_repair_has_nothing_to_do(pipeline, first_run):
    answer = pipeline.command("repair")
    assert (answer.returncode, answer.stdout.strip()) == (0, "Nothing was repaired."), answer.stderr
