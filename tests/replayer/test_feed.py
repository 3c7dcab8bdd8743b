"""Batches: numbers, offsets, limits, and going on behind any line."""

from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpipe.replayer import feed as feed_module
from logpipe.replayer.errors import SourceChangedError, SourceDamagedError, SourceError
from logpipe.replayer.feed import BATCH_BYTES, BATCH_LINES, Batch, LineFeed, Place, SetAside
from logpipe.replayer.gunzip import PlainBlock, pass_through
from logpipe.replayer.halt import Halt
from logpipe.replayer.lines import LineSplitter
from logpipe.replayer.pace import parse_pace
from logpipe.replayer.prefetch import EndOfSource

MAX_LINE_BYTES = 50


class ReadyBlocks:
    """All blocks at once, then the end."""

    def __init__(self, blocks: Iterator[PlainBlock], error: SourceError | None = None) -> None:
        self._blocks = blocks
        self._error = error

    def get(self, timeout_s: float) -> PlainBlock | EndOfSource:
        return next(self._blocks, None) or EndOfSource(self._error)


def feed_of(
    content: bytes,
    *,
    resume: Place | None = None,
    pace: str = "max",
    limit: int | None = None,
    rolling: bool = True,
    block_bytes: int = 37,
    max_line_bytes: int = MAX_LINE_BYTES,
    error: SourceError | None = None,
    batch_lines: int = BATCH_LINES,
    treat: Callable[[Sequence[bytes]], list[bytes]] | None = None,
) -> LineFeed:
    resume = resume or Place()
    begin = resume.pin.offset if rolling else 0
    blocks = [content[at : at + block_bytes] for at in range(begin, len(content), block_bytes)]
    return LineFeed(
        ReadyBlocks(pass_through(blocks, begin), error),
        LineSplitter(max_line_bytes),
        Halt(),
        resume=resume,
        pace=parse_pace(pace),
        limit=limit,
        rolling_pin=rolling,
        is_compressed=not rolling,
        batch_lines=batch_lines,
        treat=treat,
    )


def drain(feed: LineFeed) -> list[Batch | SetAside]:
    items = []
    while (item := feed.next(wait=True)) is not None:
        items.append(item)
    return items


def numbered(items: list[Batch | SetAside]) -> dict[int, bytes | int]:
    """Line, or length of a line set aside, by number; every number once."""
    found: dict[int, bytes | int] = {}
    for item in items:
        if isinstance(item, Batch):
            for number, line in enumerate(item.lines, item.first_line):
                assert number not in found
                found[number] = line
        else:
            assert item.number not in found
            found[item.number] = item.line.length_bytes
    return found


def expected(content: bytes) -> dict[int, bytes | int]:
    lines = content.split(b"\n")
    lines = lines[:-1] if lines[-1] == b"" else lines
    return {
        number: line if len(line) <= MAX_LINE_BYTES else len(line)
        for number, line in enumerate(lines, start=1)
    }


CONTENTS = st.lists(st.binary(max_size=12) | st.just(b"x" * 60) | st.just(b""), max_size=40).map(b"\n".join)


@given(CONTENTS, st.booleans(), st.data())
def test_every_line_has_its_number_also_after_a_resume_behind_any_batch(
    content: bytes, rolling: bool, data: st.DataObject
) -> None:
    items = drain(feed_of(content, rolling=rolling))
    assert numbered(items) == expected(content)
    for item in items:
        before = content[: item.end.offset]
        assert before.count(b"\n") + (item.end.offset > len(content)) == item.end.line
    if items:
        done = data.draw(st.integers(1, len(items)))
        resumed = feed_of(content, resume=items[done - 1].end, rolling=rolling, block_bytes=11)
        assert {**numbered(items[:done]), **numbered(drain(resumed))} == expected(content)
        assert not set(numbered(items[:done])) & set(
            numbered(drain(feed_of(content, resume=items[done - 1].end, rolling=rolling)))
        )


@pytest.mark.parametrize("pace", ["max", "delay:0"])
def test_a_batch_ends_with_its_chunk(pace: str) -> None:
    content = b"".join(b"line %d\n" % number for number in range(7500))
    (cut,) = drain(feed_of(content, limit=300))
    items = drain(feed_of(content, resume=cut.end, pace=pace, block_bytes=1 << 20, batch_lines=3000))
    batches = [(item.first_line, len(item.lines)) for item in items if isinstance(item, Batch)]
    assert batches == [(301, 2700), (3001, 3000), (6001, 1500)]


