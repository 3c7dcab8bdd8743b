"""From a number to its lines: from the topic while it holds them, else from the files on HDFS.

A request reads for about a second, gives up to a hundred lines, and a cursor for the rest. Which lines count
is the windows job's own rule (`logpipe.formats`, `windows.dimensions`), over lines that were sifted by bytes.
"""

import base64
import binascii
import json
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, NamedTuple, cast

from logpipe.accounting.chain import ChainReader
from logpipe.accounting.lines import days, files, final_name
from logpipe.accounting.read_as import entries_of_file
from logpipe.accounting.topic import end_offsets, offsets_at, records
from logpipe.clients.hdfs import Hdfs, HdfsAbsentError, HdfsError
from logpipe.clients.kafka import Record, TopicError
from logpipe.contracts import formats
from logpipe.contracts.chain import FILE_NAME, Layout, Link, link_name
from logpipe.contracts.days import day_name
from logpipe.contracts.formats import DEFAULT, Entry
from logpipe.identity import Identities, Verdict, parse_key
from logpipe.page.store import TIMEOUT_S
from logpipe.page.traffic import CLASSES, KEYED, PLAIN, QuestionError, number
from logpipe.settings import Settings
from logpipe.settings.unreadable import UNREADABLE

PAGE_LINES = 100
BUDGET_S = 1.2
SHOWN_BYTES = 4096
_BATCH = 2000
_SKEW_S = 3600  # a sender's clock may be ahead of Kafka's by so much
_ZONES_S = 14 * 3600  # zones are at most so far from UTC
_LONG_KEY = 512  # `windows.dimensions.MAX_KEY_CHARS`, which costs an import of polars


Entries = frozenset[Entry]  # one of which a line is read by


class Candidate(NamedTuple):
    """A line that may be one: its time (0: not known), where it stands, and how it may have to be read."""

    time_ms: int
    place: str
    line: bytes
    entries: Entries


def _everything(_: bytes) -> bool:
    return True


