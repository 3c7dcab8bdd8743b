import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from logpipe.digest import Digest
from logpipe.replayer import sums as sums_module
from logpipe.replayer.dead_letters import DeadLetters
from logpipe.replayer.feed import Place, SetAside
from logpipe.replayer.journal import SUMS_FILE, Journal, JournalBusyError, load_records, load_sums
from logpipe.replayer.lines import LongLine
from logpipe.replayer.pin import Pin
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.replayer.sources import SourceVersion
from logpipe.replayer.sums import Sums, to_fold

SPEC = {
    "replay_id": "r1",
    "url": "ftp://host/a.gz",
    "pace": "max",
    "profile": "durable",
    "limit": None,
    "login": {"user": "me", "password": "secret"},
}


def record() -> ReplayRecord:
    return ReplayRecord(
        ReplaySpec.from_request(SPEC),
        digest=Digest.of([b"a", b"b"]),
        set_aside=1,
        place=Place(3, 17, 12, Pin(1, 2, "00ff")),
        version=SourceVersion(100, "2026-01-01T00:00:00+00:00"),
        is_compressed=True,
        partitions=3,
    )


def sealed(replay_id: str, *, days_ago: float, sealed: bool = True, lines: int = 2) -> ReplayRecord:
    ended = (datetime.now(UTC) - timedelta(days=days_ago)).isoformat()
    return replace(
        record(),
        spec=ReplaySpec.from_request({**SPEC, "replay_id": replay_id}),
        state="done",
        digest=Digest.of([b"x"] * lines),
        finished_at=ended,
        sealed_at=ended if sealed else None,
    )


def test_a_record_of_an_earlier_version_keeps_kafkas_partitioner() -> None:
    values = record().to_file()
    del values["partitions"], values["sealed_at"], values["format"], values["format_taken"]
    old = ReplayRecord.from_file(values)
    assert (old.partitions, old.sealed_at, old.spec.format, old.format_taken) == (0, None, None, None)


def test_which_of_two_records_knows_of_more() -> None:
    steps = [
        replace(record(), place=Place(0), partitions=None),
        replace(record(), place=Place(0)),
        replace(record(), place=Place(5)),
        replace(record(), place=Place(7), partitions=None),
        replace(record(), place=Place(7), state="done"),
        replace(record(), place=Place(7), state="done", sealed_at="2026-01-01"),
    ]
    for at, one in enumerate(steps):
        assert [one.is_behind(other) for other in steps] == [at < other for other in range(len(steps))]


def test_old_sealed_records_are_folded_and_counted_once_even_after_a_kill(tmp_path: Path) -> None:
    records = [
        sealed("old", days_ago=31),
        sealed("older", days_ago=99, lines=5),
        sealed("young", days_ago=29),
        sealed("open", days_ago=99, sealed=False),
        sealed("repair-1+old", days_ago=98, sealed=False),
        sealed("repair-1+open", days_ago=98, sealed=False),
    ]
    journal = Journal(tmp_path)
    for one in records:
        journal.save_new(one)
    folded = to_fold(journal.load()[0])
    assert {one.spec.replay_id for one in folded} == {"old", "older", "repair-1+old"}
    left_by_a_kill = {path: path.read_bytes() for path in tmp_path.iterdir() if path.name != ".lock"}
    journal.fold(folded)
    for path, content in left_by_a_kill.items():
        path.write_bytes(content)
    assert {one.spec.replay_id for one in load_records(tmp_path)[0]} - set(load_sums(tmp_path).folded) == {
        "young", "open", "repair-1+open",
    }  # fmt: skip
    journal.fold([])
    assert {path.name for path in tmp_path.glob("*.*") if not path.name.startswith(".")} == {
        "young.json", "young.login", "open.json", "open.login",
        "repair-1+open.json", "repair-1+open.login", SUMS_FILE,
    }  # fmt: skip
    journal.fold([sealed("last", days_ago=40, lines=1)])
    sums = load_sums(tmp_path)
    assert (sums.digest, sums.replays) == (Digest.of([b"x"] * 8), 3)
    assert sums.folded[-1] == "last"
    assert set(sums.folded) == {"old", "older", "repair-1+old", "last"}


