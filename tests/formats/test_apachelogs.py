"""Apache's formats, held against `apachelogs`: a parser that others made and keep."""

import re

import apachelogs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from logpipe.formats.apache import compile_apache
from logpipe.formats.pattern import Pattern
from tests.formats.lines import pattern_lines

FORMS = (
    '%h %l %u %t "%r" %>s %b',
    '%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"',
    '%v:%p %h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"',
    '%a %{%Y-%m-%d %H:%M:%S %z}t "%m" "%U" "%q" %>s %B %D "%{User-Agent}i"',
    '%{sec}t "%r" %s %b %T "%{Referer}i"',
    '%{msec}t %a %v "%r" %>s %B',
)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=60)
@given(st.data())
def test_both_read_the_same(form: str, data: st.DataObject) -> None:
    format_ = compile_apache(form)
    line, _ = data.draw(pattern_lines(format_))
    if form.startswith("%{sec}t"):  # whole ones, where other servers write a fraction
        line = re.sub(r"^([0-9]+)\.[0-9]+", r"\1", line)
    parser = apachelogs.LogParser(form, encoding="utf-8", errors="surrogateescape")
    assert _as_theirs(format_, line) == _comparable(parser.parse(line))


def _as_theirs(format_: Pattern, line: str) -> dict[str, object]:
    parsed = format_.parse_line(line.encode())
    assert parsed.reason is None, line
    return {
        "time_ms": parsed.time_ms,
        "status": parsed.status,
        "sent_bytes": parsed.sent_bytes or 0,
        "referrer": parsed.referrer,
        "user_agent": parsed.user_agent,
        "request": (parsed.method, parsed.target),
        "host": parsed.host,
        "vhost": parsed.vhost,
        "latency_us": parsed.latency_us,
    }


def _comparable(entry: apachelogs.LogEntry) -> dict[str, object]:
    said = entry.directives
    request = next((said[name] for name in ("%r",) if said.get(name)), None)
    if request is not None:
        method, _, target = request.partition(" ")
        asked = (method, target.removesuffix(" HTTP/1.1").rstrip(" "))
    else:
        asked = (said["%m"], said["%U"] + (said["%q"] or ""))
    seconds = said.get("%T")
    headers = {name.lower(): value for name, value in getattr(entry, "headers_in", {}).items()}
    sent = next((said[name] for name in ("%b", "%B", "%O") if said.get(name)), 0)
    return {
        "time_ms": round(entry.request_time.timestamp() * 1000),
        "status": str(next(said[name] for name in ("%>s", "%s") if name in said)),
        "sent_bytes": sent,
        "referrer": _said(headers.get("referer")),
        "user_agent": _said(headers.get("user-agent")),
        "request": asked,
        "host": said.get("%h") or said.get("%a"),
        "vhost": _said(said.get("%v")),
        "latency_us": said.get("%D") if seconds is None else seconds * 1_000_000,
    }


def _said(text: str | None) -> str | None:
    return None if text in (None, "", "-") else text
