"""Readers see the old set or the new one, whatever happens to the run."""

import json
import subprocess

import pytest
from tests.reconcile.harness import DAY, DAY_AFTER, Pipeline

from logpipe.digest import Digest
from reconciliation.errors import StillOpenError
from reconciliation.faults import STEPS
from reconciliation.manifest import Manifest, Repairs
from reconciliation.switch import Journal, Switch

pytestmark = pytest.mark.integration

LINES = [b"line %d" % number for number in range(1000)]
SHORT = ("journalled", "old-moved", "new-moved")


@pytest.fixture
def logs(pipeline) -> Pipeline:
    return pipeline()


def damage(logs: Pipeline) -> list[bytes]:
    """Lines missing, surplus, in the next day's directory, and a half one in an abandoned file."""
    tail = b"".join(line + b"\n" for line in LINES[500:900])
    logs.put_lines([*LINES[:500], b"surplus"])
    logs.put_lines(LINES[990:], day=DAY_AFTER)
    logs.open("_apache_logs-3.1.log.tmp", tail + LINES[900][:4])
    return [*LINES[:500], b"surplus"]


def readable(logs: Pipeline) -> list[bytes]:
    """What a reader gets, who passes over names that begin with an underscore."""
    names = [name for name in logs.names() if not name.startswith("_")]
    return b"".join(logs._read(f"{logs.folder()}/{name}") for name in names).splitlines()


@pytest.mark.slow
@pytest.mark.parametrize("step", [step for step in STEPS if step not in SHORT and step != "manifest-written"])
def test_killed_at_any_step_the_next_run_mends(logs: Pipeline, step: str) -> None:
    killed_at(logs, step)


@pytest.mark.parametrize("step", SHORT)
def test_killed_in_the_switch_the_next_run_mends(logs: Pipeline, step: str) -> None:
    killed_at(logs, step)


def killed_at(logs: Pipeline, step: str) -> None:
    logs.send(LINES)
    logs.commit_all()
    old = damage(logs)
    recovered = [*old, *LINES[500:900], LINES[900][:4]]

    status, _, log = logs.run_process(die_at=step)

    assert status == -9, log
    assert readable(logs) in (old, recovered, LINES, []), "an old set, the new one or, for an instant, none"
    assert (readable(logs) == []) == (step == "old-moved")
    logs.run()
    assert logs.lines() == LINES
    assert logs.lines(DAY_AFTER) == []
    assert logs.leftovers() == []
    assert "_SUCCESS" in logs.names()
    assert Digest.from_json(logs.manifest()) == Digest.of(LINES)


def test_killed_after_the_manifest_of_an_equal_set(logs: Pipeline) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put_lines(LINES)
    assert logs.run_process(die_at="manifest-written")[0] == -9
    assert "_SUCCESS" not in logs.names()

    logs.run()

    assert "_SUCCESS" in logs.names()
    assert logs.lines() == LINES


def test_what_an_agent_writes_in_the_instant_between_is_carried_over(logs: Pipeline) -> None:
    """The files keep their names and stay open: the agent goes on writing and renames them at its end."""
    logs.put_lines(LINES[:10])
    in_old = logs.open("_apache_logs-1.8.log.tmp", b"written before\n")
    streams = [in_old]

    def reached(step: str) -> None:
        if step == "old-moved":
            streams.append(logs.open("_apache_logs-1.9.log.tmp", b"written between\n"))
            logs.put_lines([b"closed between"], name="apache_logs-2.9.log")

    work = f"{logs.options.work_dir}/{logs.options.day.partition}"
    switch = Switch(logs.hdfs, logs.folder(), work, reached, lambda: None)
    logs.hdfs.write_text(f"{switch.staging('r1')}/apache_logs-reconciled.r1.00000.log", "new\n")
    size = len("new\n")
    manifest = Manifest(
        partition="26-03-10", topic=logs.name, digest=Digest.of([b"new"]),
        files=[{"name": "apache_logs-reconciled.r1.00000.log", "size_bytes": size}],
        offsets={}, unconfirmable=[], day_over=True, repairs=Repairs(), repeats=0, reconciled_at="",
    )  # fmt: skip
    sizes = {"apache_logs-1.1.log": len(b"".join(LINES[:10])) + 10}

    rescued = switch.begin(Journal("r1", sizes, json.loads(json.dumps(manifest.to_json()))))

    for number, stream in zip((8, 9), streams, strict=True):
        stream.write(bytearray(b"written after\n"))
        stream.close()
        tmp = f"{logs.folder()}/_apache_logs-1.{number}.log.tmp"
        logs.hdfs.rename(tmp, f"{logs.folder()}/apache_logs-1.{number}.log")
    assert rescued == 3
    assert sorted(logs.lines()) == sorted(
        [b"new", b"written before", b"written after", b"written between", b"written after", b"closed between"]
    )
    assert "_SUCCESS" not in logs.names(), "it holds lines that were not compared"


def test_a_day_that_came_to_life_is_left_alone(logs: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    logs.send(LINES)
    logs.commit_all()
    logs.put_lines(LINES[:10])

    def agent_writes(step: str, jvm: object) -> None:
        if step == "verified":
            logs.put_lines([b"late"], name="apache_logs-9.1.log")

    monkeypatch.setattr("reconciliation.faults.reached", agent_writes)
    with pytest.raises(StillOpenError, match=r"apache_logs-9.1.log came while the new set was computed"):
        logs.run()
    monkeypatch.undo()
    assert logs.lines() == [*LINES[:10], b"late"]
    assert logs.leftovers() == []


def test_the_command_ends_with_a_report_and_a_status(logs: Pipeline) -> None:
    logs.send(LINES, day=DAY)
    status, report, log = logs.run_process()
    assert (status, report["status"], report["partition"]) == (3, "still_open", "26-03-10"), log
    assert "1,000 records of the day to write" in report["reason"]

    command, environment = logs.command("--agent-stopped")
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    beside = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    results = [process.communicate(timeout=300) for process in (running, beside)]
    reports = [json.loads(out.splitlines()[-1]) for out, _ in results]
    # One may begin when the other has ended: then it finds nothing to do.
    assert all(report["status"] == "reconciled" or "holds" in report["reason"] for report in reports), results
    assert sorted(report.get("changed", False) for report in reports) == [False, True]
    assert logs.lines() == LINES
