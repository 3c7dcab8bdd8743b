"""The Airflow page as a person sees it, in Chromium; WRITE_PICTURES=1 takes the docs' screenshots."""

import os

import pytest

from logpipe.clients.airflow import PIPELINE_DAG, SERVICES_DAG
from logpipe.settings import PROJECT_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

PICTURES = PROJECT_DIR / "docs" / "pictures"


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
