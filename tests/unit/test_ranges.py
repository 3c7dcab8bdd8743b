"""Ranges read again from records: what is a repeat, what is foreign, which times, which sums."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpipe.accounting import ranges
from logpipe.accounting.ranges import PartitionReader, RangeSums, TextDigest
from logpipe.clients.kafka import RangeGoneError, Record, Topic
from logpipe.digest import Digest
from logpipe.identity import Verdict
from logpipe.settings import Settings, parse

PARTITION = 2


@given(st.binary(max_size=60).map(lambda text: text.replace(b"x", b"\n")), st.integers(1, 9))
def test_a_texts_digest_is_that_of_its_lines_however_it_is_cut(text: bytes, block_bytes: int) -> None:
    blocks = [text[at : at + block_bytes] for at in range(0, len(text), block_bytes)]
    digest = TextDigest()
    assert list(digest.through(blocks)) == blocks
    assert (digest.digest, digest.length_bytes) == (Digest.of(text.split(b"\n")[:-1]), len(text))


def test_texts_that_follow_each_other_are_joined() -> None:
    whole, first, second = TextDigest(), TextDigest(), TextDigest()
    whole.add(b"a\nb\nc\n")
    first.add(b"a\nb\n")
    second.add(b"c\n")
    first.join(second)
    assert (first.digest, first.length_bytes) == (whole.digest, whole.length_bytes)


def record(offset: int, key: str | None, value: bytes = b"", timestamp_ms: int = 0) -> Record:
    return Record(
        PARTITION,
        offset,
        timestamp_ms or 1000 + offset,
        key.encode() if key else None,
        value or b"%d" % offset,
    )


def test_sums_of_a_range() -> None:
    sums = RangeSums()
    for each, verdict in (
        (record(10, "a:1"), Verdict.NEW),
        (record(11, "a:2"), Verdict.NEW),
        (record(12, "b:7"), Verdict.NEW),
        (record(13, "a:2"), Verdict.REPEAT),
        (record(14, None), Verdict.ANONYMOUS),
        (record(15, "a:99999999999"), Verdict.FOREIGN),
        (record(16, "no identity"), Verdict.FOREIGN),
        (record(17, "a:1"), Verdict.REPEAT),
    ):
        sums.add(each, verdict)
    assert sums.by_replay() == {"a": Digest.of([b"10", b"11"]), "b": Digest.of([b"12"])}
    assert sums.anonymous.build() == Digest.of([b"14", b"15", b"16"])
    assert sums.digest.build() == Digest.of([b"10", b"11", b"12", b"14", b"15", b"16"])
    assert (sums.repeats, sums.foreign) == (2, 2)
    assert (sums.first_ms, sums.last_ms) == (1010, 1017)
    assert sums.marks == {"a": (2, 1011), "b": (7, 1012)}


class Topics:
    """A partition's records from offset 100 on, and what was asked of them."""

    def __init__(self, records: list[Record], low: int = 100) -> None:
        self.kept = records
        self.low = low
        self.asked: list[dict[int, tuple[int, int]]] = []

    def describe(self, settings: Settings) -> Topic:
        assert settings.topic == "t"
        return Topic("T", {PARTITION: (self.low, 10_000), PARTITION + 1: (500, 10_000)})

    def records(self, settings: Settings, places: dict[int, tuple[int, int]]) -> Iterator[Record]:
        assert settings.topic == "t"
        self.asked.append(places)
        first, until = places[PARTITION]
        return iter([each for each in self.kept if first <= each.offset < until])


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Topics:
    made = Topics([record(100 + at, f"a:{1 + at}") for at in range(10)])
    monkeypatch.setattr(ranges, "describe", made.describe)
    monkeypatch.setattr(ranges, "records", made.records)
    return made


def reader(
    at: int = 100, until: int = 110, marks: dict[str, int] | None = None, **more: Any
) -> PartitionReader:
    return PartitionReader(parse(topic="t"), "T", PARTITION, at, until, marks or {}, **more)


def offsets(records: Iterator[Record]) -> list[int]:
    return [each.offset for each in records]


def test_ranges_are_read_one_after_the_other(topic: Topics) -> None:
    made = reader()
    assert made.sums.by_replay() == {}
    assert offsets(made.records(100, 103)) == [100, 101, 102]
    assert made.sums.by_replay() == {"a": Digest.of([b"100", b"101", b"102"])}
    assert offsets(made.records(105, 107)) == [105, 106]
    assert made.sums.marks == {"a": (7, 1106)}
    assert offsets(made.records(107, 200)) == [107, 108, 109]
    assert offsets(made.records(200, 201)) == []
    assert made.sums.digest.build() == Digest()
    assert topic.asked == [{PARTITION: (100, 110)}]


def test_repeats_are_known_by_the_marks_and_by_what_was_read_before(topic: Topics) -> None:
    topic.kept = [record(100, "a:3"), record(101, "a:4"), record(102, "a:4"), record(103, "b:1")]
    made = reader(marks={"a": 3})
    assert offsets(made.records(102, 110)) == [103]
    assert (made.sums.repeats, made.sums.by_replay()) == (1, {"b": Digest.of([b"103"])})
    made = reader(marks={"a": 3})
    assert offsets(made.records(100, 110)) == [101, 103]
    assert made.sums.repeats == 2


def test_it_begins_at_the_marks_place_or_before_where_that_is_asked_for(topic: Topics) -> None:
    offsets(reader(at=104).records(106, 110))
    offsets(reader(at=104).records(102, 110))
    assert topic.asked == [{PARTITION: (104, 110)}, {PARTITION: (102, 110)}]


def test_what_retention_took_before_the_range_is_not_asked_for(topic: Topics) -> None:
    topic.low = 103
    offsets(reader(at=101).records(105, 110))
    assert topic.asked == [{PARTITION: (103, 110)}]
    made = PartitionReader(parse(topic="t"), "T", 7, 0, 9, {})  # a partition that the topic has no more
    with pytest.raises(KeyError):
        offsets(made.records(4, 9))
    assert topic.asked[1] == {7: (0, 9)}


def test_a_topic_made_anew_is_refused(topic: Topics) -> None:
    with pytest.raises(RangeGoneError) as caught:
        PartitionReader(parse(topic="t"), "U", PARTITION, 100, 110, {})
    assert str(caught.value) == (
        "Topic t is another one now (id T, expected U): what it held cannot be read again"
    )


def test_only_records_of_the_time_that_is_asked_for(topic: Topics) -> None:
    topic.kept = [record(100 + at, None, timestamp_ms=ms) for at, ms in enumerate((10, 20, 15, 30, 40))]
    assert offsets(reader().records(100, 110, (20, 40))) == [101, 102, 103], "time never steps back"
    made = reader(latest_ms=20)
    assert offsets(made.records(100, 110, (20, 21))) == [100, 101, 102]
    assert made.sums.digest.build() == Digest.of([b"100", b"101", b"102"])
    assert offsets(reader().records(100, 110, (0, 10))) == []


def test_lines_in_blocks_of_a_files_size(topic: Topics, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ranges, "BLOCK_BYTES", 9)  # lines of three bytes, each with its end: two are too few
    made = reader()
    assert list(made.blocks(100, 105)) == [b"100\n101\n102\n", b"103\n104\n"]
    assert list(made.blocks(105, 107)) == [b"105\n106\n"]
    assert made.sums.digest.lines == 2
    assert list(made.blocks(107, 110, (1108, 1109))) == [b"108\n"]
    assert list(made.blocks(110, 120)) == []
