"""Erasing a person: an address is replaced in what is sealed, and in the windows.

Each sealed day that holds it is written anew beside itself, and exchanged as in `logpipe.sealing.seal`: lines
stay as many, ``files`` in the day's sums say what they are now, ``erasures`` how many were changed, when, and
their sums before and after; all other sums stay those of what was sent. The address is written nowhere. A
killed erasure is gone on with by the next one: what is committed is exchanged first, the rest is looked for.
"""

import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from logpipe.accounting import lines as hdfs_lines
from logpipe.accounting.chain import ChainReader
from logpipe.accounting.ranges import TextDigest
from logpipe.clients.hdfs import Hdfs
from logpipe.contracts.chain import FILE_PREFIX
from logpipe.contracts.days import date_of, name_of
from logpipe.contracts.sealed import Erasure, SealedDay, SealedFile
from logpipe.digest import Digest, DigestBuilder
from logpipe.formats.addresses import parse_address
from logpipe.replayer.addresses import AddressKeys
from logpipe.replayer.alone import alone
from logpipe.sealing.forget import NotSealedError
from logpipe.sealing.parquet import drop_parquet_of_before, write_parquet
from logpipe.sealing.place import Place, Reached, new_attempt, nowhere
from logpipe.sealing.rewrite import LinesGoneError
from logpipe.sealing.seal import finish
from logpipe.settings import Settings
from logpipe.settings.unreadable import UNREADABLE
from logpipe.windows.erase import ErasedTopic, erase_keys, erase_records

ERASED = b"erased"  # takes an address's place
_NAME = re.compile(r"[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*")
_HASHED = re.compile(r"h-[0-9a-f]{16}")


@dataclass
class Erased:
    """What an erasure did.

    Attributes:
        lines: of each sealed day those that were changed, none where there were none.
        rows: of the windows, whose key was changed.
        letters: lines that were set aside on this machine, of which the kept begin was changed.
        open_lines: of each day that is not sealed, those that still hold the address.
        kept: files that hold it and that only a person may delete.
        topics: the windows job's, in which records were written anew.
    """

    lines: dict[str, int] = field(default_factory=dict)
    rows: int = 0
    letters: int = 0
    open_lines: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    topics: list[ErasedTopic] = field(default_factory=list)


class Eraser:
    """Finds an address, however it is written, and as each key of ours hashes it.

    Args:
        address: an address, a name, or a hash ``h-…``. A name without a dot is found at a line's begin only.
        settings: whose keys.

    Raises:
        ValueError: it is none of these.
        AddressKeyError: the keys cannot be read.
    """

    def __init__(self, address: str, settings: Settings) -> None:
        text = address.strip().encode()
        parsed = parse_address(text)
        if parsed is None and _NAME.fullmatch(address.strip()) is None:
            raise ValueError(
                "ADDRESS is no address and no host name: 203.0.113.7, 2001:db8::1, ppp-7.example.org and "
                "h-0123456789abcdef are some"
            )
        texts = {text.decode(), *({str(parsed), parsed.exploded} if parsed is not None else ())}
        with_dots = parsed is not None and parsed.version == 4
        as_written = ip_address(text.decode()) if parsed is not None else None
        if isinstance(as_written, IPv6Address):
            texts.add(_without_zeros(as_written))
        hashes = [hashed.decode() for hashed in AddressKeys.of(settings).hashes_of(text).values()]
        words = "|".join(re.escape(each) for each in sorted({*texts, *hashes}, key=len, reverse=True))
        before = r"(?<![0-9A-Za-z._-])" if with_dots else r"(?<![0-9A-Za-z._:-])(?<![^/]/)"
        if parsed is not None and not with_dots:
            before = r"(?<![0-9A-Za-z.:-])"
        behind = (
            r"(?![0-9A-Za-z_-]|\.[0-9A-Za-z])" if with_dots or parsed is None else r"(?![0-9A-Za-z:]|\.[0-9])"
        )
        expression = f"{before}(?:{words}){behind}"
        if parsed is None and "." not in address and _HASHED.fullmatch(address.strip()) is None:
            expression = f"^(?:{words})(?= |$)"
        self._bytes = re.compile(expression.encode(), re.IGNORECASE | re.MULTILINE)
        self._text = re.compile(expression, re.IGNORECASE | re.ASCII)

    def count(self, some: list[bytes]) -> int:
        """How many of these lines hold it."""
        if self._bytes.search(b"\n".join(some)) is None:
            return 0
        return sum(self._bytes.search(line) is not None for line in some)

    def line(self, line: bytes) -> bytes:
        """A line without it."""
        return self._bytes.sub(ERASED, line)

    def key(self, key: str) -> str:
        """A key of the windows without it."""
        return self._text.sub(ERASED.decode(), key)


