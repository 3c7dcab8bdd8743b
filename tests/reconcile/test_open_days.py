"""Days that are being written are left alone; what a dead agent left behind is recovered."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from confluent_kafka import Consumer
from tests.reconcile.harness import DAY, DAY_AFTER, DAY_BEFORE, Pipeline, instant_ms
from tests.spark.services import wait_until

from reconciliation.errors import LockedError, ReconcileError, StillOpenError
from reconciliation.lock import Lock

pytestmark = pytest.mark.integration

LINES = [b"line %d" % number for number in range(100)]
IN_USE = "_apache_logs-1.7.log.tmp"


@pytest.fixture
def logs(pipeline) -> Pipeline:
    return pipeline()


@contextmanager
def living_agent(logs: Pipeline) -> Iterator[None]:
    """A member of agent 2's consumer group."""
    consumer = Consumer({"bootstrap.servers": logs.kafka.bootstrap, "group.id": logs.group})
    consumer.subscribe([logs.name])
    try:
        wait_until(lambda: consumer.poll(0.1) is None and consumer.assignment(), 60, "a member of the group")
        yield
    finally:
        consumer.close()


def text(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def test_a_file_of_a_living_agent_is_not_taken(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    stream = logs.open(IN_USE, text(LINES[:50]))
    with living_agent(logs):
        before = logs.snapshot()
        with pytest.raises(StillOpenError, match="an agent may be writing _apache_logs-1"):
            logs.run(wait_s=1)
        assert logs.snapshot() == before
        stream.write(bytearray(text(LINES[50:])))
        stream.close()
        logs.hdfs.rename(f"{logs.folder()}/{IN_USE}", f"{logs.folder()}/apache_logs-1.7.log")

        assert not logs.run().to_json()["changed"]
    assert logs.lines() == LINES


def test_a_file_older_than_the_roll_interval_has_no_writer(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.open(IN_USE, text(LINES[:50]) + LINES[50][:3])
    logs.age(IN_USE, 361)

    with living_agent(logs):
        report = logs.run().to_json()

    assert report["repaired"]["recovered_files"] == 1
    assert report["repaired"]["half_lines_mended"] == 1
    assert report["repaired"]["missing_written"] == 50
    assert logs.lines() == LINES


def test_an_agent_that_is_gone_leaves_its_file_to_be_recovered(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.open(IN_USE, text(LINES))
    logs.put("_apache_logs-2.7.log.tmp", b"")

    report = logs.run().to_json()

    assert report["repaired"]["recovered_files"] == 2
    assert logs.log_names() == ["apache_logs-1.7.log"]
    assert logs.lines() == LINES


def test_a_day_with_lines_still_to_be_written_is_open(logs: Pipeline) -> None:
    logs.send(LINES)
    with pytest.raises(StillOpenError, match="100 records of the day to write; no agent 2 is running"):
        logs.run()
    assert logs.snapshot() == []

    logs.run(agent_stopped=True)
    assert logs.lines() == LINES


def test_lines_of_another_day_to_be_written_leave_it_closed(logs: Pipeline) -> None:
    logs.send(LINES, day=DAY_BEFORE)
    logs.send(LINES)
    logs.commit_all()
    logs.send(LINES, day=DAY_AFTER)
    logs.run()
    assert logs.lines() == LINES


def test_today_beside_an_agent_is_open_until_it_is_quiet(logs: Pipeline) -> None:
    today = logs.options.day.of_partition(time.strftime("%y-%m-%d", time.gmtime()), "UTC")
    assert today is not None
    logs.send(LINES, day=today.date, hour=time.gmtime().tm_hour)
    logs.commit_all()
    logs.put_lines(LINES[:99], day=today.date)
    with living_agent(logs):
        with pytest.raises(StillOpenError, match="lines came within the last 300 s"):
            logs.run(date=today.date, settle_s=300)
        assert logs.run(date=today.date, settle_s=0).to_json()["repaired"]["missing_written"] == 1
    assert "_SUCCESS" not in logs.names(today.date), "the day is not over"
    assert not logs.run(date=today.date).to_json()["changed"]


def test_a_neighbour_that_is_being_written_is_left_and_named(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.send([b"new"], day=DAY_AFTER)
    logs.commit_all()
    logs.put_lines([*LINES[60:], b"new"], day=DAY_AFTER)
    logs.put_lines(LINES[:60])
    logs.open(IN_USE, b"", day=DAY_AFTER)

    with living_agent(logs):
        report = logs.run().to_json()

    assert list(report["needs_own_run"]) == ["26-03-11"]
    assert report["repaired"]["moved_home"] == 40
    assert logs.lines() == LINES

    report = logs.run().to_json()
    assert report["neighbours"]["26-03-11"]["repaired"]["surplus_removed"] == 40
    assert logs.lines(DAY_AFTER) == [b"new"]
    assert not logs.run().to_json()["changed"]


def test_one_run_at_a_time(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    with Lock(logs.hdfs, f"{logs.options.work_dir}/lock"), pytest.raises(LockedError, match="with pid"):
        logs.run()
    logs.run()
    assert logs.lines() == LINES


def test_a_missing_topic_or_directory_is_named(logs: Pipeline) -> None:
    with pytest.raises(ReconcileError, match="has no topic nowhere: run the pipeline, or give --topic"):
        logs.run(topic="nowhere")
    with pytest.raises(ReconcileError, match="has no /nowhere: run the pipeline first, or give --logs-dir"):
        logs.run(logs_dir="/nowhere")


def test_what_retention_took_is_kept_and_named(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put("apache_logs-1.1.log", text([*LINES[:70], b"of yesterday", *LINES[90:99]]) + LINES[99][:4])
    logs.forget_before(0, 40)

    report = logs.run()

    assert report.unconfirmable == [
        {"partition": 0, "before_offset": 40, "from": "2026-03-10T00:00:00.000+00:00",
         "to": "2026-03-10T12:00:00.040+00:00"},
    ]  # fmt: skip
    assert sorted(logs.lines()) == sorted([*LINES, b"of yesterday"])
    assert report.to_json()["repaired"]["missing_written"] == 21
    assert report.to_json()["repaired"]["half_lines_mended"] == 1
    again = logs.run()
    assert again.unconfirmable == report.unconfirmable
    assert not again.to_json()["changed"]


def test_what_was_reconciled_stays_so_when_retention_takes_it(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.run()
    logs.forget_before(0, 100)

    report = logs.run()

    assert report.unconfirmable == []
    assert not report.to_json()["changed"]


def test_surplus_lines_stay_when_the_topic_lost_the_day_before(logs: Pipeline) -> None:
    logs.send(LINES, day=DAY_BEFORE, hour=12)
    logs.send([b"mine"])
    logs.commit_all()
    logs.put_lines([*LINES[:5], b"mine"])
    logs.forget_before(0, 5)
    assert instant_ms(DAY_BEFORE) < instant_ms(DAY)

    report = logs.run()

    assert report.unconfirmable[0]["partition"] == 0
    assert sorted(logs.lines()) == sorted([*LINES[:5], b"mine"])
