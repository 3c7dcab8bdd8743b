"""Common and combined, the formats of servers of every age: their irregularities, and any bytes."""

import gzip

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpipe.formats.columns import Columns
from logpipe.formats.fields import EMPTY, FORMAT, REQUEST, TIME, Parsed
from logpipe.formats.presets import preset
from logpipe.settings import PROJECT_DIR

BUNDLED = PROJECT_DIR / "plugins/logpipe/hosts/machine/ftp/files/NASA_access_log_Aug95.first20000.gz"
COLUMNS = {name: Columns(preset(name)) for name in ("common", "combined")}
AT = "[01/Aug/1995:00:00:01 -0400]"
AT_MS = 807249601000

READABLE = {
    "common": (f'h - - {AT} "GET /a HTTP/1.0" 200 1839', ("h", "GET", "/a", "200", 1839)),
    "combined": (
        f'h - - {AT} "GET /a HTTP/1.1" 200 5 "http://r/" "Mozilla (x)"',
        ("h", "GET", "/a", "200", 5),
    ),
    "quote in the agent": (
        f'h - - {AT} "GET /a HTTP/1.1" 200 5 "-" "a \\"b\\""',
        ("h", "GET", "/a", "200", 5),
    ),
    "no protocol": (f'h - - {AT} "GET /a" 200 5', ("h", "GET", "/a", "200", 5)),
    "strange protocol": (f'h - - {AT} "GET / HTTP/V1.0" 200 5', ("h", "GET", "/", "200", 5)),
    "blanks before the protocol": (f'h - - {AT} "GET /a   HTTP/1.0" 200 5', ("h", "GET", "/a", "200", 5)),
    "blank in the target": (f'h - - {AT} "GET /a b HTTP/1.0" 404 -', ("h", "GET", "/a b", "404", 0)),
    "quotes in the request": (f'h - - {AT} "GET /"a" HTTP/1.0" 404 -', ("h", "GET", '/"a"', "404", 0)),
    "no size": (f'h - - {AT} "HEAD /a HTTP/1.0" 302 -', ("h", "HEAD", "/a", "302", 0)),
    "no host": (f'- - - {AT} "GET /a HTTP/1.0" 200 5', ("-", "GET", "/a", "200", 5)),
    "user with a blank": (f'h - a b {AT} "GET /a HTTP/1.0" 401 5', ("h", "GET", "/a", "401", 5)),
    "nothing sent": (f'h - - {AT} "-" 408 -', ("h", "-", "-", "408", 0)),
    "carriage return": (f'h - - {AT} "GET /a HTTP/1.0" 200 5\r', ("h", "GET", "/a", "200", 5)),
    "ipv6": (f'::1 - - {AT} "OPTIONS * HTTP/1.0" 200 5', ("::1", "OPTIONS", "*", "200", 5)),
    "target like a protocol": (f'h - - {AT} "GET HTTP/1.0" 400 5', ("h", "GET", "HTTP/1.0", "400", 5)),
}

MALFORMED = {
    "": EMPTY,
    "\r": FORMAT,
    "hello": FORMAT,
    "alyssa.p": FORMAT,
    f'h - - {AT} "GET /a HTTP/1.0" 20 5': FORMAT,
    f'h - - {AT} "GET /a HTTP/1.0" 200 5x': FORMAT,
    f'h - - {AT} "GET /a HTTP/1.0" 200': FORMAT,
    f'h - - {AT} "GET /a HTTP/1.0': FORMAT,
    'h - - [yesterday] "GET /a HTTP/1.0" 200 5': TIME,
    'h - - [31/Feb/1995:00:00:01 -0400] "GET /a HTTP/1.0" 200 5': TIME,
    'h - - [01/Aug/1995:24:00:01 -0400] "GET /a HTTP/1.0" 200 5': TIME,
    f'h - - {AT} "" 200 5': REQUEST,
    f'h - - {AT} "GET" 200 5': REQUEST,
    f'h - - {AT} "\x16\x03\x01 \x02" 400 5': REQUEST,
}


PIECES = st.sampled_from(
    ["h", "-", " ", "  ", "[", "] ", '"', '" ', AT, "[31/Feb/1995:25:00:01 -0400]", "GET", "get", "/a", "\t",
     "HTTP/1.0", "HTTP/", " HTTP/1.1", "200", " 404 ", "-", "\r", "\x00",
     "é", "\u00a0", "\u0085", '"x"', "99999"]
)  # fmt: skip


