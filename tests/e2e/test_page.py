"""The Airflow page as a person sees it, in Chromium; WRITE_PICTURES=1 takes the docs' screenshots."""

import json
import os
import shutil

import pytest

from logpipe.hosts.machine.airflow_api import PIPELINE_DAG, SERVICES_DAG
from logpipe.settings import PROJECT_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

CHROMIUM = shutil.which("chromium")
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip
PICTURES = PROJECT_DIR / "docs" / "pictures"


@pytest.fixture
def page(pipeline):
    if CHROMIUM is None:
        pytest.skip("chromium is not on PATH (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else FLAGS
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=flags)
        page = browser.new_page(viewport={"width": 1440, "height": 810})
        yield page
        browser.close()


@pytest.fixture
def logged_in(pipeline, first_run, page):
    secrets = json.loads((pipeline.state_dir / "secrets.json").read_text())
    page.goto(f"http://localhost:{pipeline.settings().airflow_port}")
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(secrets["airflow_admin_password"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda address: "login" not in address)
    return page


def picture(page, name):
    """Take a screenshot for the docs, of the graph."""
    if os.environ.get("WRITE_PICTURES"):
        page.get_by_label("Show Graph").click()
        page.wait_for_load_state("networkidle")
        page.wait_for_timeout(2000)  # the graph moves into its place
        page.screenshot(path=PICTURES / name)


def test_a_person_logs_in_and_sees_the_dag_that_ran(airflow, logged_in):
    logged_in.goto(f"{airflow.url}/dags/{PIPELINE_DAG}")
    logged_in.get_by_text("account", exact=True).first.wait_for()
    assert logged_in.get_by_text(PIPELINE_DAG).first.is_visible()
    picture(logged_in, "airflow-dag.png")


def test_the_page_shows_the_services_as_supervised(airflow, epoch, logged_in):
    logged_in.goto(f"{airflow.url}/dags/{SERVICES_DAG}/runs/{epoch}")
    logged_in.get_by_text("Deferred").nth(2).wait_for()
    for task in ("agent_1", "agent_2", "spark_job"):
        assert logged_in.get_by_text(task, exact=True).first.is_visible()
    picture(logged_in, "airflow-running.png")
