"""Formats whose lines are fields between fixed texts: the definition of how such a line is read.

A field ends where the text behind it begins for the first time, and not inside of an escape. Nothing is tried
twice, so a line takes time linear in its length, whatever its bytes.
"""

import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any

from logpipe.formats import times
from logpipe.formats.escapes import Escape
from logpipe.formats.fields import (
    DECIMAL,
    EMPTY,
    FORMAT,
    HEADER,
    REQUEST,
    SENT_BYTES,
    STATUS,
    TEXTS,
    TIME,
    FormatError,
    Parsed,
    columns_of,
    is_method,
    line_text,
    parse_request,
    scaled,
)

# Digits that a unit of latency has behind the point of microseconds.
LATENCY_DIGITS = {"s": 6, "ms": 3, "us": 0}
_AFTER_REQUEST = re.compile(r'" ([0-9]{3}) ([0-9]{1,18}|-)(?= |$)')


@dataclass(frozen=True)
class Field:
    """One field of a line.

    Attributes:
        name: In the server's words.
        role: What it says: a column of `Parsed`, ``request``, ``query``, ``time``, or ``latency``; empty
            where it feeds nothing.
        clock: How its time is written.
        unit: Of a latency.
        rank: Of two fields that say the same, the one with the lower rank is taken.
        shape: What it looks like, where it feeds nothing and is narrow enough to tell formats apart.
        escape: How its text is written, where that differs from the format's way.
    """

    name: str
    role: str = ""
    clock: times.Clock | None = None
    unit: str = ""
    rank: int = 0
    shape: str = ""
    escape: Escape | None = None


@dataclass(frozen=True)
class Pattern:
    """A format of fixed texts and fields.

    Attributes:
        text: What it was compiled from.
        parts: Texts and fields in turn.
        escape: How the server writes what would break the line.
        optional_from: From this part on, a line may end; then these fields say nothing.
        unescaped: Lines of servers that escape nothing are read too, the target stays as it is written, and
            what stands behind the size is free.
        comments: Lines that begin with ``#`` are about the log.
    """

    text: str
    parts: tuple[str | Field, ...]
    escape: Escape
    optional_from: int | None = None
    unescaped: bool = False
    comments: bool = False
    fields: dict[str, Field] = field(init=False, compare=False)
    clocks: times.Clocks = field(init=False, compare=False)

    def __post_init__(self) -> None:
        _refuse_neighbours(self.parts, self.text)
        object.__setattr__(self, "fields", _chosen(self.parts))
        times_of = (each.clock for each in self.fields.values() if each.clock is not None)
        object.__setattr__(self, "clocks", times.Clocks(times_of))

    @cached_property
    def fed(self) -> frozenset[str]:
        """The columns that its fields feed."""
        roles = {each.role for each in self.fields.values()}
        named = {"time": {"time_ms"}, "latency": {"latency_us"}, "request": {"method", "target"}}
        return frozenset().union(*(named.get(role, {role}) for role in roles)) & {*Parsed._fields}

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the format has, beside ``reason``; the core's always."""
        return columns_of(self.fed)

    def group_of(self, part: Field) -> str:
        """The name of the field's group in expressions; empty where it feeds nothing."""
        return next((name for name, each in self.fields.items() if each is part), "")

    def literal_behind(self, index: int) -> str:
        """The text that ends a field; empty at the end of the line."""
        behind = self.parts[index + 1] if index + 1 < len(self.parts) else ""
        assert isinstance(behind, str)
        return behind

    def escape_of(self, part: Field) -> Escape:
        """How the field's text is written."""
        return part.escape or self.escape

    @cached_property
    def _definition(self) -> re.Pattern[str]:
        core = self._expression(0, self.optional_from)
        return re.compile(core + (f"(?:{self._optional.pattern})?+" if self.optional_from else ""), re.DOTALL)

    @cached_property
    def _optional(self) -> re.Pattern[str]:
        return re.compile(self._expression(self.optional_from or 0, None), re.DOTALL)

    def _expression(self, first: int, end: int | None) -> str:
        pieces = []
        for index, part in list(enumerate(self.parts))[first:end]:
            if isinstance(part, str):
                pieces.append(re.escape(part))
                continue
            name = self.group_of(part)
            text = part.shape if part.shape and not name else self.until(index, part)
            pieces.append(f"(?P<{name}>{text})" if name else text)
        return "".join(pieces)

    def until(self, index: int, part: Field) -> str:
        """An expression for a field: all before the text that ends it."""
        literal = self.literal_behind(index)
        if not literal:
            return ".*+"
        first, rest = re.escape(literal[0]), re.escape(literal[1:])
        guards = self.escape_of(part).guards
        atoms = [rf"[^{first}\\]++|\\." if guards else f"[^{first}]++"]
        if rest:
            atoms.append(f"{first}(?!{rest})")
        until = f"(?:{'|'.join(atoms)})*+"
        if (
            part.clock and part.clock.form == times.ISO
        ):  # with zone and fraction or without, it has its own end
            return f"(?:{times.ISO_SHAPE}(?={re.escape(literal)})|{until})"
        # A time that has the text in it ends at a later one.
        within = part.clock.sample.count(literal) if part.clock else 0
        return f"(?:{until}{re.escape(literal)}){{{within}}}{until}" if within else until

    def parse_line(self, line: bytes) -> Parsed:
        """Parse a line's bytes (without line end)."""
        return self.parse_text(line_text(line))

    def parse_text(self, text: str) -> Parsed:
        """Parse a line's text."""
        if not text:
            return Parsed(reason=EMPTY)
        if self.comments and text[0] == "#":
            return Parsed(reason=HEADER)
        text = text.removesuffix("\r")
        match = self._definition.fullmatch(text)
        parsed = self._values(match.groupdict()) if match is not None else Parsed(reason=FORMAT)
        if self.unescaped and parsed.reason == FORMAT:
            return self._parse_unescaped(text)
        return parsed

    def _values(self, groups: dict[str, str | None]) -> Parsed:
        if any(
            not _is_shaped(self.fields[name].role, text) for name, text in groups.items() if text is not None
        ):
            return Parsed(reason=FORMAT)
        texts: dict[str, str] = {}
        clocks, latencies = [], []
        for name, text in groups.items():
            if text is None:
                continue
            part = self.fields[name]
            if part.role == "time":
                clocks.append(text)
            elif part.role == "latency":
                latencies.append(latency_us(text, part.unit))
            else:
                texts[part.role] = text
        time_ms = self.clocks.time_ms(clocks)
        if time_ms is None:
            return Parsed(reason=TIME)
        request = self._request(texts)
        if request is None:
            return Parsed(time_ms=time_ms, reason=REQUEST)
        method, target = request
        return Parsed(
            host=self._decoded("host", texts["host"]) if "host" in texts else None,
            time_ms=time_ms,
            method=method,
            target=target,
            status=texts.get("status"),
            sent_bytes=size_bytes(texts.get("sent_bytes")),
            latency_us=None if not latencies or None in latencies else sum(each or 0 for each in latencies),
            **self._said(texts),
        )

    def _said(self, texts: dict[str, str]) -> dict[str, Any]:
        decoded = {role: self._decoded(role, texts[role]) for role in TEXTS if role in texts}
        return {role: text for role, text in decoded.items() if text not in ("", "-")}

    def _request(self, texts: dict[str, str]) -> tuple[str | None, str | None] | None:
        method, target = texts.get("method"), texts.get("target")
        if "request" in texts:
            request = parse_request(texts["request"])
            if request is None:
                return None
            return request[0], request[1] if self.unescaped else self._decoded("request", request[1])
        if target is not None:
            target = with_query(
                self._decoded("target", target), self._decoded("query", texts.get("query", ""))
            )
        if target == "" or not (method is None or method == "-" or is_method(method)):
            return None
        return method, target

    def _decoded(self, role: str, text: str) -> str:
        own = self.fields.get(role)
        escape = self.escape_of(own) if own else self.escape
        return escape.decode(text) if escape.mark and escape.mark in text else text

    def _parse_unescaped(self, text: str) -> Parsed:
        """Where nothing is escaped: the request ends at the first quote with status and size behind it."""
        host_end, time_start = text.find(" "), text.find(" [")
        time_end = text.find('] "', time_start)
        tail = _AFTER_REQUEST.search(text, time_end + 3) if 0 < host_end <= time_start < time_end else None
        if tail is None:
            return Parsed(reason=FORMAT)
        time_ms = self.clocks.time_ms([text[time_start + 2 : time_end]])
        if time_ms is None:
            return Parsed(reason=TIME)
        request = parse_request(text[time_end + 3 : tail.start()])
        if request is None:
            return Parsed(time_ms=time_ms, reason=REQUEST)
        parsed = Parsed(text[:host_end], time_ms, *request, tail[1], size_bytes(tail[2]))
        optional = self._optional.fullmatch(text, tail.end())
        return parsed if optional is None else Parsed(*parsed[:6], **self._said(optional.groupdict()))