@dataclass(frozen=True, slots=True)
class LinesQuestion:
    """Which lines.

    Attributes:
        first_s, last_s: the windows' range ``[first, last)``, Unix time.
        by_event: windows go by the time in the line, not by its arrival.
        dimension, key: of the windows' rows; empty: any.
        status_class: such as ``4xx``; empty: any.
    """

    first_s: int
    last_s: int
    by_event: bool
    dimension: str = ""
    key: str = ""
    status_class: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str], *, by_event: bool) -> "LinesQuestion":
        """Read a request's parameters ``from``, ``to``, ``dimension``, ``key``, ``class``.

        Raises:
            QuestionError: a parameter cannot work.
        """
        first_s, last_s = (number(values, name, -1, 0, 250_000_000_000) for name in ("from", "to"))
        found = cls(
            first_s, last_s, by_event, values.get("dimension", ""), values.get("key", ""),
            values.get("class", ""),
        )  # fmt: skip
        if found.dimension not in ("", *KEYED) or found.status_class not in ("", *CLASSES):
            raise QuestionError(f"dimension is {found.dimension!r} and class {found.status_class!r}")
        return found

    def sieve(self) -> Callable[[bytes], bool]:
        """Whether a line of the default format may be one, told from its bytes; what passes is looked at."""
        wanted = [self._key_sieve(), self._day_sieve()]
        tests = [test for test in wanted if test is not None]
        if len(tests) == 2:
            first, second = tests
            return lambda line: first(line) and second(line)
        return tests[0] if tests else _everything

    def _day_sieve(self) -> Callable[[bytes], bool] | None:
        """The days that a time in the line may name, in whatever zone it is."""
        if not self.by_event or self.last_s - self.first_s > 7 * 86400:
            return None
        noons = range(self.first_s - _ZONES_S, self.last_s + _ZONES_S + 86400, 86400)
        named = {datetime.fromtimestamp(each, UTC).strftime("[%d/%b/%Y:").encode() for each in noons}
        pattern = re.compile(b"|".join(map(re.escape, sorted(named))))
        return lambda line: pattern.search(line) is not None

    def _key_sieve(self) -> Callable[[bytes], bool] | None:
        key = self.key[: _LONG_KEY - 1].encode(errors="replace")
        if not key.isascii():  # a line that is no UTF-8 is read as Latin-1
            return None
        if self.dimension not in ("", *PLAIN):  # what is told of a line stands not as such in it
            return None
        if self.dimension == "host":
            return lambda line: line.startswith(key)
        if self.dimension == "error":
            status, _, endpoint = key.partition(b" ")
            return lambda line: endpoint in line and status in line
        if self.dimension:
            return lambda line: key in line
        if self.status_class in CLASSES[:5]:
            status = b'" ' + self.status_class[:1].encode()
            return lambda line: status in line
        return None

    def chosen(self, lines: list[bytes], entries: Sequence[Entries] | None = None) -> list[bool]:
        """Of each line whether it is one.

        Args:
            lines: their bytes.
            entries: how each may have to be read, the one that reads it first; None: as the default says.
        """
        if not (self.dimension or self.status_class or self.by_event):
            return [True] * len(lines)
        places: dict[Entries, list[int]] = {}
        for place in range(len(lines)):
            places.setdefault(entries[place] if entries else frozenset({DEFAULT}), []).append(place)
        found = [False] * len(lines)
        for of, some in places.items():
            for place, is_one in zip(some, self._chosen([lines[each] for each in some], of), strict=True):
                found[place] = is_one
        return found

    def _chosen(self, lines: list[bytes], entries: Entries) -> list[bool]:
        import polars as pl

        from logpipe.formats.columns import read_by
        from windows.dimensions import DIMENSIONS

        is_log = self.dimension == "log"
        own = [entry for entry in entries if not is_log or entry.log == self.key]
        if not own:
            return [False] * len(lines)
        parsed = read_by({entry.format_text for entry in own}, pl.Series(lines, dtype=pl.Binary))
        holds = pl.lit(True)
        if is_log:
            holds = pl.lit(len(own) == len(entries)) | pl.col("reason").is_null()
        elif self.dimension:
            dimension = next(one for one in DIMENSIONS if one.name == self.dimension)
            holds = pl.lit(dimension.keys(parsed) == self.key)
        elif self.status_class == "malformed":
            holds = pl.col("reason").is_not_null()
        elif self.status_class:
            holds = pl.col("status").str.starts_with(self.status_class[0])
        if self.by_event:
            # One without a readable time counts in the window of its arrival, which its file does not tell.
            holds &= pl.col("time_ms").is_between(self.first_s * 1000, self.last_s * 1000, closed="left")
        found = parsed.select(holds=holds.fill_null(False)).to_series()
        return cast(list[bool], found.to_list())

    def sql(self, timezone: str) -> str:
        """The same as a query of ``logpipe sql``."""
        first, last = (day_name(each * 1000, timezone) for each in (self.first_s, self.last_s - 1))
        wanted = [f"day BETWEEN '{first}' AND '{last}'"] if not self.by_event else []
        if self.by_event:
            wanted.append(f"epoch(time) >= {self.first_s} AND epoch(time) < {self.last_s}")
        if self.dimension not in ("", *PLAIN):
            return (
                "SELECT window_start, lines FROM windows\nWHERE "  # noqa: S608 - shown
                f"dimension = {_quoted(self.dimension)} AND key = {_quoted(self.key)}\nORDER BY window_start;"
            )
        if self.dimension == "error":
            status, _, endpoint = self.key.partition(" ")
            wanted += [f"status = {_quoted(status)}", f"endpoint = {_quoted(endpoint)}"]
        elif self.dimension:
            wanted.append(f"{self.dimension} = {_quoted(self.key)}")
        elif self.status_class == "malformed":
            wanted.append("malformed IS NOT NULL")
        elif self.status_class:
            wanted.append(f"status[1] = '{self.status_class[0]}'")
        return "SELECT line FROM lines\nWHERE " + "\n  AND ".join(wanted) + "\nLIMIT 100;"  # noqa: S608 - shown


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@dataclass
class _Found:
    """What one request has found so far."""

    question: LinesQuestion
    deadline_s: float
    lines: list[Candidate] = field(default_factory=list)
    searched: int = 0

    @property
    def is_enough(self) -> bool:
        return len(self.lines) >= PAGE_LINES or time.monotonic() > self.deadline_s

    def look(self, batch: list[Candidate]) -> int:
        """Take the lines of a batch that are asked for; gives how many of it were dealt with."""
        if not batch:
            return 0
        chosen = self.question.chosen([each.line for each in batch], [each.entries for each in batch])
        for place, is_one in enumerate(chosen):
            if is_one:
                self.lines.append(batch[place])
                if len(self.lines) >= PAGE_LINES:
                    return place + 1
        return len(batch)


