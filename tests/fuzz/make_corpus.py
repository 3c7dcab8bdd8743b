"""Writes the files of the corpus that are large, binary, or of our own formats.

``python -m tests.fuzz.make_corpus``.

The others were written by hand, or found (``found-…``), and stay as they are.
"""

import gzip
import json
from pathlib import Path

from logpipe.alerts.state import State
from logpipe.contracts.chain import Link, Mark
from logpipe.contracts.formats import Entry, to_file
from logpipe.contracts.sealed import Erasure, Member, Part, SealedDay, SealedFile
from logpipe.digest import Digest
from logpipe.formats.presets import PRESETS
from logpipe.replayer.addresses import Treatment
from logpipe.replayer.feed import Place
from logpipe.replayer.follow.generation import Generation
from logpipe.replayer.follow.store import Follow
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.replayer.sums import Sums
from logpipe.windows.commit import Commit
from tests.formats.test_presets import SAYS

CORPUS = Path(__file__).with_name("corpus")
SUM = Digest(3, 30, 2**64 - 1)
DEEP = b"[" * 20_000
HOSTILE_JSON = {
    "deep": DEEP,
    "deep-object": b'{"a":' * 5_000,
    "empty": b"",
    "list": b"[]",
    "null": b"null",
    "number": b"1" * 5000,
    "not-a-number": b'{"format":NaN,"version":1}',
    "surrogate": b'{"format":"\\ud800"}',
    "bytes": b"\xff\xfe\x00",
    "twice": b'{"version":1,"version":2}',
}


def put(name: str, **files: bytes) -> None:
    folder = CORPUS / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        (folder / file.replace("_", "-")).write_bytes(content)


