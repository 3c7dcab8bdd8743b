"""A sealed day is reported on, and mended, through a real process host over a real topic and HDFS."""

from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowSkipException

from logpipe.airflow.operators.host_program import HostProgramError
from logpipe.airflow.operators.repair import RepairOperator
from logpipe.airflow.operators.report import ReportLink, ReportOperator
from logpipe.sealing.seal import seal
from tests.airflow.operators import day_programs
from tests.airflow.operators.day_programs import pipeline_with
from tests.machine import Hdfs, Kafka
from tests.sealing.chain_writer import DAY, Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture
def pipeline(kafka: Kafka, hdfs: Hdfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    with pipeline_with(("report", "repair"), kafka, hdfs, tmp_path, monkeypatch) as made:
        yield made


def run(operator: ReportOperator | RepairOperator) -> dict[str, Any]:
    return day_programs.run(operator, {"ti": SimpleNamespace(xcom_push=lambda key, value: None)})


def test_a_day_is_reported_on_once_it_is_sealed_and_the_task_links_to_it(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", "https://example.org/air/flow/")
    operator = ReportOperator(task_id="report", date=DAY.isoformat())
    pipeline.send([b'h - - [10/Mar/2026:00:00:00 +0000] "GET / HTTP/1.0" 200 5', b"no request"])
    pipeline.link(2)
    with pytest.raises(AirflowSkipException, match=f"{DAY} has no report: it is not sealed"):
        run(operator)
    assert ReportLink().get_link(operator, ti_key=None) == ""
    seal(pipeline.settings, DAY)
    told = run(operator)
    assert (told["requests"], told["malformed"]) == (1, 1)
    link = ReportLink().get_link(operator, ti_key=None)
    assert link == "https://example.org/air/flow/logpipe/reports/26-03-10/_report.html"
    assert pipeline.hdfs.status(f"{pipeline.folder()}/_report.html") is not None
    pipeline.put("apache_logs-1.log", b"rubbish\n")
    with pytest.raises(HostProgramError, match=r"has no report \(error\).*`make repair DATE=2026-03-10`"):
        run(operator)
    mended = run(RepairOperator(task_id="repair", date=DAY.isoformat()))
    assert mended["done"] == [f"{pipeline.folder()}/apache_logs-1.log is written again from the topic"]
    assert run(operator) == told
    pipeline.put("apache_logs-1.log", b"rubbish\n")
    pipeline.forget_before(0, 2)
    with pytest.raises(
        HostProgramError, match=r"not mended \(failed\).*apache_logs-1.log is missing or damaged"
    ):
        run(RepairOperator(task_id="repair", date=DAY.isoformat()))
