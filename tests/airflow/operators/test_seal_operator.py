"""A day is sealed through a real process host, over a real topic and HDFS."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import Asset
from airflow.sdk.definitions.asset import AssetUniqueKey
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, AirflowSkipException
from airflow.sdk.execution_time.context import OutletEventAccessor

from logpipe.airflow.hooks.services import ProcessHostHook
from logpipe.airflow.operators.host_program import HostProgramError
from logpipe.airflow.operators.seal import SealOperator
from logpipe.airflow.sensors.hdfs_partition import HdfsPartitionClosedSensor
from logpipe.digest import Digest
from tests.airflow.operators import day_programs
from tests.airflow.operators.day_programs import pipeline_with
from tests.airflow.real_parts import connect_stores
from tests.machine import Hdfs, Kafka
from tests.sealing.chain_writer import DAY, Pipeline, next_day

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = [f"line {number}".encode() for number in range(20)]
ASSET = Asset(name="sealed", uri="hdfs://localhost/sealed")


@pytest.fixture
def pipeline(kafka: Kafka, hdfs: Hdfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    with pipeline_with(("seal",), kafka, hdfs, tmp_path, monkeypatch) as made:
        connect_stores(monkeypatch, made.settings)
        yield made


class Run:
    """One task of one DAG run; follows it through the triggerer."""

    def __init__(self) -> None:
        self.events: dict[Asset, Any] = {ASSET: OutletEventAccessor(key=AssetUniqueKey.from_asset(ASSET))}
        self.context: Any = {
            "ti": SimpleNamespace(xcom_push=lambda key, value: None),
            "dag_run": SimpleNamespace(
                logical_date=datetime.combine(next_day(), datetime.min.time(), UTC), run_after=None
            ),
            "outlet_events": self.events,
        }
        self.methods: list[str] = []

    def execute(self, **more: Any) -> dict[str, Any]:
        operator = SealOperator(task_id="seal", outlets=[ASSET], **more)
        return day_programs.run(operator, self.context, self.methods)


def test_a_day_that_had_to_be_mended_is_sealed_and_told(pipeline: Pipeline) -> None:
    pipeline.send(LINES)
    pipeline.put(pipeline.link(20).file_name, b"rubbish\n")
    run = Run()
    report = run.execute()
    assert (report["status"], report["lines"]) == ("sealed", 20)
    assert pipeline.lines() == Counter(LINES)
    told = {"date": DAY.isoformat(), "lines": 20, "digest": Digest.of(LINES).to_json()}
    assert run.events[ASSET].extra == told
    assert run.events[ASSET].partition_keys == {None, DAY.isoformat()}
    assert run.methods == ["finish"]


def test_a_day_without_lines_is_skipped_and_not_told(pipeline: Pipeline) -> None:
    run = Run()
    with pytest.raises(AirflowSkipException, match="is empty: 0 lines"):
        run.execute(date=(DAY - timedelta(days=1)).isoformat())
    assert run.events[ASSET].extra == {}


def test_a_day_that_is_not_over_fails_with_the_reason(pipeline: Pipeline) -> None:
    pipeline.send(LINES)
    with pytest.raises(HostProgramError, match=r"not_over.*20 records before offset 20"):
        Run().execute()


def test_a_program_whose_starter_died_before_it_said_the_day_is_started_again(pipeline: Pipeline) -> None:
    ProcessHostHook().get_conn().start("seal")
    run = Run()
    with pytest.raises(AirflowSkipException, match="is empty"):
        run.execute()
    assert run.methods == ["start_after", "finish"]


def test_a_day_to_come_holds_no_other_up(pipeline: Pipeline) -> None:
    sensor = HdfsPartitionClosedSensor(task_id="closed", timeout=6 * 3600, date="2090-01-01")
    with pytest.raises(AirflowFailException, match=r"2090-01-01 ends at 2090-01-02T.*6 hours are waited"):
        sensor.execute(Run().context)


def test_a_sensor_waits_for_the_chains_and_not_for_files(pipeline: Pipeline) -> None:
    def sensor(timeout_s: float) -> str:
        made = HdfsPartitionClosedSensor(
            task_id="closed", timeout=timeout_s, poke_interval=0.2, first_look_s=60
        )
        return made.execute(Run().context)

    pipeline.send(LINES)
    pipeline.link(15)
    with pytest.raises(AirflowSensorTimeout, match="partition 0: 5 records before offset 20"):
        sensor(1)
    pipeline.link(20)
    pipeline.put(f"_apache_logs-0-0-{20:019d}.0123abcd.tmp", b"of a dead writer\n")
    assert sensor(20) == DAY.isoformat()