class LinesReader:
    """Finds lines.

    Args:
        settings: of the pipeline; they say whether windows go by arrival, or by the time in the line.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._entries: dict[str, Entry] = {}

    def _learn(self) -> list[str]:
        """Read what is new in the registry of formats; what could not be known is told."""
        try:
            with closing(Hdfs.of(self._settings, TIMEOUT_S)) as hdfs:
                folder = formats.folder(self._settings.hdfs_ledger_dir)
                self._entries = formats.load(hdfs, folder, self._entries)
        except (HdfsError, formats.EntryError) as error:
            return [f"The formats of new logs are not known: {error}"]
        return []

    def answer(self, values: Mapping[str, str]) -> dict[str, Any]:
        """Answer a request; `LinesQuestion.of` has its parameters, ``cursor`` goes on.

        Raises:
            QuestionError: a parameter cannot work.
            TopicError, HdfsError: neither the topic nor HDFS can be read.
        """
        question = LinesQuestion.of(values, by_event=self._settings.windows_time == "event")
        plan = _decoded(values["cursor"]) if values.get("cursor") else None
        notes = self._learn()
        found = _Found(question, time.monotonic() + BUDGET_S)
        if plan is None:
            plan, told = self._plan(question)
            notes += told
        source = "HDFS" if plan["hdfs"] is not None else "the topic"
        if plan["hdfs"] is not None:
            self._read_hdfs(question, plan, found)
        elif plan["topic"]:
            self._read_topic(plan, found)
        is_over = plan["hdfs"] is None and not plan["topic"]
        found.lines.sort(key=lambda each: each.time_ms)
        return {
            "lines": [
                {
                    "place": each.place,
                    "text": shown(each.line[:SHOWN_BYTES]),
                    "cut": max(0, len(each.line) - SHOWN_BYTES),
                }
                for each in found.lines
            ],
            "cursor": None if is_over else _encoded(plan),
            "searched": found.searched,
            "source": source,
            "notes": notes,
            "query": question.sql(self._settings.timezone),
        }

    # ------------------------------------------------------------------ where they may be

    def _plan(self, question: LinesQuestion) -> tuple[dict[str, Any], list[str]]:
        """Files on HDFS that have to be read first (None: none), then offsets of the topic."""
        try:
            lows = {number: first for number, (first, _) in end_offsets(self._settings).items()}
            since = question.first_s - (_SKEW_S if question.by_event else 0)
            starts = offsets_at(self._settings, since * 1000)
            if question.by_event:
                ends = {number: end for number, (_, end) in end_offsets(self._settings).items()}
            else:
                ends = offsets_at(self._settings, question.last_s * 1000)
        except TopicError as error:
            return {"hdfs": ["", 0], "below": {}, "topic": {}}, [f"Kafka is away ({error}): what HDFS has"]
        topic = {
            str(number): [start, ends[number]] for number, start in starts.items() if start < ends[number]
        }
        expired = {str(number): low for number, low in lows.items() if low and starts[number] <= low}
        if expired:
            return {"hdfs": ["", 0], "below": expired, "topic": topic}, []
        return {"hdfs": None, "below": {}, "topic": topic}, []

    # ------------------------------------------------------------------ the topic

    def _read_topic(self, plan: dict[str, Any], found: _Found) -> None:
        ranges = {int(number): (first, next_) for number, (first, next_) in plan["topic"].items()}
        sieve, identities = found.question.sieve(), Identities()
        batch: list[Candidate] = []
        at: list[Record] = []
        reached = {number: first for number, (first, _) in ranges.items()}
        reading = records(self._settings, ranges)
        with closing(cast(Any, reading)):
            for record in reading:
                found.searched += 1
                # Of a record that is there twice both pass, and the second is known by the first.
                entry = self._entry(record.key)
                passes = entry.format_text != DEFAULT.format_text or sieve(record.value)
                if passes and identities.judge(record.partition, record.key) is not Verdict.REPEAT:
                    place = f"partition {record.partition}, offset {record.offset}"
                    batch.append(Candidate(record.timestamp_ms, place, record.value, frozenset({entry})))
                    at.append(record)
                else:
                    reached[record.partition] = record.offset + 1
                if len(batch) >= _BATCH or (found.searched % _BATCH == 0 and found.is_enough) or (
                    len(batch) >= PAGE_LINES and not found.lines
                ):  # fmt: skip
                    done = found.look(batch)
                    _advance(reached, at, done)
                    batch, at = batch[done:], at[done:]
                    if found.is_enough:
                        break
            else:
                done = found.look(batch)
                _advance(reached, at, done)
                batch, at = batch[done:], at[done:]
        for record in at:  # found, and left for the next request
            reached[record.partition] = min(reached[record.partition], record.offset)
        plan["topic"] = {
            str(number): [reached[number], next_]
            for number, (_, next_) in ranges.items()
            if reached[number] < next_
        }

    # ------------------------------------------------------------------ HDFS

    def _read_hdfs(self, question: LinesQuestion, plan: dict[str, Any], found: _Found) -> None:
        """Read on from a file and a place in it; afterwards the plan says where to go on."""
        after, offset = plan["hdfs"]
        sieve = question.sieve()
        with closing(Hdfs.of(self._settings, TIMEOUT_S)) as hdfs:
            reader = ChainReader(hdfs, self._settings.hdfs_logs_dir)
            below = {int(p): low for p, low in plan["below"].items()}
            for path in self._files(hdfs, reader, question, below, after):
                if path != after:
                    offset = 0
                if found.is_enough:
                    plan["hdfs"] = [path, offset]
                    return
                offset = self._read_file(
                    hdfs, path, offset, sieve, found, entries_of_file(reader, path, self._entries)
                )
                if offset >= 0:
                    plan["hdfs"] = [path, offset]
                    return
        plan["hdfs"] = None

    def _read_file(
        self,
        hdfs: Hdfs,
        path: str,
        offset: int,
        sieve: Callable[[bytes], bool],
        found: _Found,
        entries: Entries,
    ) -> int:
        """Where to go on in a file; -1 when it is read to its end."""
        name = "/".join(path.rsplit("/", 2)[1:])
        if any(entry.format_text != DEFAULT.format_text for entry in entries):
            sieve = _everything
        for lines, began in _lines_from(hdfs, path, offset):
            kept: list[Candidate] = []
            ends: list[int] = []
            at = began
            for line in lines:
                if sieve(line):
                    kept.append(Candidate(0, f"{name}, byte {at:,}", line, entries))
                    ends.append(at + len(line) + 1)
                at += len(line) + 1
            done = found.look(kept)
            found.searched += len(lines)
            if done < len(kept):
                return ends[done - 1] if done else began
            if found.is_enough:
                return at
        return -1

    def _entry(self, key: bytes | None) -> Entry:
        identity = None if key is None else parse_key(key)
        return DEFAULT if identity is None else formats.entry_of(identity[0], self._entries)

    def _files(
        self, hdfs: Hdfs, reader: ChainReader, question: LinesQuestion, below: dict[int, int], after: str
    ) -> Iterator[str]:
        """Paths of files that may hold lines of the range, in order, from one on."""
        layout = Layout(self._settings.hdfs_logs_dir)
        first, last = (
            day_name(each * 1000, self._settings.timezone) for each in (question.first_s, question.last_s)
        )
        sealed = reader.sealed_names()
        for day in days(hdfs, layout.root):
            if day < first or (day > last and not question.by_event) or (after and day < _day_of(after)):
                continue
            paths = sorted(files(hdfs, layout.day(day)))
            if day not in sealed and not question.by_event:
                paths = [path for path in paths if self._covers(reader, path, question, below)]
            yield from (path for path in paths if final_name(path) >= final_name(after) or not after)

    @staticmethod
    def _covers(reader: ChainReader, path: str, question: LinesQuestion, below: dict[int, int]) -> bool:
        """Whether a range's manifest says that it has lines of that time; what no link tells of may have."""
        found = FILE_NAME.fullmatch(path.rpartition("/")[2])
        if not found:
            return True
        partition, epoch, offset = (int(found[each]) for each in (1, 2, 3))
        if below and offset >= below.get(partition, 0):
            return False
        link: Link | None = reader.link(partition, link_name(epoch, offset))
        if link is None or not link.last_arrival_ms:
            return True
        return (
            link.first_arrival_ms < question.last_s * 1000 and link.last_arrival_ms >= question.first_s * 1000
        )