def lines() -> None:
    bad = [
        b"",
        b"\r",
        b"\0" * 50,
        b"\xff\xfe 1.2.3.4",
        b'h - - [01/Aug/1995:00:00:01 -0400] "GET /',
        b'h - - [32/Foo/9999:99:99:99 +9999] "GET / HTTP/1.0" 999 99999999999999999999',
        b'h - - [01/Aug/1995:00:00:01 -0400] "' + b"\\" * 999 + b'" 200 1',
        b'h - - [01/Aug/1995:00:00:01 -0400] "GET ' + b'" 200 ' * 300 + b'HTTP/1.0" 200 -',
        'h\u2028\u0660 - - [01/Aug/1995:00:00:01 -0400] "GET /\u0665 HTTP/1.0" \u0662\u0660\u0660 1'.encode(),
        b'{"request":{"remote_ip":"1.2.3.4"},"ts":1e400}',
        b'{"request":{"remote_ip":"1.2.3.4","remote_ip":"' + b"\\u0031" * 50 + b'"}}',
        b'{"ts":' + DEEP,
        b"#Fields: date time c-ip",
        b"2000-13-45 25:61:61 - - -",
        b"A" * 5000,
    ]
    for name in PRESETS:
        good = SAYS[name][0].encode()
        put(
            f"lines-{name}",
            good=good,
            bad=b"\n".join(bad),
            cut=good[: len(good) // 2],
            twice=good + b" " + good,
        )


def formats() -> None:
    texts = {
        "apache": b'LogFormat "%h %l %u %t \\"%r\\" %>s %b \\"%{Referer}i\\" %{X-Forwarded-For}i" combined',
        "nginx": b"log_format main escape=json '$remote_addr [$time_local] \"$request\"' ' $status';",
        "w3c": b"#Fields: date time c-ip cs-method cs-uri-stem sc-status",
        "json-map": b'{"host": "a.b", "time_s": "t", "user_agent": "c.0"}',
        "open": b"%{" * 1000,
        "percent": b"%",
        "dollar": b"$",
        "neighbours": b"$remote_addr$status",
        "many": b"%h %t " + b"%U%q " * 500,
        "clock": b"%{%Y %j %% %E}t",
        "quotes": b"log_format a '" + b"\\" * 501,
        "braces": b"{" * 3000,
        "unknown": b"%Z %{x}^",
        "nested": b'{"host": {"a": 1}, "time_s": ["a", 1, null]}',
        "escapes": b"\\x00\\n%h \xff %t",
    }
    put("format", **texts)


def ours() -> None:
    sealed = SealedDay(
        "26-03-10", "0a1b2c3d", SUM, Digest(), {"r": SUM}, 1, 2, 3, (SealedFile("apache_logs-1.log", 33, SUM, 1),),
        (Part(0, "t", 0, {"r": 5}, (Member(0, 3, SUM), Member(3, 4, SUM, "memory"))),), "2026-03-11T00:00:00+00:00",
        erasures=(Erasure("2026-03-12T00:00:00+00:00", SUM, SUM),),
    )  # fmt: skip
    link = Link("lines", "logs", "id", 0, 0, 0, 0, 3, day="26-03-10", attempt="0a1b2c3d", digest=SUM, text=Digest(4, 30, 1),
                replays={"r": SUM}, marks={"r": Mark(3, 4, SUM)})  # fmt: skip
    commit = Commit(1, "batch", {"window_s": 60}, "id", offsets={0: 3}, marks={(0, "r"): Mark(3, 4, SUM)})
    spec = ReplaySpec("r", "http://example.org/a.gz", "speed:600", "durable", 7, "auto", None, "hash")
    generation = Generation("f", "/var/log/a.log", "/var/log/a.log.1", "h", 1, 2)
    record = ReplayRecord(spec, digest=SUM, place=Place(3, 33, 33), treatment=Treatment("hash", "combined", "k1"),
                          generation=generation)  # fmt: skip
    login = {"user": "u", "password": "p", "query": "q=1"}
    follow = Follow.new("/var/log/a.log", "h", "auto", "end")
    state = '{"firing":{},"holds":{},"quiet":{},"history":[],"untold":[],"changes":0,"fired":{},"late":{}}'
    assert State.from_json(state) == State()
    letter = json.dumps({"line_number": 1, "prefix_base64": "YQ=="}).encode() + b"\n"
    good = {
        "sealed-day": json.dumps(sealed.to_json()).encode(),
        "link": json.dumps(link.to_json()).encode(),
        "commit": commit.to_json().encode(),
        "format-entry": to_file(Entry("a", "combined", "hash:k1")),
        "record": json.dumps(record.to_file()).encode(),
        "sums": json.dumps(Sums().to_json()).encode(),
        "follow": json.dumps({name: getattr(follow, name) for name in Follow.__dataclass_fields__}).encode(),
        "address-keys": b'{"current": "k1", "keys": {"k1": "00ff"}}',
        "dead-letters": letter,
        "alerts-state": state.encode(),
        "replay-request": json.dumps({**spec.to_json(), "login": login}).encode(),
        "follow-request": b'{"log": "/var/log/*.log", "format": "auto", "start": "end", "addresses": "shorten"}',
    }
    for name, content in good.items():
        put(name, good=content, half=content[: len(content) // 2])
    put("json", **HOSTILE_JSON)  # for all parsers of JSON
    put("link", side=b'{"side": "../../x"}', side_list=b'{"side": [1]}', side_text=b'"side"')
    put("dead-letters", no_number=b"{}\n", bad_first=b"x\n" + letter)
    put("commit-footer", short=b"PAR1", length=b"\0" * 100 + b"\xff\xff\xff\x7fPAR1", empty=b"")


def packed() -> None:
    member = gzip.compress(b"a line\n" * 10, mtime=0)
    put(
        "gzip",
        good=member,
        cut=member[:-9],
        concatenated=member * 3,
        rubbish=member + b"rubbish behind",
        padded=member + b"\0" * 999,
        half_member=member + member[:15],
        bomb=gzip.compress(b"\0" * (60 << 20), mtime=0),
        bomb_of_lines=gzip.compress(b"\n" * 2_000_000, mtime=0),
        empty_members=gzip.compress(b"", mtime=0) * 500,
        crc=member[:-8] + b"\xff" * 8,
        flags=b"\x1f\x8b\x08\xff" + b"\0" * 40,
        endless_name=b"\x1f\x8b\x08\x08" + b"\0" * 6 + b"n" * 100_000,
        reserved=b"\x1f\x8b\x09\0",
        empty=b"",
    )


if __name__ == "__main__":
    lines()
    formats()
    ours()
    packed()
