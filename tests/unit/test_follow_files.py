"""Which file is which: identities, fingerprints, the ordered hash, and old files by their names."""

import gzip
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from logpipe.accounting.source import SourceGoneError, sent_lines
from logpipe.digest import Digest
from logpipe.replayer.feed import Place
from logpipe.replayer.follow import ordered
from logpipe.replayer.follow.files import find, is_rotated_name, proves, read_again, rotated
from logpipe.replayer.follow.generation import Generation, Head, follow_id_of, record_id
from logpipe.replayer.follow.ordered import SPAN_BYTES, OrderedHash, span_begin
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from logpipe.settings import Settings, parse


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return parse(state_dir=tmp_path / "state", file_roots=str(tmp_path))


def record_of(log: Path, end: int, begin: int = 0) -> ReplayRecord:
    """As if the lines of a file had been sent from one byte to another."""
    content, status = log.read_bytes(), log.stat()
    hashed = OrderedHash()
    hashed.add(content[begin:end])
    lines = content[begin:end].split(b"\n")[:-1]
    generation = Generation(
        "h-access-0", str(log), str(log), "h", status.st_dev, status.st_ino, begin=begin,
        head=Head.of(content), chain=hashed.chain, rest=hashed.rest,
    )  # fmt: skip
    return ReplayRecord(
        ReplaySpec(record_id("h-access-0", 1), log.as_uri(), "max", "durable", limit=None),
        digest=Digest.of(lines),
        place=Place(len(lines), end, end),
        generation=generation,
    )


@given(
    st.lists(st.binary(max_size=40), max_size=20),
    st.integers(1, 17),
    st.integers(0, 400),
)
def test_the_ordered_hash_goes_on_from_its_last_span(pieces: list[bytes], span: int, at: int) -> None:
    content = b"".join(pieces)
    at = min(at, len(content))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ordered, "SPAN_BYTES", span)
        whole, first, at_once = OrderedHash(), OrderedHash(), OrderedHash()
        for piece in pieces:
            whole.add(piece)
        at_once.add(content)
        first.add(content[:at])
        begin = span_begin(at)
        resumed = OrderedHash(first.chain)
        resumed.add(content[begin:at])
        assert (resumed.chain, resumed.rest) == (first.chain, first.rest)
        resumed.add(content[at:])
        assert (resumed.chain, resumed.rest) == (whole.chain, whole.rest) == (at_once.chain, at_once.rest)


@given(st.binary(min_size=1, max_size=200), st.integers(0, 199), st.integers(1, 255))
def test_the_ordered_hash_tells_every_byte_and_every_length(content: bytes, at: int, flip: int) -> None:
    at %= len(content)
    changed = content[:at] + bytes([content[at] ^ flip]) + content[at + 1 :]
    hashes = set()
    for each in (content, changed, content[:at]):
        hashed = OrderedHash()
        hashed.add(each)
        hashes.add((hashed.chain, hashed.rest))
    assert len(hashes) == 3


@given(st.binary(max_size=6000), st.binary(max_size=50))
def test_a_fingerprint_fits_what_a_file_grows_to(begin: bytes, more: bytes) -> None:
    head = Head.of(begin)
    assert head.fits(begin + more)
    if head.size_bytes:
        assert not head.fits(bytes([begin[0] ^ 1]) + begin[1:])
        assert not head.fits(begin[: head.size_bytes - 1])


def test_an_id_is_a_paths_own() -> None:
    assert follow_id_of("/var/log/nginx/access.log", "web1").startswith("web1-access-")
    names = ["/a/access.log", "/b/access.log", "/a/access-log"]
    assert len({follow_id_of(name, host) for name in names for host in ("x", "y")}) == 6


OLD = (
    "access.log.1", "access.log.12.gz", "access.log-20261129", "access.log-20261129.gz", "access.1.log",
    "access-20261129.log", "access-2026-11-29T04:00.log.gz", "access.log.gz", "access.log.xz",
    "access.log-1764400000", "access.log.old",
)  # fmt: skip
OTHERS = ("access.log", "access_ssl.log", "access.log.conf", "error.log.1", "access.logs")


