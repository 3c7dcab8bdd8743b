"""Clients' addresses are shortened or hashed where a line's format has them, and nothing else changes."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, Timer

import pytest

from logpipe.formats.addresses import treating
from logpipe.formats.presets import PRESETS, preset
from logpipe.replayer.addresses import (
    AddressKeyError,
    AddressKeys,
    Treatment,
    begun,
    hashed,
    shortened,
    treated,
)
from logpipe.settings import parse
from tests.formats.test_presets import SAYS

KEY = bytes(range(32))
MADE = b"h-0123456789abcdef"
CLF = b'%b - - [10/Oct/2000:13:55:36 -0700] "GET /1.2.3.4 HTTP/1.0" 200 5 "http://1.2.3.4/" "x 1.2.3.4"'


def test_logs_that_begin_at_once_have_one_key(tmp_path):
    barrier = Barrier(8)

    def ask(_):
        barrier.wait()
        return AddressKeys(tmp_path / "keys.json").current()

    with ThreadPoolExecutor(8) as logs:
        assert set(logs.map(ask, range(8))) == {"k1"}
        key = AddressKeys(tmp_path / "keys.json").key("k1")
        made = list(logs.map(lambda _: AddressKeys(tmp_path / "keys.json").rotate(), range(8)))
    assert sorted(made) == [f"k{number}" for number in range(2, 10)]
    assert AddressKeys(tmp_path / "keys.json").key("k1") == key


def made(format_text: str, *lines: bytes) -> list[bytes]:
    return treating(format_text, lambda text: b"<" + text + b">")(lines)


@pytest.mark.parametrize(
    ("text", "short"),
    [
        (b"203.0.113.77", b"203.0.113.0"),
        (b"2001:db8:1:2:3:4:5:6", b"2001:db8:1::"),
        (b"::ffff:203.0.113.77", b"203.0.113.0"),
        (b"ppp-7.dial.example.org", b"example.org"),
        (b"host.example", b"example"),
        (b"alyssa", b"host"),
        (b'a b\\"', b"host"),
        (b"\xff\xfe", b"host"),
        (b"999.1.1.1", b"1.1"),
    ],
)
def test_what_is_left_of_an_address(text: bytes, short: bytes) -> None:
    assert shortened(text) == short


def test_a_hash_is_of_the_address_and_not_of_how_it_is_written() -> None:
    assert hashed(b"2001:DB8:0::1", KEY) == hashed(b"2001:db8::1", KEY)
    assert hashed(b"::ffff:1.2.3.4", KEY) == hashed(b"1.2.3.4", KEY)
    assert hashed(b"WWW.Example.org", KEY) == hashed(b"www.example.org", KEY)
    assert hashed(b"1.2.3.4", KEY) != hashed(b"1.2.3.4", KEY[::-1])
    assert len(hashed(b"1.2.3.4", KEY)) == len(MADE)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_says_where_the_client_is_and_the_rest_reads_as_before(name: str) -> None:
    line = SAYS[name][0].encode()
    before = preset(name).parse_line(line)
    (changed,) = treating(name, lambda _: MADE)([line])
    after = preset(name).parse_line(changed)
    assert (before.host, after.host) == (before.host, MADE.decode())
    assert before.host
    assert after._replace(host=None) == before._replace(host=None)


def test_of_a_regular_line_only_what_the_format_says_is_the_client() -> None:
    assert made("combined", CLF % b"1.2.3.4") == [CLF % b"<1.2.3.4>"]
    assert made("vhost_combined", b"5.6.7.8:80 " + CLF % b"::1") == [b"5.6.7.8:80 " + CLF % b"<::1>"]
    assert made("combined", CLF % b"-") == [CLF % b"-"]
    assert made("combined", b'h.org - a b [x] "" junk') == [b'<h.org> - a b [x] "" junk'], "the unescaped way"
    (line,) = made("aws_alb", SAYS["aws_alb"][0].encode())
    assert line.count(b"<") == 1, "a server's address stays"


def test_of_a_malformed_line_all_that_parses_as_an_address() -> None:
    for line, expected in {
        b"[error] client 1.2.3.4, to 5.6.7.8:443.": b"[error] client <1.2.3.4>, to <5.6.7.8>:443.",
        b"2001:db8::1 at 12:30:59, 1.2.3.4.5, std::x": b"<2001:db8::1> at 12:30:59, 1.2.3.4.5, std::x",
        b"": b"",
        b"no address \xff": b"no address \xff",
        b"x" * 5 + b" 1.2.3.4": b"xxxxx <1.2.3.4>",
    }.items():
        assert made("combined", line) == [expected]
        assert made("caddy", line) == [expected]
        assert made("iis", line) == [expected]


def test_proxies_are_looked_through_and_lines_about_a_log_are_not() -> None:
    apache = '%h %l %u %t "%r" %>s %b "%{X-Forwarded-For}i"'
    line = b'1.1.1.1 - - [10/Oct/2000:13:55:36 -0700] "GET /" 200 5 "unknown, 2.2.2.2, 3.3.3.3"'
    assert made(apache, line) == [
        b'<1.1.1.1> - - [10/Oct/2000:13:55:36 -0700] "GET /" 200 5 "unknown, <2.2.2.2>, <3.3.3.3>"'
    ]
    assert made("iis", b"#Fields: date 1.2.3.4") == [b"#Fields: date 1.2.3.4"]
    caddy = (
        b'{"request":{"remote_ip":"1.1.1.1","client_ip":"2.2.2.2","uri":"/3.3.3.3",'
        b'"headers":{"X-Forwarded-For":["4.4.4.4", "5.5.5.5"],'
        b'"User-Agent":["\\"remote_ip\\":\\"6.6.6.6\\""]}}}'
    )
    (changed,) = made("caddy", caddy)
    assert [number for number in b"123456" if b"<%c.%c" % (number, number) in changed] == list(b"1245")
    json.loads(changed)


def test_keys_are_made_once_kept_private_and_rotated(tmp_path: Path) -> None:
    settings = parse(state_dir=tmp_path / "state")
    keys = AddressKeys.of(settings)
    first = begun("hash", "combined", settings)
    assert first == begun("hash", "combined", settings) == Treatment("hash", "combined", "k1")
    assert stat.S_IMODE((tmp_path / "state" / "address_keys.json").stat().st_mode) == 0o600
    assert keys.rotate() == "k2"
    second = begun("hash", "combined", settings)
    lines = [CLF % b"1.2.3.4", CLF % b"1.2.3.5"]
    one, other = treated(first, settings)(lines), treated(second, settings)(lines)
    assert len({*one, *other}) == 4
    assert one == treated(Treatment.from_json(first.to_json()), settings)(lines), (
        "the first key is still there"
    )
    assert keys.hashes_of(b"1.2.3.4")["k2"] == other[0].split(b" ")[0]
    assert treated(None, settings)(lines) == lines
    assert begun("keep", "combined", settings) is None
    assert begun("shorten", "combined", settings) == Treatment("shorten", "combined")


@pytest.mark.parametrize("content", ["", "[]", '{"current": "k1", "keys": {"k1": "no hex"}}', '{"keys": {}}'])
def test_keys_that_cannot_be_read_are_not_made_anew(tmp_path: Path, content: str) -> None:
    settings = parse(address_keys_file=str(tmp_path / "keys"))
    (tmp_path / "keys").write_text(content)
    os.utime(tmp_path / "keys", (1, 1))  # nobody is about to write the rest
    with pytest.raises(AddressKeyError, match=r"keys cannot be read .* restore it"):
        begun("hash", "combined", settings)
    assert (tmp_path / "keys").read_text() == content


def test_keys_are_read_again_when_they_changed_and_only_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, opened, as_ever = tmp_path / "keys", [], Path.open

    def open_seen(self: Path, *arguments: str) -> object:
        opened.append(self)
        return as_ever(self, *arguments)

    monkeypatch.setattr(Path, "open", open_seen)
    keys = AddressKeys(path)
    for name in ("k1", "k2"):
        assert keys.rotate() == name
        key = keys.key(name)
        os.utime(path, (int(name[1]), int(name[1])))  # it was written long ago
        assert keys.key(name) == key
        opened.clear()
        assert [keys.key(name) for _ in range(50)] == [key] * 50
        assert opened == []
    path.unlink()
    with pytest.raises(AddressKeyError, match="has no key k2"):
        keys.key("k2")


def test_keys_that_are_just_written_are_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "keys"
    AddressKeys(path).rotate()
    whole = path.read_text()
    key = AddressKeys(path).key("k1")
    path.write_text(whole[:40])

    def write_rest() -> None:
        with path.open("a") as file:
            file.write(whole[40:])

    writer = Timer(0.2, write_rest)
    writer.start()
    try:
        assert AddressKeys(path).key("k1") == key
    finally:
        writer.join()


def test_a_key_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(AddressKeyError, match=r"has no key k7, .* copy the file of the host"):
        treated(Treatment("hash", "combined", "k7"), parse(state_dir=tmp_path))
