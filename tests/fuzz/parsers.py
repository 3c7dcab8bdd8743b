"""The list: every parser of what comes from outside, the errors that it documents, and what must hold.

A parser of this list has a folder of hostile inputs, ``corpus/<name>``, which the fuzzer of its name changes
further (`tests.fuzz.test_fuzz`). `UNLISTED` names what looks like a parser and reads nothing of others'; a
unit test holds list and code together (`tests.unit.test_fuzz_list`).
"""

import json
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from logpipe.accounting.chain import ChainError, ChainReader
from logpipe.alerts.rules import RulesError
from logpipe.alerts.rules import load as load_rules
from logpipe.contracts import chain as chain_format
from logpipe.contracts.formats import EntryError, from_file
from logpipe.contracts.parquet import ParquetDay
from logpipe.formats.addresses import treating
from logpipe.formats.columns import Columns
from logpipe.formats.compiler import compile_format
from logpipe.formats.fields import FormatError
from logpipe.formats.presets import PRESETS, preset
from logpipe.identity import MAX_JUMP, Identities, Verdict, parse_key
from logpipe.page.alerts import _read as read_state
from logpipe.replayer.addresses import AddressKeyError, AddressKeys
from logpipe.replayer.dead_letters import DeadLetters
from logpipe.replayer.errors import SinkUnavailableError, SourceError
from logpipe.replayer.follow.store import Follow, FollowStore
from logpipe.replayer.gunzip import MAX_BLOCK_BYTES, UnpackLimits, gunzip
from logpipe.replayer.journal import load_records, load_sums
from logpipe.replayer.lines import LineSplitter, LongLine
from logpipe.replayer.pace import parse_pace
from logpipe.replayer.record import ReplaySpec
from logpipe.replayer.thrift_sink import decode
from logpipe.replayer.urls import SourceUrl
from logpipe.settings import SettingsError, parse
from logpipe.settings.source_hosts import SourceHosts
from logpipe.settings.unreadable import UNREADABLE
from logpipe.windows.commit import FOOTER_KEY, WindowsError
from logpipe.windows.reader import commit_of
from tests.fuzz.servers import read_ftp, read_http
from tests.memory_hdfs import MemoryHdfs
from windows import kafka_rows, rows

MEMORY_BYTES = 24 << 20  # for any input of the corpus
Run = Callable[[bytes], None]


@dataclass(frozen=True)
class Parser:
    """One parser.

    Attributes:
        run: parses the bytes, and asserts what must hold of what came out.
        errors: it may raise these, and no other.
        covers: the functions of the product that are called, for the list's test.
        is_json: the fuzzer changes values within JSON too.
        is_slow: asks a server over loopback: fewer examples.
    """

    run: Run
    errors: tuple[type[Exception], ...] = ()
    covers: tuple[str, ...] = ()
    is_json: bool = False
    is_slow: bool = False


# ---------------------------------------------------------------------- lines


def _lines_of(name: str, content: bytes) -> None:
    """Each line gives a row, the same by both ways, and what treats addresses keeps every line."""
    lines = content.split(b"\n")
    columns = Columns(preset(name))
    found = columns.parse(pl.Series(lines, dtype=pl.Binary)).rows()
    said = [columns.format.parse_line(line) for line in lines]
    assert found == [tuple(getattr(each, column) for column in columns.schema) for each in said]
    treated = treating(name, lambda _: b"h-0123456789abcdef")(lines)
    assert len(treated) == len(lines)
    assert not any(b"\n" in line for line in treated)
    for line, before in zip(treated, said, strict=True):
        if before.reason is None and before.host not in (None, "-"):
            assert columns.format.parse_line(line).host != before.host, line


def _splitter(content: bytes) -> None:
    """Whatever the blocks are, each line comes out, whole or as a long one."""
    splitter = LineSplitter(max_line_bytes=16)
    size = content[0] % 9 + 1 if content else 1
    items = [item for at in range(0, len(content), size) for item in splitter.feed(content[at : at + size])]
    items += splitter.finish()
    found = [
        len(item.prefix) if isinstance(item, LongLine) else line for item in items for line in _each(item)
    ]
    lines = content.split(b"\n")
    assert len(found) == len(lines) - (not lines[-1])


