"""Common and combined are read as the windows job reads them today."""

import gzip

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpipe.formats.columns import Columns
from logpipe.formats.presets import preset
from logpipe.settings import PROJECT_DIR
from tests.spark.test_parse import AT, MALFORMED, PIECES, READABLE
from windows.parse import parse_frame, parse_line

BUNDLED = PROJECT_DIR / "plugins/logpipe/hosts/machine/ftp/files/NASA_access_log_Aug95.first20000.gz"
EDGES = [line.encode() for line in (*(line for line, _ in READABLE.values()), *MALFORMED)]
NAMES = ("common", "combined")


def today(line: bytes) -> tuple[object, ...]:
    host, method, endpoint, status, sent_bytes, event_ms, reason = parse_line(line)
    return host, event_ms, method, endpoint, status, sent_bytes, reason


def now(name: str, line: bytes) -> tuple[object, ...]:
    parsed = preset(name).parse_line(line)
    return (*parsed[:6], parsed.reason)


@pytest.mark.parametrize("name", NAMES)
def test_the_bundled_log(name: str) -> None:
    lines = pl.Series(gzip.decompress(BUNDLED.read_bytes()).split(b"\n"), dtype=pl.Binary)
    wanted = parse_frame(pl.DataFrame({"value": lines}))
    columns = pl.col("host", "method", "endpoint", "status", "sent_bytes", "event_ms", "reason")
    read = Columns(preset(name)).parse(lines).rename({"target": "endpoint", "time_ms": "event_ms"})
    assert read.select(columns).equals(wanted.select(columns))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("line", EDGES)
def test_its_edge_cases(name: str, line: bytes) -> None:
    assert now(name, line) == today(line)


@pytest.mark.parametrize("name", NAMES)
@settings(max_examples=300)
@given(
    st.lists(PIECES, max_size=14).map("".join)
    | st.builds(
        lambda host, user, when, request, tail: f'{host} {user}{when} "{request}"{tail}',
        st.sampled_from(["h", "a.b", "", "é", "[x"]),
        st.sampled_from(["- - ", "- a b ", "- [u ", "[ - ", "", "-  "]),
        st.sampled_from([AT, "[29/Feb/1995:00:00:01 -0400]", "[01/Aug/1995:00:00:60 +1959]", "[x]"]),
        st.lists(PIECES, max_size=5).map("".join),
        st.sampled_from(
            [" 200 5", " 200 -\r", ' 404 5 "-" "x"', ' 404 5 "-" "x', " 20 5", " 200 5 x", ' 200 5 "']
        ),
    )
)
def test_any_line_without_a_backslash(name: str, line: str) -> None:
    assert now(name, line.encode()) == today(line.encode())


def test_an_escaped_quote_ends_no_request() -> None:
    """What is read otherwise than before: a client cannot write a status of its own any more."""
    line = f'h - - {AT} "GET /a\\" 200 5 HTTP/1.1" 404 7 "-" "x"'.encode()
    assert now("combined", line)[3:6] == ('/a\\" 200 5', "404", 7)
    assert today(line)[3:6] == ("/a\\", "200", 5)