def _without_zeros(address: IPv6Address) -> str:
    return ":".join(f"{int(group, 16):x}" for group in address.exploded.split(":"))


def erase(settings: Settings, address: str, day: date | None = None, *, reached: Reached = nowhere) -> Erased:
    """Replace an address in sealed days, or in one, and in the windows, whatever their day.

    Args:
        settings: of the pipeline.
        address: as for `Eraser`.
        day: None: all sealed days, and the others are looked through.
        reached: told about each step.

    Raises:
        NotSealedError: the day that was named is not sealed.
        LinesGoneError: a file is damaged: it is to be mended first.
        ValueError, AddressKeyError: as for `Eraser`.
        ChainError, HdfsError, WindowsError: HDFS, or what stands on it, cannot be read.
        TopicError: Kafka does not answer.
    """
    eraser = Eraser(address, settings)
    done = Erased()
    with closing(Hdfs.of(settings)) as hdfs:
        sealed = ChainReader(hdfs, settings.hdfs_logs_dir).sealed_names()
        if day is not None and name_of(day) not in sealed:
            raise NotSealedError(
                f"{day} is not sealed, and files of a day that is not do not change: `make seal DATE={day}` "
                "once it is over, then erase"
            )
        for name in [name_of(day)] if day is not None else sorted(sealed):
            place = Place(hdfs, settings, date_of(name))
            done.lines[name] = _erase_day(place, eraser, reached)
            _make_parquet_anew(place)
            done.kept += _holding(hdfs, place.layout.aside(name), eraser)
        if day is None:
            for name in sorted(set(hdfs_lines.days(hdfs, settings.hdfs_logs_dir)) - sealed):
                found = sum(
                    eraser.count(some)
                    for path in hdfs_lines.files(hdfs, f"{settings.hdfs_logs_dir}/{name}")
                    for some in hdfs_lines.lines(hdfs, path)
                )
                done.open_lines |= {name: found} if found else {}
    done.rows = erase_keys(settings, eraser.key, reached)
    done.letters = sum(
        _letters(path, eraser) for path in sorted((settings.state_dir / "dead_letters").glob("*.jsonl"))
    )
    reached("letters")
    for path in sorted((settings.state_dir / "repairs").glob("*.log")):
        with path.open("rb") as file:
            if any(eraser.count([line.rstrip(b"\n")]) for line in file):
                done.kept.append(str(path))
    done.topics = erase_records(settings, eraser.key, eraser.line)
    return done


