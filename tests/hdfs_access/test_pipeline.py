"""Agent 2 and the windows job write, verify, audit and sealing read, longer than a ticket holds."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logpipe.accounting.audit import audit
from logpipe.sealing.seal import seal
from tests.accounting.pipeline import Pipeline, nasa_lines
from tests.hdfs_access.conftest import TICKET_S, SecuredHdfs
from tests.hdfs_access.streaming import await_exact, streaming
from tests.machine import Kafka
from tests.waiting import wait_until

BUSY_S = 400  # a busy machine starts a JVM slowly
LINES = nasa_lines(2_000)
MORE = nasa_lines(1_000, seed=1)


@pytest.fixture
def pipeline(kafka: Kafka, told: SecuredHdfs, tmp_path: Path) -> Iterator[Pipeline]:
    """Its agent 2 and windows job run; HDFS is somebody else's to them."""
    with streaming("secured", kafka, told, tmp_path) as made:
        yield made


def test_every_line_arrives_beyond_a_tickets_end(pipeline: Pipeline, secured: SecuredHdfs) -> None:
    began = time.monotonic()
    yesterday = datetime.now(UTC) - timedelta(days=1)
    pipeline.at_ms = int(yesterday.timestamp() * 1000)
    pipeline.send("first", LINES)
    pipeline.record("first", LINES)
    await_exact(pipeline, BUSY_S)
    skew_s = secured.kdc.skew_s
    wait_until(lambda: time.monotonic() - began > TICKET_S + skew_s, TICKET_S * 2, "the tickets to end")
    pipeline.send("second", MORE)
    pipeline.record("second", MORE)
    await_exact(pipeline, BUSY_S)
    assert audit(pipeline.settings).ok
    sealed = seal(pipeline.settings, yesterday.date())
    assert sealed is not None
    assert sealed.digest.lines == len(LINES) + len(MORE)
    assert pipeline.exact().hdfs == len(LINES) + len(MORE)