@pytest.mark.parametrize("rolling", [True, False])
def test_another_content_is_refused_at_a_resume(rolling: bool) -> None:
    content = b"".join(b"line %d\n" % number for number in range(5000))
    place = drain(feed_of(content, rolling=rolling, batch_lines=1000))[2].end
    changed = content.replace(b"line 2500", b"LINE 2500")
    with pytest.raises(
        SourceChangedError,
        match=r"digest [0-9a-f]{16}, now [0-9a-f]{16}; replay the new one under another replay_id$",
    ):
        drain(feed_of(changed, resume=place, rolling=rolling))
    with pytest.raises(SourceChangedError, match="line 3000 was sent, it now ends with line 100"):
        drain(feed_of(b"".join(content.splitlines(keepends=True)[:100]), resume=place, rolling=rolling))


def test_a_rolling_pin_reaches_back_one_to_two_mebibytes() -> None:
    content = b"".join(b"%040d\n" % number for number in range(100_000))
    items = drain(feed_of(content, block_bytes=100_000, batch_lines=1000))
    spans = [item.end.offset - item.end.pin.offset for item in items]
    assert max(spans) < (2 << 20) + 2 * 1000 * 41
    assert min(spans[30:]) >= 1 << 20
    resumed = feed_of(content, resume=items[40].end, block_bytes=100_000)
    rest = drain(resumed)
    assert min(numbered(rest)) == items[40].end.line + 1
    assert {item.end.pin.offset - 41 * item.end.pin.line for item in rest} == {0}


def test_batches_are_bounded_in_lines_and_bytes() -> None:
    many = drain(feed_of(b"\n" * 5 * BATCH_LINES, block_bytes=3000))
    assert [len(item.lines) for item in many if isinstance(item, Batch)] == [BATCH_LINES] * 5
    wide = drain(feed_of((b"x" * 100_000 + b"\n") * 40, block_bytes=262144, max_line_bytes=1 << 20))
    sizes = [sum(map(len, item.lines)) for item in wide if isinstance(item, Batch)]
    assert sum(sizes) == 4_000_000
    assert max(sizes) <= BATCH_BYTES


@pytest.mark.parametrize("limit", [1, 3, 4, 5, 6, 1000])
def test_a_limit_counts_lines_of_the_source(limit: int) -> None:
    content = b"a\n\nb\n" + b"x" * 99 + b"\nc\nd"
    whole = expected(content)
    items = drain(feed_of(content, limit=limit))
    assert numbered(items) == {number: line for number, line in whole.items() if number <= limit}
    assert drain(feed_of(content, limit=limit, resume=items[-1].end)) == []


def test_lines_before_a_failure_are_given_out_and_a_cut_line_only_if_the_file_itself_is_cut() -> None:
    for error, lines in (
        (SourceError("gone"), [b"a", b"b"]),
        (SourceDamagedError("cut"), [b"a", b"b", b"half"]),
    ):
        feed = feed_of(b"a\nb\nhalf", error=error)
        batch = feed.next(wait=True)
        assert isinstance(batch, Batch)
        assert batch.lines == lines
        with pytest.raises(SourceError) as caught:
            feed.next(wait=True)
        assert caught.value is error


def test_a_paced_line_is_given_out_when_it_is_due() -> None:
    feed = feed_of(b"a\nb\n", pace="delay:3600")
    batch = feed.next(wait=True)
    assert isinstance(batch, Batch)
    assert batch.lines == [b"a"]
    assert feed.next(wait=False) is None


def test_bytes_of_the_source_are_those_read_of_one_that_is_compressed_else_those_settled() -> None:
    (batch,) = drain(feed_of(b"a\nb\nc\n", rolling=True, limit=2))
    assert (batch.end.offset, batch.end.source_bytes) == (4, 4)
    (batch,) = drain(feed_of(b"a\nb\nc\n", rolling=False, limit=2))
    assert (batch.end.offset, batch.end.source_bytes) == (4, 6)
    (batch,) = drain(feed_of(b"a\nb"))
    assert (batch.end.offset, batch.end.source_bytes) == (4, 3)


