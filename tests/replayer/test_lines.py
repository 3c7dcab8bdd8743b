"""Splitting: any bytes, any block boundaries, the same lines."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from logpipe.digest import line_hash
from logpipe.replayer.lines import KEPT_PREFIX_BYTES, LineSplitter, LongLine

LIMIT = 8
CONTENT = st.lists(
    st.one_of(
        st.binary(max_size=20),
        st.just(b"\n"),
        st.just(b"\r\n"),
        st.sampled_from([b"a", b"\x00", b"\xe9", b"\xff"]),
    ),
    max_size=30,
).map(b"".join)


def expected_lines(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def split(content: bytes, cuts: list[int], limit: int) -> list[bytes | LongLine]:
    splitter = LineSplitter(limit)
    places = [0, *sorted(cut % (len(content) + 1) for cut in cuts), len(content)]
    items = [item for begin, end in pairwise(places) for item in splitter.feed(content[begin:end])]
    items += splitter.finish()
    assert [] not in items
    return [line for item in items for line in (item if isinstance(item, list) else [item])]


@given(CONTENT, st.lists(st.integers(0, 1000), max_size=8))
def test_lines_are_the_bytes_between_newlines(content: bytes, cuts: list[int]) -> None:
    assert split(content, cuts, 10_000) == expected_lines(content)


@given(CONTENT, st.lists(st.integers(0, 1000), max_size=8))
def test_lines_over_the_limit_and_no_others_are_set_aside(content: bytes, cuts: list[int]) -> None:
    expected = [
        LongLine(len(line), line_hash(line), line[:KEPT_PREFIX_BYTES]) if len(line) > LIMIT else line
        for line in expected_lines(content)
    ]
    assert split(content, cuts, LIMIT) == expected


def test_a_line_without_end_is_held_up_to_the_limit_only() -> None:
    splitter = LineSplitter(1000)
    for _ in range(1000):
        assert list(splitter.feed(b"x" * 1000)) == []
    (line,) = splitter.finish()
    assert isinstance(line, LongLine)
    assert line.length_bytes == 1_000_000
    assert line.hash == line_hash(b"x" * 1_000_000)
    assert line.prefix == b"x" * KEPT_PREFIX_BYTES


def test_a_line_of_just_the_limit_is_a_line_in_blocks_of_any_size() -> None:
    line, long = b"x" * LIMIT, b"x" * (LIMIT + 1)
    content = line + b"\n" + long + b"\n" + line + b"\n"
    expected = [line, LongLine(LIMIT + 1, line_hash(long), long), line]
    assert split(b"\n" + content, [], LIMIT) == [b"", *expected]
    assert split(content, list(range(len(content))), LIMIT) == expected