def test_lines_of_profile_memory_are_summed_apart_by_whether_they_have_an_identity() -> None:
    whole, again = Digest.of([b"x", b"y", b"z"]), Digest.of([b"y"])
    memory = sealed("m", days_ago=40)
    memory = replace(memory, spec=replace(memory.spec, profile="memory"), digest=whole)
    repair = replace(sealed("repair-1+m", days_ago=40, sealed=False), digest=again)
    young = replace(repair, finished_at=sealed("r", days_ago=1).finished_at)
    assert to_fold([memory, young]) == [], "sums of the two kinds need both"
    by_memory = replace(repair, spec=replace(repair.spec, replay_id="repair-2+m", profile="memory"))
    sums = Sums().with_folded(to_fold([memory, repair, by_memory, sealed("d", days_ago=40, lines=1)]))
    assert sums.digest == again + Digest.of([b"x"])
    assert sums.anonymous == whole - again
    assert Sums.from_json(sums.to_json()) == sums


def test_only_so_many_folded_ids_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sums_module, "REMEMBERED", 2)
    sums = Sums()
    for ids in ("a", "bc", "d", "efg"):
        sums = sums.with_folded([sealed(replay_id, days_ago=40) for replay_id in ids])
    assert (sums.replays, sums.folded) == (7, ("e", "f", "g"))


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    before = record()
    journal = Journal(tmp_path / "replays")
    journal.save_new(before)
    with pytest.raises(JournalBusyError, match="another replayer"):
        Journal(tmp_path / "replays")
    journal.close()
    assert Journal(tmp_path / "replays").load() == ([before], {})


def test_the_password_is_in_no_record_and_its_file_is_private(tmp_path: Path) -> None:
    Journal(tmp_path).save_new(record())
    assert "secret" not in (tmp_path / "r1.json").read_text()
    assert "secret" not in repr(record())
    (private,) = [path for path in tmp_path.iterdir() if "secret" in path.read_text()]
    assert private.stat().st_mode & 0o777 == 0o600


def test_the_record_shows_what_the_interface_promises() -> None:
    shown = record().to_json()
    assert list(shown) == [
        "replay_id", "url", "pace", "profile", "limit", "format", "addresses", "state", "reason", "lines",
        "bytes", "hash_sum", "first_line", "last_line", "set_aside", "source_bytes_read", "source_size_bytes",
        "partitions", "format_taken", "treatment", "started_at", "updated_at", "finished_at", "sealed_at",
        "given_up_at",
    ]  # fmt: skip
    assert (shown["lines"], shown["bytes"], shown["first_line"], shown["last_line"]) == (2, 2, 1, 3)


def test_a_damaged_record_is_named_and_stops_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.save_new(record())
    (tmp_path / "torn.json").write_text("{")
    loaded, unreadable = journal.load()
    assert [one.spec.replay_id for one in loaded] == ["r1"]
    assert str(tmp_path / "torn.json") in unreadable["torn"]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"replay_id": "../x"}, "replay_id"),
        ({"replay_id": "a:b"}, "replay_id"),
        ({"replay_id": None}, "replay_id"),
        ({"url": "nowhere"}, "url"),
        ({"pace": "quick"}, "pace"),
        ({"profile": "other"}, "profile"),
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 1.5}, "limit"),
        ({"more": 1}, "more"),
        ({"format": 1}, "format"),
        ({"format": "caddy", "profile": "memory"}, "format"),
    ],
)
def test_a_bad_value_is_refused_by_field_value_and_expectation(change: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=rf"{told}.*expected|{told} .*has the scheme"):
        ReplaySpec.from_request({**SPEC, **change})


def test_a_format_that_is_none_is_refused_with_what_is_known() -> None:
    with pytest.raises(ValueError, match=r"format is 'nothing'.* unknown.*caddy"):
        ReplaySpec.from_request({**SPEC, "format": "nothing"})


def test_a_dead_letter_stands_in_its_file_once_even_after_a_torn_write(tmp_path: Path) -> None:
    path = tmp_path / "dead_letters" / "r1.jsonl"

    def add(number: int) -> None:
        item = SetAside(number, LongLine(99, 7, b"\xff\x00"), Place(number))
        DeadLetters(path).add(item, source="file:///a", reason="too long")

    add(2)
    add(5)
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:30])
    add(5)
    add(9)
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [entry["line_number"] for entry in entries] == [2, 5, 9]
    assert entries[0] == {
        "source": "file:///a", "line_number": 2, "reason": "too long", "length_bytes": 99,
        "xxh64": "0000000000000007", "prefix_base64": "/wA=",
    }  # fmt: skip