def _erase_day(place: Place, eraser: Eraser, reached: Reached) -> int:
    sealed = place.load()
    assert sealed is not None
    finish(place, sealed, reached)
    if sealed.forgotten_at:
        return 0
    paths = [f"{place.folder}/{file.name}" for file in sealed.files]
    if not any(eraser.count(some) for path in paths for some in hdfs_lines.lines(place.hdfs, path)):
        return 0
    own = {file.name for file in sealed.files}
    late = [
        entry.name
        for entry in place.hdfs.list(place.folder)
        if entry.name.startswith(FILE_PREFIX) and entry.name not in own
    ]
    if late:
        raise LinesGoneError(
            f"{place.folder} holds {', '.join(late)}, which came when the day was sealed already: `make "
            f"repair DATE={place.day}` puts aside what no link knows"
        )
    attempt = new_attempt()
    folder = f"{place.sealing}/{attempt}/new"
    before, after = DigestBuilder(), DigestBuilder()
    files = []
    for file in sealed.files:
        files.append(_write(place, file, f"{folder}/{file.name}", eraser, before, after))
        reached("file-written")
    at = datetime.now(UTC).isoformat(timespec="seconds")
    erasure = Erasure(at, before.build(), after.build())
    changed: SealedDay = replace(
        sealed, attempt=attempt, files=tuple(files), erasures=(*sealed.erasures, erasure)
    )
    place.write_manifest(folder, changed)
    reached("written")
    place.save(changed, overwrite=True)
    reached("committed")
    finish(place, changed, reached)
    return erasure.before.lines


def _make_parquet_anew(place: Place) -> None:
    """Have no Parquet of the day as it was before; also when an erasure before was killed here."""
    sealed = place.load()
    assert sealed is not None
    if place.settings.sealed_parquet and not sealed.forgotten_at:
        write_parquet(place.settings, place.day, sealed)
    else:
        drop_parquet_of_before(place, sealed)


def _write(
    place: Place, file: SealedFile, target: str, eraser: Eraser, before: DigestBuilder, after: DigestBuilder
) -> SealedFile:
    """Write a file without the address, and prove that it was whole before."""
    source = Digest()
    made = TextDigest()

    def blocks() -> Iterator[bytes]:
        nonlocal source
        for some in hdfs_lines.lines(place.hdfs, f"{place.folder}/{file.name}"):
            source += Digest.of(some)
            if eraser.count(some):
                changed = [eraser.line(line) for line in some]
                for old, new in zip(some, changed, strict=True):
                    if old != new:
                        before.add(old)
                        after.add(new)
                some = changed
            yield b"".join(line + b"\n" for line in some)

    place.hdfs.write(target, made.through(blocks()))
    if source != file.text:
        raise LinesGoneError(
            f"{place.folder}/{file.name} does not hold what its manifest says: `make repair "
            f"DATE={place.day}` first"
        )
    written = place.hdfs.status(target)
    if written is None or written.length_bytes != made.length_bytes:
        raise LinesGoneError(f"{target} is not there as it was written: erase again")
    return replace(file, length_bytes=made.length_bytes, text=made.digest)


def _holding(hdfs: Hdfs, folder: str, eraser: Eraser) -> list[str]:
    found = []
    for entry in hdfs.list(folder):
        path = f"{folder}/{entry.name}"
        if any(eraser.count(some) for some in hdfs_lines.lines(hdfs, path)):
            found.append(path)
    return found


def _letters(path: Path, eraser: Eraser) -> int:
    """Replace it in the begins of lines that were set aside; a replayer with one to add waits meanwhile."""
    with alone(path.parent):
        return _letters_alone(path, eraser)


def _letters_alone(path: Path, eraser: Eraser) -> int:
    changed = 0
    rows = []
    content = path.read_bytes()
    for row in content.splitlines(keepends=True):
        try:
            letter = json.loads(row)
            prefix = base64.b64decode(letter["prefix_base64"])
        except UNREADABLE:
            rows.append(row)
            continue
        if eraser.count([prefix]):
            letter["prefix_base64"] = base64.b64encode(eraser.line(prefix)).decode()
            row = json.dumps(letter).encode() + b"\n"
            changed += 1
        rows.append(row)
    if changed:
        staged = path.with_suffix(".erased")
        staged.write_bytes(b"".join(rows))
        staged.chmod(0o600)
        staged.replace(path)
    return changed