@pytest.mark.parametrize("name", OLD + OTHERS)
def test_names_of_old_files(name: str) -> None:
    assert is_rotated_name(name, "access.log") is (name in OLD)


def test_old_files_stand_in_the_order_of_their_writing(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    for name, moment in {
        "access.log.3.gz": 10,
        "access.log.2": 20,
        "access.log.2.gz": 20,
        "access.log.1": 20,
    }.items():
        (tmp_path / name).write_bytes(b"x\n")
        os.utime(tmp_path / name, (moment, moment))
    names = [each.path.name for each in rotated(log)]
    assert names == ["access.log.3.gz", "access.log.2", "access.log.1"]


BIG = b"".join(b"%d a line\n" % number for number in range(250_000))


@pytest.mark.parametrize("change", ["renamed", "compressed", "copied", "where it was"])
@pytest.mark.parametrize("size", [40, SPAN_BYTES, len(BIG)])
def test_a_file_is_found_again(tmp_path: Path, settings: Settings, change: str, size: int) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(BIG[: BIG.rfind(b"\n", 0, size) + 1])
    record = record_of(log, log.stat().st_size)
    content = log.read_bytes() + b"written since\n"
    log.write_bytes(content)
    if change == "renamed":
        os.rename(log, tmp_path / "any name at all")
    elif change == "compressed":
        (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(content))
    elif change == "copied":
        (tmp_path / "access.log.1").write_bytes(content)
    if change != "where it was":
        log.write_bytes(b"another one\n")
    found = find(record.generation, record.place.offset, FrontDoor.of(settings))
    assert found is not None
    assert found[0].read(record.place.offset, 100) == b"written since\n"
    assert b"".join(read_again(record, settings)) + b"written since\n" == content
    assert [line for _, line in sent_lines(record, settings)] == content.split(b"\n")[:-2]
    found[1].add(b"written since\n")
    whole = OrderedHash()
    whole.add(content)
    assert (found[1].chain, found[1].rest) == (whole.chain, whole.rest)
    found[0].close()


@pytest.mark.parametrize("case", ["gone", "another begin", "shorter", "another byte in it"])
def test_a_file_that_is_another_one_is_not_found(tmp_path: Path, settings: Settings, case: str) -> None:
    log = tmp_path / "access.log"
    content = BIG[: BIG.rfind(b"\n", 0, SPAN_BYTES + 9000) + 1]
    log.write_bytes(content)
    record = record_of(log, len(content))
    others: dict[str, Any] = {
        "another begin": b"x" + content[1:],
        "shorter": content[:-10],
        "another byte in it": content[: SPAN_BYTES + 100] + b"\0" + content[SPAN_BYTES + 101 :],
    }
    if case == "gone":
        log.unlink()
    else:
        log.write_bytes(others[case])
        (tmp_path / "access.log.1.gz").write_bytes(gzip.compress(others[case]))
    assert find(record.generation, record.place.offset, FrontDoor.of(settings)) is None
    with pytest.raises(SourceGoneError, match="is gone"):
        list(sent_lines(record, settings))


def test_of_files_that_begin_alike_the_inode_tells(tmp_path: Path, settings: Settings) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"the same\n")
    record = record_of(log, 9)
    os.rename(log, tmp_path / "access.log.1")
    log.write_bytes(b"the same\nand more\n")
    found = find(record.generation, 9, FrontDoor.of(settings))
    assert found is not None
    assert found[0].path == tmp_path / "access.log.1"
    empty = replace(record.generation, inode=1, head=Head())
    assert find(empty, 0, FrontDoor.of(settings)) is None, "an empty file resembles all"
    assert proves(found[0], record.generation, 9) is not None


def test_lines_from_the_middle_of_a_file(tmp_path: Path, settings: Settings) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"before\nfirst\nsecond\nlater\n")
    record = record_of(log, 20, begin=7)
    assert list(sent_lines(record, settings)) == [(1, b"first"), (2, b"second")]


def test_a_record_is_kept_as_it_is(tmp_path: Path) -> None:
    log = tmp_path / "access.log"
    log.write_bytes(b"one\n")
    record = record_of(log, 4)
    assert ReplayRecord.from_file(record.to_file()) == record
