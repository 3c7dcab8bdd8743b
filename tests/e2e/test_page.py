"""The Airflow page as a person sees it, in Chromium; WRITE_PICTURES=1 takes the docs' screenshots."""

import json
import os
import shutil

import pytest

from logpipe.embedded.airflow_api import PIPELINE_DAG
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


def test_a_person_logs_in_and_sees_the_dag_that_ran(pipeline, first_run, page):
    secrets = json.loads((pipeline.state_dir / "secrets.json").read_text())
    url = f"http://localhost:{pipeline.settings().airflow_port}"
    page.goto(url)
    page.get_by_label("Username").fill("admin")
    page.get_by_label("Password").fill(secrets["airflow_admin_password"])
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda address: "login" not in address)
    page.goto(f"{url}/dags/{PIPELINE_DAG}")
    page.get_by_text("account", exact=True).first.wait_for()
    assert page.get_by_text(PIPELINE_DAG).first.is_visible()
    if os.environ.get("WRITE_PICTURES"):
        page.get_by_label("Show Graph").click()
        page.get_by_text("hdfs_partition").first.wait_for()
        page.wait_for_load_state("networkidle")
        page.screenshot(path=PICTURES / "airflow-dag.png")