def _each(item: Any) -> Any:
    return [item] if isinstance(item, LongLine) else item


# ---------------------------------------------------------------------- identities


def _identities(content: bytes) -> None:
    """Keys of one partition, a line each: marks only rise, by no more than a jump; no repeat is above."""
    identities = Identities()
    for key in content.split(b"\n"):
        before = dict(identities.marks)
        verdict = identities.judge(0, key)
        parsed = parse_key(key)
        assert (verdict is Verdict.FOREIGN) >= (parsed is None)
        for place, mark in identities.marks.items():
            assert 0 <= mark - before.get(place, 0) <= MAX_JUMP
        if verdict is Verdict.REPEAT:
            assert parsed is not None
            assert parsed[1] <= before[0, parsed[0]]


# ---------------------------------------------------------------------- what stands on HDFS


def _sealed(content: bytes) -> None:
    hdfs = MemoryHdfs()
    hdfs.write("/logs/_sealed/26-03-10.json", content)
    sums = ChainReader(hdfs, "/logs").sealed("26-03-10")  # type: ignore[arg-type]
    assert sums is not None
    assert sums.to_json()["day"] == sums.day


def _parquet_day(content: bytes) -> None:
    found = ParquetDay.from_file(content)
    assert found is None or ParquetDay.from_file(json.dumps(found.to_json()).encode()) == found


def _link(content: bytes) -> None:
    hdfs = MemoryHdfs()
    path = "/logs/_chain/0/000000-0000000000000000000"
    hdfs.write(path, b"")
    hdfs.set_attribute(path, chain_format.LINK_ATTRIBUTE, content)
    reader = ChainReader(hdfs, "/logs")  # type: ignore[arg-type]
    reader.with_links(reader.chains())


def _commit(content: bytes) -> None:
    made = pa.BufferOutputStream()
    pq.write_table(pa.table({"key": ["a"]}).replace_schema_metadata({FOOTER_KEY: content}), made)
    commit_of(made.getvalue().to_pybytes())


def _footer(content: bytes) -> None:
    commit_of(content)


def _entry(content: bytes) -> None:
    from_file("formats/a.json", content)


# ---------------------------------------------------------------------- the state folder


