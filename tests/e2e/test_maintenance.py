"""The DAG `maintenance`: old runs go, a supervision that is as old goes on, the NameNode has an image."""

import sqlite3
from contextlib import closing

import pytest

from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

DAG_ID = "maintenance"
LONG_AGO = "2020-01-01 00:00:00.000000"


def run(airflow):
    run_id = airflow.trigger(DAG_ID, {})
    wait_until(lambda: airflow.run_state(DAG_ID, run_id) in {"success", "failed"}, 240, poll_s=1)
    assert airflow.run_state(DAG_ID, run_id) == "success", airflow.task_log(DAG_ID, run_id, DAG_ID, 1)
    return run_id, airflow.xcom(DAG_ID, run_id, DAG_ID)


def test_old_runs_go_and_a_supervision_that_is_as_old_goes_on(pipeline, airflow, epoch):
    old, report = run(airflow)
    assert report["failed"] == {}
    assert report["checkpoint"].startswith("fsimage_")
    database = next(pipeline.state_dir.rglob("airflow.db"))
    with closing(sqlite3.connect(database, timeout=60)) as connection, connection:
        connection.execute("UPDATE dag_run SET start_date = ?", [LONG_AGO])
        connection.execute("UPDATE dag_run SET end_date = ? WHERE run_id = ?", [LONG_AGO, old])
        connection.execute("UPDATE task_instance SET start_date = ? WHERE state = 'deferred'", [LONG_AGO])
        connection.execute("UPDATE trigger SET created_date = ?", [LONG_AGO])
        connection.execute("UPDATE log SET dttm = ?", [LONG_AGO])
    _, report = run(airflow)
    assert (report["failed"], report["deleted_runs"]) == ({}, 1)
    assert airflow.supervised() == epoch
    with closing(sqlite3.connect(database, timeout=60)) as connection:
        assert connection.execute("SELECT 1 FROM dag_run WHERE run_id = ?", [old]).fetchall() == []
        assert connection.execute("SELECT 1 FROM log WHERE dttm = ?", [LONG_AGO]).fetchall() == []
