"""What nginx, Apache and Caddy write, asked with all that breaks lines: it is read as it was sent."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

import polars as pl
import pytest

from logpipe.formats.columns import Columns
from logpipe.formats.compiler import compile_format
from logpipe.formats.detect import detect
from logpipe.formats.fields import Parsed
from logpipe.formats.presets import NGINX_JSON, preset
from tests.web_servers import APACHE_TIMED, NGINX_TIMED, ask, missing, running

# What is sent, and what it is after it was read: bytes that are no UTF-8 come out as Latin-1.
AGENTS = {
    "plain": b"Mozilla/5.0 (X11; Linux x86_64)",
    "quotes": b'a "b" \\"c\\" 200 5 "',
    "backslashes": b"\\x41\\\\n\\",
    "a tab": b"a\tb",
    "utf-8": "Zoë \U0001f600".encode(),
    "a request within": b'x" 200 7 "-" "y',
    "long": b"x" * 20_000,
    "json within": b'{"status":200,"a":[1]}',
}
TARGETS = {
    "plain": b"/a?b=c",
    "percents": b"/caf%C3%A9%22",
    "a quote": b'/a" 200 5 "-',
    "a backslash": b"/a\\b\\",
    "long": b"/" + b"y" * 20_000,
    "brackets": b"/[01/Jan/2000:00:00:00]",
}
GARBAGE = {
    "tls": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03\x00\x01\x02\r\n\r\n",
    "a word": b"hello\r\n\r\n",
    "high bytes": b"GET /\xff\xfe HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n",
}


WORDS = {
    "nginx": {"combined": "nginx", "json": "nginx_json", "timed": NGINX_TIMED},
    "apache": {
        "common": "apache_common",
        "combined": '%h %l %u %t "%r" %>s %O "%{Referer}i" "%{User-Agent}i"',
        "vhost_combined": "vhost_combined",
        "timed": APACHE_TIMED,
    },
    "caddy": {"caddy": "caddy"},
}
# What `detect` says of them: no line tells the server of a combined log.
TAKEN = {name: name for name in ("combined", "common", "vhost_combined", "caddy")} | {"json": "nginx_json"}


def _request(target: bytes, agent: bytes) -> bytes:
    headers = b"Host: a.example\r\nReferer: http://r.example/\r\nConnection: close\r\n"
    return b"GET " + target + b" HTTP/1.1\r\n" + headers + b"User-Agent: " + agent + b"\r\n\r\n"


@dataclass
class Logs:
    """What a server was sent, with its answers, and what it wrote."""

    server: str
    folder: Path
    begun_ms: int
    sent: list[tuple[bytes, bytes, bytes]] = field(default_factory=list)

    def lines(self, name: str) -> list[bytes]:
        return (self.folder / f"{name}.log").read_bytes().split(b"\n")[:-1]


@pytest.fixture(scope="module", params=["nginx", "apache", "caddy"])
def logs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Logs:
    if missing(request.param):
        pytest.skip(missing(request.param))
    folder = tmp_path_factory.mktemp(request.param)
    made = Logs(request.param, folder, int(time.time()) * 1000)
    with running(request.param, folder, NGINX_JSON) as server:
        port = server.port
        for agent in AGENTS.values():
            made.sent.append((b"/a?b=c", agent, ask(port, _request(b"/a?b=c", agent))))
        for target in TARGETS.values():
            made.sent.append((target, AGENTS["plain"], ask(port, _request(target, AGENTS["plain"]))))
        for garbage in GARBAGE.values():
            ask(port, garbage)
    if request.param == "caddy":  # it writes nothing of what is no request
        made.sent = [each for each in made.sent if each[2][9:12] != b"400"]
    return made


def _read(logs: Logs) -> dict[str, list[Parsed]]:
    return {
        name: [compile_format(words).parse_line(line) for line in logs.lines(name)]
        for name, words in WORDS[logs.server].items()
    }


def test_it_is_read_as_it_was_sent(logs: Logs) -> None:
    for name, parsed in _read(logs).items():
        read = parsed[: len(logs.sent)]
        for (target, agent, answer), line in zip(logs.sent, read, strict=True):
            shown = (logs.server, name, target[:50], agent[:50], line)
            assert answer[:5] == b"HTTP/", shown
            assert line.reason is None, shown
            assert line.status == answer[9:12].decode(), shown
            assert line.time_ms is not None, shown
            assert logs.begun_ms <= line.time_ms <= time.time() * 1000, shown
            assert line.host == "127.0.0.1" or name == "timed", shown
            refused = line.status == "400"  # then some servers forget what they were sent
            assert refused or line.method == "GET", shown
            # Apache undoes the percents of %U itself.
            sent = unquote(target.decode()) if (logs.server, name) == ("apache", "timed") else target.decode()
            assert refused or line.target == sent, shown
            if name != "common":
                assert refused or line.user_agent == agent.decode(), shown


def test_fields_beyond_the_core(logs: Logs) -> None:
    for name, parsed in _read(logs).items():
        line = parsed[0]
        if name not in ("common", "timed"):
            assert line.referrer == "http://r.example/"
        if name in ("json", "timed", "caddy"):
            assert line.latency_us is not None
            assert line.latency_us < 20_000_000
        if name in ("json", "vhost_combined", "caddy"):
            assert line.vhost == "a.example"
        if name in ("json", "caddy"):
            assert str(line.content_type).startswith("text/plain")


def test_garbage_has_a_reason_and_its_time(logs: Logs) -> None:
    for parsed in _read(logs).values():
        for line in parsed[len(logs.sent) :]:
            assert line.reason in (None, "request"), line
            assert line.time_ms is not None, line


def test_native_code_reads_it_alike(logs: Logs) -> None:
    for name, parsed in _read(logs).items():
        columns = Columns(compile_format(WORDS[logs.server][name]))
        rows = columns.parse(pl.Series(logs.lines(name), dtype=pl.Binary)).rows(named=True)
        assert rows == [{key: getattr(line, key) for key in columns.schema} for line in parsed]


def test_it_is_taken_for_what_it_is(logs: Logs) -> None:
    for name in WORDS[logs.server].keys() & TAKEN.keys():
        assert detect(logs.lines(name)).name == TAKEN[name]


def test_the_presets_of_any_server_are_not_led_astray(logs: Logs) -> None:
    """What a client sends looks like a request's end; the target is read as it is written."""
    if logs.server == "caddy":
        pytest.skip("it writes no Common Log Format")
    for line, (_, _, answer) in zip(logs.lines("combined"), logs.sent, strict=False):
        parsed = preset("combined").parse_line(line)
        assert parsed.status == answer[9:12].decode()