def _in_file(name: str, read: Callable[[Path], object], content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        os.utime(path, (0, 0))  # what is new may be half written, and is looked at again for a while
        read(path)


def _record(path: Path) -> None:
    found, unreadable = load_records(path.parent)
    assert len(found) + len(unreadable) == 1


def _letters(path: Path) -> None:
    DeadLetters(path)._mend()


# ---------------------------------------------------------------------- requests and texts


def _json(read: Callable[[Any], object], content: bytes) -> None:
    try:
        values = json.loads(content)
    except UNREADABLE:  # as the service does
        return
    read(values)


def _text(read: Callable[[str], object], content: bytes) -> None:
    read(content.decode("utf-8", "surrogateescape"))


def _url(text: str) -> None:
    found = SourceUrl.parse(text)
    shown = found.shown + found.asked()
    assert not any(sign in shown for sign in "\r\n\0 ")
    assert not any(ord(sign) < 32 for sign in found.path)


def _format(text: str) -> None:
    made = Columns(compile_format(text))
    lines = [b"", b"1.2.3.4 - - [x] y", text.encode("utf-8", "surrogateescape")]
    assert made.parse(pl.Series(lines, dtype=pl.Binary)).height == len(lines)
    assert len(treating(text, lambda found: found)(lines)) == len(lines)


def _gzip(content: bytes) -> None:
    """A block is bounded, and so is what comes out of all of them."""
    parts = [content[at : at + 700] for at in range(0, len(content), 700)]
    for block in gunzip(parts, UnpackLimits(1, 100_000)):
        assert 0 < len(block.plain) <= MAX_BLOCK_BYTES


def _window_keys(content: bytes) -> None:
    """Keys, a line each, come out of Parquet and out of Kafka's records as they were."""
    keys = sorted({line.decode("utf-8", "replace") for line in content.split(b"\n")})
    frame = pl.DataFrame(
        [(0, "host", key, 1, 2, 3, 4) for key in keys],
        schema=dict(
            zip((*rows.KEY, *rows.SUMS), (pl.Int64, pl.String, pl.String, *[pl.Int64] * 4), strict=True)
        ),
        orient="row",
    )
    made = pa.BufferOutputStream()
    rows.write(frame, made)
    assert rows.read(pa.BufferReader(made.getvalue()))["key"].to_list() == keys
    records = [json.loads(value) for _, value in kafka_rows.window_records(frame, 60, 0, 1, False)]
    assert sorted(row["key"] for record in records for row in record["rows"]) == keys


PARSERS: dict[str, Parser] = {
    **{
        f"lines-{name}": Parser(
            partial(_lines_of, name), covers=("parse_line", "parse_text", "parse_address")
        )
        for name in PRESETS
    },
    "splitter": Parser(_splitter),
    "identities": Parser(_identities, covers=("parse_key",)),
    "sealed-day": Parser(_sealed, (ChainError,), ("SealedDay.from_json", "digest_of_list"), is_json=True),
    "parquet-day": Parser(_parquet_day, (), ("ParquetDay.from_file",), is_json=True),
    "link": Parser(_link, (ChainError,), ("Link.from_json", "place_of"), is_json=True),
    "commit": Parser(_commit, (WindowsError,), ("Commit.from_json", "commit_of"), is_json=True),
    "commit-footer": Parser(_footer, (WindowsError,)),
    "format-entry": Parser(_entry, (EntryError,), ("from_file",), is_json=True),
    "record": Parser(
        partial(_in_file, "a.json", _record),
        covers=("ReplayRecord.from_file", "Digest.from_json", "Generation.from_json", "Treatment.from_json"),
        is_json=True,
    ),
    "sums": Parser(
        partial(_in_file, "sums.json", lambda path: load_sums(path.parent)),
        (ValueError,),
        ("Sums.from_json",),
        is_json=True,
    ),
    "follow": Parser(
        partial(_in_file, "a.json", lambda path: FollowStore(path.parent).load()), (ValueError,), is_json=True
    ),
    "address-keys": Parser(
        partial(_in_file, "keys", lambda path: AddressKeys(path).hashes_of(b"1.2.3.4")),
        (AddressKeyError,),
        is_json=True,
    ),
    "dead-letters": Parser(partial(_in_file, "a.jsonl", _letters), is_json=True),
    "alerts-state": Parser(
        partial(_in_file, "state.json", read_state), covers=("State.from_json", "change_of"), is_json=True
    ),
    "replay-request": Parser(
        partial(_json, ReplaySpec.from_request),
        (ValueError,),
        ("ReplaySpec.from_request", "Login.from_json", "parse_pace"),
        is_json=True,
    ),
    "follow-request": Parser(
        partial(_json, partial(Follow.from_request, host="h")),
        (ValueError,),
        ("Follow.from_request",),
        is_json=True,
    ),
    "url": Parser(partial(_text, _url), (ValueError,), ("SourceUrl.parse",)),
    "pace": Parser(partial(_text, parse_pace), (ValueError,), ("parse_pace",)),
    "source-hosts": Parser(partial(_text, SourceHosts.parse), (ValueError,), ("SourceHosts.parse",)),
    "settings": Parser(
        partial(_text, lambda text: parse(source_hosts=text, file_roots=text, timezone=text)),
        (SettingsError,),
    ),
    "format": Parser(
        partial(_text, _format),
        (FormatError,),
        ("compile_format", "compile_apache", "compile_nginx", "compile_w3c", "compile_json"),
    ),
    "rules": Parser(partial(_in_file, "rules.toml", load_rules), (RulesError,)),
    "gzip": Parser(_gzip, (SourceError,)),
    "thrift": Parser(partial(lambda content: decode(content)), (SinkUnavailableError,), ("decode",)),
    "window-keys": Parser(_window_keys),
    "ftp": Parser(read_ftp, (SourceError,), is_slow=True),
    "http": Parser(read_http, (SourceError,), is_slow=True),
}

# Named as parsers are, and not of what others write; each with the reason.
UNLISTED = {
    "parse_request": "of a line that is read; the lines' parsers call it",
    "from_payload": "of our own triggers, through Airflow's database",
    "parse": "of settings: the parser `settings`",
    "parse_response": "of our own process host, over a socket of mode 600, by the standard library",
}