def test_a_replay_that_has_just_begun_survives_the_file_and_says_nothing_it_does_not_know() -> None:
    fresh = ReplayRecord(
        ReplaySpec.from_request({**SPEC, "limit": 1}), state="failed", reason="the source is away"
    )
    values = fresh.to_file()
    assert ReplayRecord.from_file(values, fresh.spec.login) == fresh
    assert {name for name, value in values.items() if value is None} == {
        "format", "format_taken", "treatment", "first_line", "last_line", "source_size_bytes", "partitions",
        "finished_at", "sealed_at",
        "given_up_at",
    }  # fmt: skip
    assert values["limit"] == 1
    assert values["resume"] == {
        "offset_bytes": 0, "is_compressed": None, "source_modified_at": None, "is_pinned": False,
        "pin_line": 0, "pin_offset_bytes": 0, "pin_xxh64": "",
    }  # fmt: skip


def test_times_are_utc() -> None:
    assert record().started_at.endswith("+00:00")
    before = replace(record(), updated_at="2020-01-01T00:00:00.000+00:00")
    later = before.changed(state="done")
    assert (later.state, later.started_at) == ("done", before.started_at)
    assert later.updated_at > before.updated_at


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([], "the body is list, expected a JSON object"),
        (
            {**SPEC, "more": 1},
            "more is not known, expected replay_id, url, pace, profile, limit, format, login, addresses",
        ),
        ({**SPEC, "url": 7}, "url is 7, expected a text"),
        (
            {**SPEC, "replay_id": ".a"},
            "replay_id is '.a', expected 1 to 200 letters, digits, '.', '_', '+' or '-', a letter or digit "
            "first",
        ),
        ({**SPEC, "limit": 0}, "limit is 0, expected null or a number of lines from 1 to 1000000000000000"),
        (
            {**SPEC, "limit": 10**15 + 1},
            "limit is 1000000000000001, expected null or a number of lines from 1 to 1000000000000000",
        ),
    ],
)
def test_a_refusal_in_words(values: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        ReplaySpec.from_request(values)
    assert str(caught.value) == message


def test_one_is_given_up_that_ended_before_a_time() -> None:
    ended = datetime(2026, 3, 1, tzinfo=UTC)
    stopped = replace(record(), state="stopped", finished_at=ended.isoformat())
    assert stopped.is_given_up(ended + timedelta(milliseconds=1))
    assert not stopped.is_given_up(ended)
    assert not replace(stopped, state="done").is_given_up(ended + timedelta(days=1))
    assert not replace(stopped, finished_at=None).is_given_up(ended + timedelta(days=1))


def test_a_record_is_old_thirty_days_after_its_end() -> None:
    ended = datetime(2026, 3, 1, tzinfo=UTC)
    one = replace(record(), finished_at=ended.isoformat(), sealed_at=ended.isoformat())
    for age, is_old in ((timedelta(days=30), False), (timedelta(days=30, milliseconds=1), True)):
        assert sums_module.is_old(one, ended + age) is is_old
        assert to_fold([one], ended + age) == ([one] if is_old else [])


def test_replays_that_were_given_up_are_counted_with_their_lines() -> None:
    half = [
        replace(sealed(replay_id, days_ago=40, lines=lines), state="failed")
        for replay_id, lines in (("a", 3), ("b", 4))
    ]
    sums = Sums().with_folded([half[0], sealed("c", days_ago=40)]).with_folded([half[1]])
    assert (sums.replays, sums.given_up, sums.given_up_lines) == (3, 2, 7)
    values = sums.to_json()
    assert (values["given_up"], values["given_up_lines"]) == (2, 7)
    assert Sums.from_json(values) == sums


def test_sums_of_an_earlier_version_have_nothing_given_up_or_anonymous() -> None:
    sums = Sums().with_folded([sealed("a", days_ago=40)])
    values = sums.to_json()
    for name in ("given_up", "given_up_lines", "anonymous"):
        del values[name]
    assert Sums.from_json(values) == sums


def test_lines_of_several_replays_and_repairs_add_up_by_their_kind() -> None:
    def folded(replay_id: str, profile: str, *lines: bytes) -> ReplayRecord:
        one = sealed(replay_id, days_ago=40)
        return replace(one, spec=replace(one.spec, profile=profile), digest=Digest.of(lines))

    sums = Sums(digest=Digest.of([b"before"]), anonymous=Digest.of([b"other"])).with_folded(
        [
            folded("m", "memory", b"1", b"2", b"3", b"4"),
            folded("n", "memory", b"5"),
            folded("d", "durable", b"6"),
            folded("repair-1+m", "durable", b"1"),
            folded("repair-2+m", "durable", b"2"),
            folded("repair-3+m", "memory", b"3"),
            folded("repair-1+d", "durable", b"6"),
        ]
    )
    assert sums.digest == Digest.of([b"before", b"6", b"1", b"2"])
    assert sums.anonymous == Digest.of([b"other", b"3", b"4", b"5"])
    assert sums.replays == 3