def _is_shaped(role: str, text: str) -> bool:
    if role == "host":
        return text != ""
    if role == "status":
        return STATUS.fullmatch(text) is not None
    if role == "sent_bytes":
        return SENT_BYTES.fullmatch(text) is not None
    return role != "latency" or text in ("", "-", "-1") or DECIMAL.fullmatch(text) is not None


def size_bytes(text: str | None) -> int | None:
    """The bytes of an answer: none are written as ``-``."""
    return int(text) if text not in (None, "-") else None if text is None else 0


def latency_us(text: str, unit: str) -> int | None:
    """Microseconds of a time that was taken; None where the server says that it has none."""
    return scaled(text, LATENCY_DIGITS[unit])


def with_query(target: str, query: str) -> str:
    """Path and query as the client sent them; a server writes the query with or without its question mark."""
    if query in ("", "-"):
        return target
    return target + query if query[0] == "?" else f"{target}?{query}"


def _refuse_neighbours(parts: tuple[str | Field, ...], text: str) -> None:
    for one, other in pairwise(parts):
        if isinstance(one, Field) and isinstance(other, Field):
            raise FormatError(
                f"Format {text!r}: between {one.name} and {other.name} stands nothing that ends the first: "
                "put a text between them"
            )


def _chosen(parts: tuple[str | Field, ...]) -> dict[str, Field]:
    """Fields that feed something, by the name of their group."""
    chosen: dict[str, Field] = {}
    roles = {part.role for part in parts if isinstance(part, Field)} - {""}
    if "request" in roles:  # it has method and target
        roles -= {"method", "target", "query"}
    if "target" not in roles:
        roles -= {"query"}
    for role in roles:
        fields = [part for part in parts if isinstance(part, Field) and part.role == role]
        best = min(part.rank for part in fields)
        fields = [part for part in fields if part.rank == best]
        if role == "time":
            whole = [part for part in fields if part.clock and part.clock.is_whole][:1]
            fractions = [part for part in fields if part.clock and part.clock.form == "fraction"]
            fields = whole + fractions if whole else fields
        if role in ("time", "latency"):
            once = {part.name: part for part in fields}.values()
            chosen |= {f"{role}{number}": part for number, part in enumerate(once)}
        else:
            chosen[role] = fields[0]
    return chosen
