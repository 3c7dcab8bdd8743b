"""The native way and the definition read each line alike: written by a server, changed, or made to hurt."""

import time

import polars as pl
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from logpipe.formats.apache import compile_apache
from logpipe.formats.columns import Columns
from logpipe.formats.fields import CORE, FormatError
from logpipe.formats.json_lines import Json, compile_json
from logpipe.formats.nginx import compile_nginx
from logpipe.formats.pattern import Pattern
from logpipe.formats.presets import PRESETS, Format, preset
from tests.formats.lines import HOSTILE, changed, json_lines, pattern_lines

COMPILED = {name: Columns(preset(name)) for name in PRESETS}


def native(columns: Columns, lines: list[bytes]) -> list[tuple[object, ...]]:
    return columns.parse(pl.Series(lines, dtype=pl.Binary)).rows()


def defined(columns: Columns, lines: list[bytes]) -> list[tuple[object, ...]]:
    parsed = [columns.format.parse_line(line) for line in lines]
    return [tuple(getattr(each, name) for name in columns.schema) for each in parsed]


def written(format_: Format) -> st.SearchStrategy[str]:
    return (
        json_lines(format_) if isinstance(format_, Json) else pattern_lines(format_).map(lambda made: made[0])
    )


def lines_of(format_: Format) -> st.SearchStrategy[list[bytes]]:
    line = written(format_)
    hostile = st.lists(st.sampled_from(HOSTILE), max_size=20).map(lambda pieces: "".join(pieces).encode())
    return st.lists(
        line.map(str.encode) | line.flatmap(changed) | hostile | st.binary(max_size=30), max_size=6
    )


@pytest.mark.parametrize("name", PRESETS)
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_a_preset(name: str, data: st.DataObject) -> None:
    columns = COMPILED[name]
    lines = [line.replace(b"\n", b"") for line in data.draw(lines_of(columns.format))]
    assert native(columns, lines) == defined(columns, lines)


APACHE = (  # noqa: SIM905
    "%h|%a|%l|%u|%t|%{%F %T}t|%{usec}t|%r|%m|%U%q|%U|%>s|%b|%O|%D|%T|%{ms}T|%v|%p|"
    "%{Referer}i|%{User-Agent}i|%X|%%"
).split("|")
NGINX = (  # noqa: SIM905
    "$remote_addr|$remote_user|$time_local|$time_iso8601|$msec|$request|$request_method|$uri|"
    "$uri$is_args$args|$args|$status|$body_bytes_sent|$request_time|$host|$http_referer|$http_user_agent|$upstream_addr"
).split("|")
BETWEEN = st.sampled_from(
    [" ", '" "', "\t", " | ", "; ", "-", ":", "1", ".", "+", "/", "[", '"', " [", "] ", "ab", "\\"]
)


@st.composite
def formats(draw) -> Pattern:
    words = draw(st.sampled_from([APACHE, NGINX]))
    form = draw(st.sampled_from(["", '"', "["])) + words[4 if words is APACHE else 2]
    for word in draw(st.lists(st.sampled_from(words), min_size=1, max_size=6)):
        form += draw(BETWEEN) + word
    form += draw(st.sampled_from(["", '"', "]", " x"]))
    try:
        if words is APACHE:
            return compile_apache(form)
        return compile_nginx(form, draw(st.sampled_from(["default", "json", "none"])))
    except FormatError:
        assume(False)
        raise


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(st.data())
def test_a_format_of_any_words(data: st.DataObject) -> None:
    columns = Columns(data.draw(formats()))
    lines = [line.replace(b"\n", b"") for line in data.draw(lines_of(columns.format))]
    assert native(columns, lines) == defined(columns, lines)


ESCAPED = {
    "apache": compile_apache('%t "%r" %>s "%{Referer}i" "%{User-Agent}i" "%v"'),
    "nginx": compile_nginx('[$time_local] "$request" $status "$http_referer" "$http_user_agent" "$host"'),
    "nginx json": compile_nginx(
        '{"t":$msec,"r":"$http_referer","a":"$http_user_agent","s":"$status","h":"$host"}', "json"
    ),
    "cloudfront": preset("cloudfront"),
}


@pytest.mark.parametrize("format_", ESCAPED.values(), ids=ESCAPED)
@settings(max_examples=60)
@given(st.data())
def test_what_a_client_sent_comes_out_of_its_escapes(format_: Pattern, data: st.DataObject) -> None:
    line, given_ = data.draw(pattern_lines(format_))
    parsed = format_.parse_line(line.encode())
    assert parsed.reason is None
    for role, text in given_.items():
        assert getattr(parsed, role) == (None if text in ("", "-") else text)


@pytest.mark.parametrize("name", PRESETS)
def test_a_hostile_line_takes_linear_time(name: str) -> None:
    columns = COMPILED[name]
    begins = {"caddy": b'{"request":{"uri":"', "traefik_json": b'{"ClientHost":"'}
    good = begins.get(name, b'h - - [01/Aug/1995:00:00:01 -0400] "')
    for piece in (b' [ ] "" 200 x', b"\\", b'\\"', b'" ', b"[", b'{"a":', b"\t", b"x ", b":", b'","', b"1"):
        spent = []
        for times_ in (20_000, 80_000):
            line = good + piece * times_
            begun = time.process_time()
            one, other = columns.format.parse_line(line), native(columns, [line])[0]
            spent.append(time.process_time() - begun)
            assert one.reason == other[-1] is not None
        assert spent[1] < 1 or spent[1] < 12 * spent[0], (name, piece, spent)


def test_the_core_is_there_in_any_case() -> None:
    columns = Columns(compile_json({"time_s": "at"}))
    assert tuple(columns.schema) == (*CORE, "reason")
    assert native(columns, [b'{"at": 1.5}']) == [(None, 1500, None, None, None, None, None)]
