"""Which marks are forgotten, and what is asked of the ledger for it."""

import json
from collections.abc import Iterable

import pytest
from pyspark.sql import SparkSession

from logpipe.contracts.chain import Mark
from logpipe.digest import Digest
from logpipe.windows.commit import Commit, Marks
from tests.machine import HDFS_USER, Hdfs
from windows import marks as windows_marks
from windows.hdfs import Hdfs as JvmHdfs
from windows.marks import FORGET_FROM, LOOK_INTERVAL_S, MAX_MARKS, Forgetting, Ledger

NOW_MS = 1_795_420_800_000
DAY_MS = 86_400_000


class Held:
    """Answers for the ledger, and counts the questions."""

    def __init__(self, *replays: str) -> None:
        self.replays, self.asked = set(replays), 0

    def __call__(self, replays: Iterable[str]) -> set[str]:
        self.asked += 1
        return self.replays & set(replays)


def marks(count: int, last_arrival_ms: int, name: str = "r") -> Marks:
    return {(0, f"{name}{at}"): Mark(at + 1, last_arrival_ms + at, Digest()) for at in range(count)}


def test_few_marks_stay_and_nobody_is_asked() -> None:
    held = Held()
    old = marks(FORGET_FROM, 0)
    assert Forgetting(held, DAY_MS).kept(old, NOW_MS) == old
    assert held.asked == 0


def test_long_silent_replays_go_unless_they_are_held(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(windows_marks.time, "monotonic", lambda: clock[0])
    held = Held("r1", "r7")
    recent = marks(3, NOW_MS - DAY_MS, "recent")
    old = marks(FORGET_FROM, NOW_MS - DAY_MS - 1000)
    forgetting = Forgetting(held, DAY_MS)
    expected = {place: mark for place, mark in (old | recent).items() if place[1][1:] in ("1", "7")} | recent
    assert forgetting.kept(old | recent, NOW_MS) == expected
    assert forgetting.kept(old | recent, NOW_MS) == old | recent  # not so soon again
    assert held.asked == 1
    clock[0] += LOOK_INTERVAL_S
    assert forgetting.kept(old | recent, NOW_MS) == expected


def test_a_flood_of_replays_is_bounded_and_takes_no_held_one_along() -> None:
    held = Held("r0", "r9")
    forgetting = Forgetting(held, DAY_MS)
    kept = forgetting.kept(marks(MAX_MARKS + 3, NOW_MS - 20_000), NOW_MS)
    newest = range(MAX_MARKS + 3 - MAX_MARKS // 2, MAX_MARKS + 3)
    assert {replay for _, replay in kept} == {"r0", "r9"} | {f"r{at}" for at in newest}
    assert len(forgetting.kept(marks(MAX_MARKS + 3, NOW_MS - 20_000, "s"), NOW_MS)) == MAX_MARKS // 2


def test_a_commit_with_the_most_marks_is_not_larger_than_said() -> None:
    most = Mark(10**18 - 1, 10**13, Digest(10**12, 10**15, 2**64 - 1))
    many = {(999, f"{at:0200d}"): most for at in range(MAX_MARKS)}
    size = len(Commit(1, "batch", {}, "x", marks=many).to_json()) - len(Commit(1, "batch", {}, "x").to_json())
    assert size <= 300 * MAX_MARKS


@pytest.mark.integration
def test_the_ledger_holds_what_is_not_sealed(spark: SparkSession, hdfs: Hdfs) -> None:
    folder = f"/user/{HDFS_USER}/marks_ledger"
    jvm = JvmHdfs(spark, hdfs.url)

    def write(replay: str, record: str) -> None:
        jvm.write_text(f"{folder}/replays/{replay}.json", record)

    names = ["open", "null", "sealed", "half", "absent"]
    names += [f"repair-1+{name}" for name in names]
    ledger = Ledger(jvm, folder)
    assert ledger.held(names) == set()
    write("open", json.dumps({"state": "done"}))
    write("null", json.dumps({"sealed_at": None}))
    write("sealed", json.dumps({"sealed_at": "2026-11-24T00:00:00Z"}))
    write("half", '{"sealed_at": "2026')
    unsealed = {"open", "null", "half"}
    assert ledger.held(names) == unsealed | {f"repair-1+{name}" for name in unsealed}
    write("repair-1+sealed", json.dumps({"state": "running"}))
    assert "repair-1+sealed" in ledger.held(names)
    write("open", json.dumps({"sealed_at": "2026-11-24T00:00:00Z"}))
    assert not {"open", "repair-1+open"} & ledger.held(names)