def _advance(reached: dict[int, int], at: list[Record], done: int) -> None:
    for record in at[:done]:
        reached[record.partition] = max(reached[record.partition], record.offset + 1)


def _lines_from(hdfs: Hdfs, path: str, offset: int) -> Iterator[tuple[list[bytes], int]]:
    """Whole lines of a file with the place of the first, in lists of about a block's."""
    rest, at = b"", offset
    before = min(offset, 1)  # HDFS opens no file at its very end
    try:
        for block in hdfs.blocks(path, offset - before):
            *whole, rest = (rest + block[before:]).split(b"\n")
            before = 0
            yield whole, at
            at += sum(map(len, whole)) + len(whole)
    except HdfsAbsentError:  # renamed since it was listed
        if (final := final_name(path)) != path:
            yield from _lines_from(hdfs, final, at)
        return
    if rest:
        yield [rest], at


def _day_of(path: str) -> str:
    return path.rsplit("/", 2)[-2] if path.count("/") > 1 else ""


# ---------------------------------------------------------------------- the cursor


def _encoded(plan: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(plan, separators=(",", ":")).encode()).decode()


def _decoded(cursor: str) -> dict[str, Any]:
    """What `_encoded` gave; it came back over the network, so only what a plan may be is taken.

    Raises:
        QuestionError: it is no cursor of ours.
    """
    try:
        plan = json.loads(base64.urlsafe_b64decode(cursor.encode()))
        below = {str(int(number)): int(low) for number, low in plan["below"].items()}
        topic = {str(int(p)): [max(0, int(first)), int(next_)] for p, (first, next_) in plan["topic"].items()}
        place = plan["hdfs"] if plan["hdfs"] is None else [str(plan["hdfs"][0]), max(0, int(plan["hdfs"][1]))]
    except (*UNREADABLE, binascii.Error):
        raise QuestionError(f"cursor is {cursor[:60]!r}, expected one that this service gave") from None
    return {"hdfs": place, "below": below, "topic": topic}


# ---------------------------------------------------------------------- bytes as text

_NAMES = {0x1B: "ESC", 0x00: "NUL", 0x0D: "CR", 0x09: "TAB", 0x7F: "DEL"}


def shown(line: bytes) -> list[tuple[str, bool]]:
    """A line as pieces of text; the second says that a piece stands for a byte that is no text.

    Control characters, bytes that are no UTF-8 and characters that turn or hide others are such pieces.
    """
    pieces: list[tuple[str, bool]] = []
    text: list[str] = []

    def flush() -> None:
        if text:
            pieces.append(("".join(text), False))
            text.clear()

    # Bytes that are no UTF-8 come as lone surrogates, U+DC80 to U+DCFF.
    for character in line.decode("utf-8", "surrogateescape"):
        code = ord(character)
        if 0xDC80 <= code <= 0xDCFF:
            flush()
            pieces.append((f"\\x{code - 0xDC00:02x}", True))
        elif character.isprintable():
            text.append(character)
        else:
            flush()
            pieces.append((_NAMES.get(code, f"U+{code:04X}" if code > 0xFF else f"\\x{code:02x}"), True))
    flush()
    return pieces
