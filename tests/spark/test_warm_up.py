"""The warm-up does what a batch does, and a failure of it is told."""

import logging

import pytest
from pyspark.sql import SparkSession

from logpipe.settings import Settings
from windows import counts, warm_up
from windows.options import from_arguments

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("time", ["arrival", "event"])
def test_a_line_is_counted_in_each_task(
    spark: SparkSession, time: str, caplog: pytest.LogCaptureFixture
) -> None:
    options = from_arguments(["--time", time, "--slide-s", "30"], Settings())
    assert warm_up.count(spark, options) == spark.sparkContext.defaultParallelism == 2
    assert not caplog.records


def test_a_failure_is_told_and_ends_nothing(
    spark: SparkSession, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counts, "RESULT_SCHEMA", "rows int, summary binary")
    with caplog.at_level(logging.WARNING):
        assert warm_up.count(spark, from_arguments([], Settings())) == 0
    assert "The warm-up failed" in caplog.text
