"""The copies of the records, and who writes them: which one wins, what is folded, what a kill leaves."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.digest import Digest
from logpipe.replayer import ledger as ledger_module
from logpipe.replayer.feed import Place
from logpipe.replayer.ledger import Copies, Ledger, LedgerError
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.replayer.sums import Sums
from logpipe.settings import Settings, parse
from tests.memory_hdfs import MemoryHdfs

ROOT = "/ledger"
LONG_AGO = (datetime.now(UTC) - timedelta(days=99)).isoformat()


def record(replay: str, lines: int = 2, **more: Any) -> ReplayRecord:
    spec = ReplaySpec(replay, "file:///a.log", "max", "durable", None)
    return ReplayRecord(spec, digest=Digest.of([b"x"] * lines), place=Place(lines), partitions=3, **more)


def old(replay: str, lines: int = 2) -> ReplayRecord:
    """A record that is to be folded."""
    return record(replay, lines, state="done", finished_at=LONG_AGO, sealed_at=LONG_AGO)


@pytest.fixture
def hdfs(monkeypatch: pytest.MonkeyPatch) -> MemoryHdfs:
    made = MemoryHdfs()

    def of(settings: Settings, timeout_s: float) -> MemoryHdfs:
        assert settings.hdfs_ledger_dir == ROOT
        assert timeout_s == 10.0, "whoever asks must not wait for HDFS for long"
        return made

    monkeypatch.setattr(Hdfs, "of", of)
    return made


@pytest.fixture
def copies(hdfs: MemoryHdfs) -> Copies:
    return Copies(parse(hdfs_ledger_dir=ROOT))


def place(hdfs: MemoryHdfs, one: ReplayRecord) -> str:
    """Put a copy there as it is; `Copies.put` writes no old one."""
    path = f"{ROOT}/replays/{one.spec.replay_id}.json"
    hdfs.write(path, json.dumps(one.to_file()).encode(), overwrite=True)
    return path


def fail(*_: object, **__: object) -> Any:
    raise HdfsError("HDFS is away")


# ---------------------------------------------------------------------- copies


def test_a_copy_is_the_record(copies: Copies, hdfs: MemoryHdfs) -> None:
    assert (copies.get("a"), copies.all(), copies.sums()) == (None, [], Sums())
    one = record("a")
    assert copies.put(one) is None
    assert copies.get("a") == one
    assert list(hdfs.files) == [f"{ROOT}/replays/a.json"], "nothing temporary is left"
    assert hdfs.files[f"{ROOT}/replays/a.json"] == json.dumps(one.to_file(), indent=1).encode()


def test_what_a_killed_host_left_half_written_is_written_over(copies: Copies, hdfs: MemoryHdfs) -> None:
    hdfs.write(f"{ROOT}/replays/.a.json.tmp", b"{")
    copies.put(record("a"))
    assert list(hdfs.files) == [f"{ROOT}/replays/a.json"]


def test_copies_are_told_oldest_first(copies: Copies, hdfs: MemoryHdfs) -> None:
    for replay, started in (("a", "2026-03-02"), ("b", "2026-03-01"), ("c", "2026-03-03")):
        copies.put(record(replay, started_at=started))
    for name in (".a.json.tmp", "notes.txt", ".hidden.json"):
        hdfs.write(f"{ROOT}/replays/{name}", b"{")
    assert [one.spec.replay_id for one in copies.all()] == ["b", "a", "c"]


def test_a_copy_that_knows_of_more_stays_and_is_given(copies: Copies) -> None:
    ahead = record("a", 5)
    copies.put(ahead)
    assert copies.put(record("a", 4)) == ahead
    assert copies.get("a") == ahead
    same = replace(ahead, reason="another word")
    assert copies.put(same) is None
    assert copies.get("a") == same


def test_a_sealed_copy_is_not_written_again(copies: Copies) -> None:
    sealed = record("a", state="done", sealed_at="2026-03-01T00:00:00+00:00")
    copies.put(sealed)
    assert copies.put(replace(sealed, reason="another word")) is None
    assert copies.get("a") == sealed


def test_an_old_record_that_has_no_copy_may_have_been_folded(copies: Copies) -> None:
    assert copies.put(old("a")) is None
    assert copies.get("a") is None


def test_an_old_record_with_a_copy_is_written(copies: Copies, hdfs: MemoryHdfs) -> None:
    place(hdfs, record("a", 1))
    given = old("a")
    copies.put(given)
    assert copies.get("a") == given


@pytest.mark.parametrize("text", [b"{", b"{}", b"[]"])
def test_a_copy_that_cannot_be_read_is_named(copies: Copies, hdfs: MemoryHdfs, text: bytes) -> None:
    hdfs.write(f"{ROOT}/replays/a.json", text)
    for call in (lambda: copies.get("a"), copies.all, lambda: copies.put(record("a"))):
        with pytest.raises(LedgerError, match=r"^The copy of the record of a on HDFS can't be read: ."):
            call()


def test_sums_that_cannot_be_read_are_named(copies: Copies, hdfs: MemoryHdfs) -> None:
    hdfs.write(f"{ROOT}/sums-000000007.json", b"{}")
    with pytest.raises(LedgerError, match=r"^/ledger/sums-000000007.json on HDFS can't be read: 'lines'$"):
        copies.sums()


@pytest.mark.parametrize("operation", ["list", "read", "write", "rename"])
def test_hdfs_that_is_away_is_an_error_of_the_ledger(
    copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch, operation: str
) -> None:
    place(hdfs, old("old"))
    calls = {
        "list": (copies.all, copies.sums, copies.fold),
        "read": (lambda: copies.get("old"), lambda: copies.put(record("a")), copies.all),
        "write": (lambda: copies.put(record("a")), copies.fold),
        "rename": (lambda: copies.put(record("a")), copies.fold),
    }
    monkeypatch.setattr(hdfs, operation, fail)
    for call in calls[operation]:
        with pytest.raises(LedgerError, match=r"^HDFS is away$"):
            call()


def test_the_newest_sums_count(copies: Copies, hdfs: MemoryHdfs) -> None:
    for number in (9, 10, 2):
        sums = Sums(replays=number)
        hdfs.write(f"{ROOT}/sums-{number:09d}.json", json.dumps(sums.to_json()).encode())
    hdfs.write(f"{ROOT}/sums-99.json", b"of somebody else")
    hdfs.write(f"{ROOT}/.sums-000000099.json", b"of somebody else")
    assert copies.sums() == Sums(replays=10)


def test_sums_whose_place_a_newer_one_took_are_looked_for_again(
    copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    hdfs.write(f"{ROOT}/sums-000000002.json", json.dumps(Sums(replays=2).to_json()).encode())
    numbers = iter([1, 2])
    monkeypatch.setattr(copies, "_newest_sums", lambda: next(numbers))
    assert copies.sums() == Sums(replays=2)


def test_old_and_sealed_copies_are_folded_and_the_sums_before_them_go(
    copies: Copies, hdfs: MemoryHdfs
) -> None:
    young = record("young")
    for number, lines in ((1, 2), (2, 3)):
        place(hdfs, old(f"old{number}", lines))
        place(hdfs, young)
        copies.fold()
        assert copies.all() == [young]
        assert set(hdfs.files) == {f"{ROOT}/replays/young.json", f"{ROOT}/sums-{number:09d}.json"}
    sums = copies.sums()
    assert (sums.replays, sums.digest, sums.folded) == (2, Digest.of([b"x"] * 5), ("old1", "old2"))
    before = dict(hdfs.files)
    copies.fold()
    assert hdfs.files == before, "nothing is old"


def test_what_a_killed_fold_left_is_deleted_and_counts_once(copies: Copies, hdfs: MemoryHdfs) -> None:
    path = place(hdfs, old("a"))
    text = hdfs.files[path]
    copies.fold()
    hdfs.write(path, text)
    copies.fold()
    assert (copies.all(), copies.sums().replays) == ([], 1)
    assert list(hdfs.files) == [f"{ROOT}/sums-000000001.json"]


def test_of_two_that_fold_at_once_one_wins_and_the_other_deletes_nothing(
    copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(hdfs, old("a"))
    winner = json.dumps(Sums(replays=7).to_json()).encode()
    write = hdfs.write

    def second(path: str, content: Any, **more: Any) -> None:
        write(path, content, **more)
        if ".sums-" in path:
            assert path.startswith(f"{ROOT}/.sums-")
            assert path.endswith(".tmp")
            write(f"{ROOT}/sums-000000001.json", winner)

    monkeypatch.setattr(hdfs, "write", second)
    copies.fold()
    assert set(hdfs.files) == {f"{ROOT}/replays/a.json", f"{ROOT}/sums-000000001.json"}
    assert copies.sums().replays == 7


def test_a_fold_that_was_overtaken_leaves_the_copies_to_the_newer_one(
    copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    place(hdfs, old("a"))
    rename = hdfs.rename

    def overtaken(source: str, target: str, **more: Any) -> None:
        rename(source, target, **more)
        hdfs.write(f"{ROOT}/sums-000000005.json", json.dumps(Sums(replays=7).to_json()).encode())

    monkeypatch.setattr(hdfs, "rename", overtaken)
    copies.fold()
    assert set(hdfs.files) == {f"{ROOT}/replays/a.json", f"{ROOT}/sums-000000005.json"}


def test_the_connections_are_let_go(
    copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = []
    monkeypatch.setattr(hdfs, "close", lambda: closed.append(True))
    copies.close()
    assert closed == [True]


# ---------------------------------------------------------------------- the thread that copies


class Host:
    """A replayer with its records, and what was called for it."""

    def __init__(self, copies: Copies, *records: ReplayRecord) -> None:
        self.records = list(records)
        self.adopted: list[ReplayRecord] = []
        self.folds = 0
        self.put: list[str] = []
        self.ledger = Ledger(copies, lambda: self.records, self.adopted.append, self.fold)
        self._put = copies.put
        copies.put = self.count  # type: ignore[method-assign]

    def fold(self) -> None:
        self.folds += 1

    def count(self, one: ReplayRecord) -> ReplayRecord | None:
        self.put.append(one.spec.replay_id)
        return self._put(one)


def test_only_what_changed_is_copied(copies: Copies) -> None:
    host = Host(copies, record("a"), record("b"))
    host.ledger._copy_changed()
    host.ledger._copy_changed()
    assert host.put == ["a", "b"]
    host.records[1] = record("b", 3)
    host.ledger._copy_changed()
    assert host.put == ["a", "b", "b"]
    assert copies.get("b") == host.records[1]
    kept = host.records.pop(0)
    host.ledger._copy_changed()
    host.records.append(kept)
    host.ledger._copy_changed()
    assert host.put == ["a", "b", "b", "a"], "one that was away is not known any more"


def test_a_copy_that_knows_of_more_is_adopted_and_told(
    copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    copies.put(replace(record("a", 5), state="done"))
    host = Host(copies, record("a", 4))
    host.ledger._copy_changed()
    host.ledger._copy_changed()
    assert host.adopted == [copies.get("a")]
    assert caplog.messages == ["The copy of the record of a on HDFS knows of more: it stays"]


def test_how_a_replay_ends_that_another_host_goes_on_with_is_looked_for_until_it_has_ended(
    copies: Copies, caplog: pytest.LogCaptureFixture
) -> None:
    """A host that came back while the other one was still sending kept it as running for ever."""
    running = replace(record("a", 5), state="running")
    copies.put(running)
    host = Host(copies, replace(record("a", 4), state="running"))
    host.ledger._copy_changed()
    host.ledger._copy_changed()
    done = replace(record("a", 9), state="done")
    Copies.put(copies, done)
    host.ledger._copy_changed()
    host.ledger._copy_changed()
    assert [each.state for each in host.adopted] == ["running", "running", "done"]
    assert len(caplog.messages) == 1, "it is told once"


def test_hdfs_that_is_away_is_told_once_and_asked_again(
    copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "logpipe.replayer.ledger")
    host = Host(copies, record("a"), record("b"))
    with monkeypatch.context() as away:
        away.setattr(hdfs, "read", fail)
        for _ in range(3):
            host.ledger._copy_changed()
    assert host.put == ["a", "a", "a"], "the others are not tried"
    host.ledger._copy_changed()
    assert {one.spec.replay_id for one in copies.all()} == {"a", "b"}
    assert caplog.messages == [
        "Records are not copied to HDFS for now: HDFS is away",
        "Records are copied to HDFS again",
    ]


def run(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, rounds: int, at: Callable[[int], None]) -> None:
    """So many turns of the thread, here; ``at`` is called instead of each pause, which begins with 1."""
    pauses = 0

    def pause() -> None:
        nonlocal pauses
        pauses += 1
        at(pauses)
        if pauses == rounds:
            ledger.stop()

    monkeypatch.setattr(ledger, "_pause", pause)
    ledger._run()


def test_folds_are_made_once_a_day(copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = [0.0]
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: now_s[0])
    of_copies: list[float] = []
    monkeypatch.setattr(copies, "fold", lambda: of_copies.append(now_s[0]))
    host = Host(copies, record("a"))
    own_folds: list[int] = []

    def later(pause: int) -> None:
        own_folds.append(host.folds)
        now_s[0] += 86_399 if pause == 1 else 1

    run(host.ledger, monkeypatch, 3, later)
    assert own_folds == [1, 1, 2]
    assert of_copies == [0.0, 86_400.0]
    assert host.put == ["a"]


def test_copies_are_not_folded_while_hdfs_is_away(
    copies: Copies, hdfs: MemoryHdfs, monkeypatch: pytest.MonkeyPatch
) -> None:
    folds: list[int] = []
    monkeypatch.setattr(copies, "fold", lambda: folds.append(1))
    monkeypatch.setattr(hdfs, "read", fail)
    host = Host(copies, record("a"))
    run(host.ledger, monkeypatch, 1, lambda _: None)
    assert (host.folds, folds) == (1, [])
    assert host.put == ["a", "a"], "at a stop it is tried a last time"


@pytest.mark.parametrize("error", [LedgerError("HDFS is away"), OSError("full"), ValueError("damaged")])
def test_a_fold_that_fails_is_told_and_holds_up_nothing(
    copies: Copies, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    def failing() -> None:
        raise error

    ledger = Ledger(copies, lambda: [record("a")], lambda _: None, failing)
    run(ledger, monkeypatch, 1, lambda _: None)
    assert copies.get("a") is not None
    assert caplog.messages == [f"Sealed records (own) are not folded today: {error}"]


def test_a_wait_ends_when_it_is_woken_but_not_while_hdfs_is_away(
    copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    now_s = [0.0]
    monkeypatch.setattr(ledger_module.time, "monotonic", lambda: now_s[0])
    ledger = Ledger(copies, list, lambda _: None, lambda: None)
    waits: list[float] = []
    woken = iter([True, True, True, True, False])

    def wait(timeout_s: float) -> bool:
        waits.append(timeout_s)
        now_s[0] += 4
        return next(woken)

    monkeypatch.setattr(ledger._wake, "wait", wait)
    ledger._wake.set()
    ledger._pause()
    assert waits == [10.0]
    assert not ledger._wake.is_set()
    ledger._is_away = True
    ledger._pause()
    assert waits == [10.0, 10.0, 6.0, 2.0, 0.0]
    ledger._stopping = True
    woken = iter([True])
    ledger._pause()
    assert waits[5:] == [10.0], "a stop is not held up"


def test_a_thread_copies_at_once_and_once_more_at_its_stop(copies: Copies) -> None:
    host = Host(copies, record("a"))
    host.ledger.stop()
    assert host.put == [], "one that was never started is not waited for"
    host = Host(copies, record("a"))
    host.ledger.start()
    host.records[0] = record("a", 9)
    host.ledger.stop()
    assert not host.ledger._thread.is_alive()
    copied = copies.get("a")
    assert copied is not None
    assert copied.place.line == 9
    assert (host.ledger._thread.name, host.ledger._thread.daemon) == ("ledger", True)


def test_a_stop_waits_three_seconds_at_most(copies: Copies, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(copies, list, lambda _: None, lambda: None)
    waited: list[float] = []
    monkeypatch.setattr(ledger._thread, "is_alive", lambda: True)
    monkeypatch.setattr(ledger._thread, "join", waited.append)
    ledger.stop()
    assert waited == [3.0]


def test_a_wake_reaches_the_thread(copies: Copies) -> None:
    ledger = Ledger(copies, list, lambda _: None, lambda: None)
    assert not ledger._wake.is_set()
    ledger.wake()
    assert ledger._wake.is_set()