class Waits:
    """A clock that only waits move: those for blocks, and those for a halt."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *blocks: bytes | None) -> None:
        self.now_s = 100.0
        self.for_blocks: list[float] = []
        self.for_halt: list[float] = []
        self.asked = False
        self._blocks = iter(blocks)
        monkeypatch.setattr(feed_module, "time", SimpleNamespace(monotonic=lambda: self.now_s))

    def get(self, timeout_s: float) -> PlainBlock | EndOfSource | None:
        self.for_blocks.append(round(timeout_s, 6))
        block = next(self._blocks, b"")
        self.now_s += timeout_s if block is None else 0
        if block is None:
            return None
        return PlainBlock(block, 7) if block else EndOfSource(None)

    def wait(self, seconds: float) -> bool:
        self.for_halt.append(round(seconds, 6))
        self.now_s += seconds
        return False

    def feed(self, pace: str = "max", limit: int | None = None) -> LineFeed:
        return LineFeed(
            self, LineSplitter(50), self,  # type: ignore[arg-type]
            resume=Place(), pace=parse_pace(pace), limit=limit, rolling_pin=True, is_compressed=False,
        )  # fmt: skip


def batch_of(feed: LineFeed, *, wait: bool = True) -> list[bytes] | None:
    found = feed.next(wait=wait)
    assert found is None or isinstance(found, Batch)
    return found.lines if found else None


def test_a_line_waits_for_others_but_not_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits(monkeypatch, b"a\n", None, b"b\n", *[None] * 4, b"c\n")
    feed = waits.feed()
    assert batch_of(feed) == [b"a", b"b"]
    assert (waits.for_blocks, waits.for_halt, waits.now_s) == ([0.0, 0.0, 0.2, 0.0, 0.0, 0.2, 0.0], [], 100.2)
    assert batch_of(feed) == [b"c"], "at the end nobody waits"
    assert waits.now_s == 100.2
    assert feed.next(wait=True) is None


def test_the_first_line_is_waited_for_with_looks_around(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits(monkeypatch, None, None, None, None, b"a\n")
    feed = waits.feed()
    assert batch_of(feed) == [b"a"]
    assert waits.for_blocks == [0.0, 0.2, 0.0, 0.2, 0.0, 0.0]
    assert waits.for_halt == []


def test_a_line_that_is_not_due_is_waited_for_and_nobody_reads_on(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits(monkeypatch, b"a\nb\n")
    feed = waits.feed("delay:0.5")
    assert batch_of(feed, wait=False) is None, "it may grow a little"
    assert batch_of(feed) == [b"a"]
    assert (waits.for_halt, waits.now_s) == ([0.2], 100.2)
    assert batch_of(feed, wait=False) is None
    assert batch_of(feed) == [b"b"]
    assert (waits.for_halt, waits.now_s) == ([0.2, 0.2, 0.1], 100.5)


def test_nothing_is_given_out_once_a_halt_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits(monkeypatch, b"a\n")
    waits.asked = True
    assert waits.feed().next(wait=True) is None
    assert waits.for_blocks == []


def test_a_pace_goes_by_the_times_of_the_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (b"- - - [01/Aug/1995:00:00:0%d -0400]" % second for second in (1, 3))
    waits = Waits(monkeypatch, first + b"\n" + second + b"\n")
    feed = waits.feed("speed:2")
    assert batch_of(feed) == [first]
    assert batch_of(feed) == [second]
    assert round(waits.now_s, 6) == 101.0


def test_nothing_is_read_behind_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    waits = Waits(monkeypatch, b"a\nb\n", b"c\n")
    feed = waits.feed(limit=2)
    assert batch_of(feed) == [b"a", b"b"]
    assert feed.next(wait=True) is None
    assert (waits.for_blocks, waits.now_s) == ([0.0], 100.0)


def test_as_many_lines_share_a_batch_as_its_bytes_hold() -> None:
    def sizes(line_bytes: int, lines: int) -> list[int]:
        content = (b"x" * line_bytes + b"\n") * lines
        items = drain(feed_of(content, block_bytes=len(content), max_line_bytes=2 << 20))
        return [len(item.lines) for item in items if isinstance(item, Batch)]

    assert sizes(BATCH_BYTES // 2, 3) == [2, 1]
    assert sizes(BATCH_BYTES // 2 + 1, 2) == [1, 1]
    assert sizes(BATCH_BYTES + 1, 2) == [1, 1]


def twice(lines: Sequence[bytes]) -> list[bytes]:
    return [line * 2 for line in lines]


@given(st.lists(st.binary(max_size=MAX_LINE_BYTES + 9).filter(lambda line: b"\n" not in line)), st.data())
def test_a_line_that_grows_too_long_is_set_aside_as_it_would_be_sent(
    lines: list[bytes], data: st.DataObject
) -> None:
    """Lines are sent as treated; places are the source's, so that a resume at any of them goes on."""
    content = b"".join(line + b"\n" for line in lines)
    items = drain(feed_of(content, treat=twice))
    sent = [line if len(line) > MAX_LINE_BYTES else line * 2 for line in lines]
    assert numbered(items) == {
        number: line if len(line) <= MAX_LINE_BYTES else len(line) for number, line in enumerate(sent, 1)
    }
    for item in items:
        if isinstance(item, SetAside):
            source = lines[item.number - 1]
            assert item.has_grown == (len(source) <= MAX_LINE_BYTES)
            assert item.line.prefix == (source * 2)[: len(item.line.prefix)]
    if items:
        at = data.draw(st.integers(0, len(items) - 1))
        rest = drain(feed_of(content, resume=items[at].end, treat=twice))
        assert numbered(rest) == numbered(items[at + 1 :])
