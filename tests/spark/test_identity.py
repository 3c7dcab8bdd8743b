"""Each identity counts once, as `logpipe.identity` says; that one, record by record, is the oracle."""

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpipe.contracts.chain import Mark
from logpipe.digest import Digest
from logpipe.identity import MAX_JUMP, Identities, Verdict, parse_key
from tests.unit.test_identity_rule import cases
from windows import identity
from windows.identity import Judged, Marks, drop_repeats

Rows = list[tuple[int, bytes | None]]


def records(rows: Rows, first: int = 0) -> pl.DataFrame:
    """Records of (partition, key); offset, arrival and hash follow from the row's number."""
    return pl.DataFrame(
        [(key, part, at, at, at % 5, -at) for at, (part, key) in enumerate(rows, first)],
        schema={
            "key": pl.Binary, "partition": pl.Int32, "offset": pl.Int64, "arrival_ms": pl.Int64,
            "line_bytes": pl.Int64, "hash": pl.Int64,
        },
        orient="row",
    )  # fmt: skip


def digest(offsets: list[int]) -> Digest:
    return Digest(len(offsets), sum(at % 5 for at in offsets), -sum(offsets) % 2**64)


def judged(rows: Rows, marks: Marks | None = None) -> Judged:
    return drop_repeats(records(rows), marks or {})


def judged_in_batches(rows: Rows, batch: int) -> Judged:
    """What all batches together give."""
    marks: Marks = {}
    kept: list[pl.DataFrame] = []
    replays: list[pl.Series] = []
    anonymous, foreign = Digest(), 0
    for start in range(0, len(rows), batch):
        found = drop_repeats(records(rows[start : start + batch], start), marks)
        marks |= found.marks
        kept.append(found.counted)
        replays.append(found.replays)
        anonymous += found.anonymous
        foreign += found.foreign
    return Judged(pl.concat(kept), pl.concat(replays), marks, anonymous, foreign)


def expected(rows: Rows) -> tuple[list[int], Marks, Digest, int]:
    """Offsets counted, marks, digest of the anonymous and number of the foreign, by the plain rule."""
    identities, lines = Identities(), {}
    kept, without, foreign, last = [], [], 0, {}
    for offset, (part, key) in enumerate(rows):
        verdict = identities.judge(part, key)
        foreign += verdict is Verdict.FOREIGN
        if verdict is not Verdict.REPEAT:
            kept.append(offset)
        if verdict in (Verdict.ANONYMOUS, Verdict.FOREIGN):
            without.append(offset)
            continue
        place = (part, parse_key(key or b"")[0])  # type: ignore[index]
        last[place] = offset
        lines.setdefault(place, []).extend([offset] if verdict is Verdict.NEW else [])
    marks = {
        place: Mark(number, last[place], digest(lines[place])) for place, number in identities.marks.items()
    }
    return kept, marks, digest(without), foreign


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_every_case_of_the_table(batch: int) -> None:
    rows = [(part, key) for part, key, _ in cases()]
    found = judged_in_batches(rows, batch)
    assert found.counted["offset"].to_list() == [
        at for at, (_, _, verdict) in enumerate(cases()) if verdict != "repeat"
    ]
    assert found.replays.to_list() == [
        parse_key(key or b"")[0] if verdict == "new" else None  # type: ignore[index]
        for _, key, verdict in cases()
        if verdict != "repeat"
    ]
    assert found.foreign == sum(verdict == "foreign" for _, _, verdict in cases())
    assert found.anonymous.lines == sum(verdict in ("foreign", "anonymous") for _, _, verdict in cases())
    assert found.marks == expected(rows)[1]


def test_marks_of_former_batches_hold_and_their_digests_go_on() -> None:
    found = judged([(0, b"r:2"), (0, b"r:3")], {(0, "r"): Mark(2, 99, Digest(2, 20, 7))})
    assert found.counted["offset"].to_list() == [1]
    assert found.marks == {(0, "r"): Mark(3, 99, Digest(3, 21, 6))}


def test_ordered_batches_take_no_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither new lines nor repeats do, up to the largest jump, however far the replay has come."""
    monkeypatch.setattr(identity, "Identities", None)
    rows: Rows = [(0, b"r:1"), (0, b"r:2"), (0, b"abc"), (0, b"r:2"), (0, b"r:%d" % MAX_JUMP)]
    assert judged(rows).counted["offset"].to_list() == [0, 1, 2, 4]
    known = {(0, "r"): Mark(3 * MAX_JUMP, 0, Digest())}
    assert judged([(0, b"r:%d" % (4 * MAX_JUMP))], known).counted.height == 1
    with pytest.raises(TypeError):
        judged([(0, b"r:%d" % (MAX_JUMP + 1))])


def test_rising_numbers_are_not_compared_line_by_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(identity, "_repeats", None)
    rows: Rows = [(0, b"r:1"), (0, b"r:2"), (1, b"r:1"), (0, b"s:7"), (0, b"r:9"), (0, None)]
    assert judged(rows).counted.height == 6
    with pytest.raises(TypeError):
        judged([*rows, (0, b"r:9")])


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.none()
            | st.sampled_from([b"abc", b"r:0", b"r:07", b"\xff:1"])
            | st.builds(
                lambda replay, number: f"{replay}:{number}".encode(),
                st.sampled_from("rs"),
                st.integers(1, 9) | st.integers(MAX_JUMP - 2, MAX_JUMP + 9),
            ),
        ),
        max_size=30,
    ),
    st.integers(1, 7),
)
def test_in_whatever_batches(rows: Rows, batch: int) -> None:
    if rows:
        found = judged_in_batches(rows, batch)
        kept, *others = expected(rows)
        assert found.counted["offset"].to_list() == kept
        assert [found.marks, found.anonymous, found.foreign] == others