def read(line: bytes | str, name: str = "combined") -> Parsed:
    return preset(name).parse_line(line if isinstance(line, bytes) else line.encode())


def both_agree(name: str, lines: list[bytes]) -> None:
    columns = COLUMNS[name]
    defined = [tuple(getattr(read(line, name), each) for each in columns.schema) for line in lines]
    assert columns.parse(pl.Series(lines, dtype=pl.Binary)).rows() == defined


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(("line", "expected"), READABLE.values(), ids=READABLE.keys())
def test_reads(name: str, line: str, expected: tuple[str, str, str, str, int]) -> None:
    host, *request = expected
    assert read(line, name)[:6] == (host, AT_MS, *request)


@pytest.mark.parametrize("name", COLUMNS)
@pytest.mark.parametrize(("line", "reason"), MALFORMED.items())
def test_malformed_with_reason(name: str, line: str, reason: str) -> None:
    parsed = read(line, name)
    assert parsed.reason == reason
    assert parsed.host is parsed.method is parsed.target is parsed.status is None


@pytest.mark.parametrize(
    ("text", "expected_ms"),
    [
        ("01/Jan/1970:00:00:00 +0000", 0),
        ("01/Jan/1970:01:00:00 +0130", -1800000),
        ("31/Dec/2016:23:59:60 +0000", 1483228800000),  # a leap second
        ("29/Feb/2000:00:00:00 -0000", 951782400000),
        ("29/Feb/1900:00:00:00 +0000", None),
        ("1/Aug/1995:00:00:01 -0400", None),
        ("01/aug/1995:00:00:01 -0400", None),
        ("01/Aug/0000:00:00:01 -0400", None),
    ],
)
def test_time(text: str, expected_ms: int | None) -> None:
    parsed = read(f'h - - [{text}] "GET /a HTTP/1.0" 200 5')
    assert (parsed.time_ms, parsed.reason) == (expected_ms, TIME if expected_ms is None else None)


def test_latin_1_and_utf_8() -> None:
    line = f'h - - {AT} "GET /caf\xe9 HTTP/1.0" 200 5'
    assert read(line.encode("latin-1")).target == read(line).target == "/caf\xe9"


@pytest.mark.parametrize("name", COLUMNS)
def test_real_lines_are_readable(name: str) -> None:
    lines = gzip.decompress(BUNDLED.read_bytes()).splitlines()[::5]  # each line is read in Python, too
    both_agree(name, lines)
    assert {read(line, name).reason for line in lines} == {None}


def test_columns_keep_the_order_and_take_any_bytes() -> None:
    good = f'h - - {AT} "GET /a HTTP/1.0" 200 1'.encode()
    both_agree("combined", [b"\xff\x00", good, b"", good + b"\r", b'x" 200 5', good])


@pytest.mark.parametrize("name", COLUMNS)
@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.binary(max_size=40)
        | st.lists(PIECES, max_size=14).map(lambda pieces: "".join(pieces).encode())
        | st.builds(
            lambda host, time, request, tail: f'{host} - - {time} "{request}"{tail}'.encode(),
            st.sampled_from(["h", "a.b", "", "é"]),
            st.sampled_from([AT, "[29/Feb/1995:00:00:01 -0400]", "[01/Aug/1995:00:00:60 +1959]", "[x]"]),
            st.lists(PIECES, max_size=5).map("".join),
            st.sampled_from([" 200 5", " 200 -", " 200 5\r", ' 404 5 "-" "x"', " 20 5", " 200 5 x", ""]),
        ),
        max_size=8,
    )
)
def test_native_code_equals_the_definition(name: str, lines: list[bytes]) -> None:
    both_agree(name, lines)


def test_hostile_line_takes_linear_time() -> None:
    line = b"h - - " + b' [ ] "" 200 x' * 80_000
    assert read(line).reason in (FORMAT, TIME)
    both_agree("combined", [line])


def test_an_escaped_quote_ends_no_request() -> None:
    """A client cannot write a status of its own."""
    line = f'h - - {AT} "GET /a\\" 200 5 HTTP/1.1" 404 7 "-" "x"'
    assert read(line)[3:6] == ('/a\\" 200 5', "404", 7)
