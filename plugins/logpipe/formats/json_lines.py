"""Formats whose lines are JSON objects: which fields say what, and the definition of how they are read."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from logpipe.formats import times
from logpipe.formats.fields import (
    EMPTY,
    FORMAT,
    REQUEST,
    TEXTS,
    TIME,
    FormatError,
    Parsed,
    columns_of,
    is_method,
    line_text,
    parse_request,
)

TEXT, INTEGER, NUMBER = "text", "integer", "number"
# What a map may name: what it is in JSON, and the column that it feeds.
NAMES = {
    "host": (TEXT, "host"),
    "time": (TEXT, "time_ms"),
    "time_s": (NUMBER, "time_ms"),
    "time_ms": (NUMBER, "time_ms"),
    "time_us": (NUMBER, "time_ms"),
    "time_ns": (NUMBER, "time_ms"),
    "request": (TEXT, ""),
    "method": (TEXT, "method"),
    "target": (TEXT, "target"),
    "status": (INTEGER, "status"),
    "sent_bytes": (INTEGER, "sent_bytes"),
    "vhost": (TEXT, "vhost"),
    "referrer": (TEXT, "referrer"),
    "user_agent": (TEXT, "user_agent"),
    "latency_s": (NUMBER, "latency_us"),
    "latency_ms": (NUMBER, "latency_us"),
    "latency_us": (NUMBER, "latency_us"),
    "latency_ns": (NUMBER, "latency_us"),
    "tls_protocol": (TEXT, "tls_protocol"),
    "tls_version": (TEXT, "tls_protocol"),
    "tls_number": (INTEGER, "tls_protocol"),
    "content_type": (TEXT, "content_type"),
}
# Numbers of RFC 8446 and its predecessors, which Caddy writes.
TLS_NUMBERS = {769: "TLSv1", 770: "TLSv1.1", 771: "TLSv1.2", 772: "TLSv1.3"}
# Milliseconds and microseconds that a unit has.
TIME_FACTORS = {"time_s": 1e3, "time_ms": 1.0, "time_us": 1e-3, "time_ns": 1e-6}
LATENCY_FACTORS = {"latency_s": 1e6, "latency_ms": 1e3, "latency_us": 1.0, "latency_ns": 1e-3}
MAX_NUMBER = 4e15  # of milliseconds or microseconds: what is above is no time
_LONE = re.compile("[\ud800-\udfff]")
Path = tuple[str, ...]


@dataclass(frozen=True)
class Json:
    """A format of JSON objects, one a line.

    Attributes:
        text: What it was compiled from.
        paths: For each name of `NAMES` the places where it may stand, the first that is there counts; a place
            is the names of objects within objects, the last one may be a place in a list.
    """

    text: str
    paths: Mapping[str, tuple[Path, ...]] = field(hash=False)

    @cached_property
    def fed(self) -> frozenset[str]:
        """The columns that its fields feed."""
        fed = {NAMES[name][1] for name in self.paths} - {""}
        return frozenset(fed | ({"method", "target"} if "request" in self.paths else set()))

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that the format has, beside ``reason``; the core's always."""
        return columns_of(self.fed)

    def parse_line(self, line: bytes) -> Parsed:
        """Parse a line's bytes (without line end)."""
        return self.parse_text(line_text(line))

    def parse_text(self, text: str) -> Parsed:
        """Parse a line's text."""
        if not text:
            return Parsed(reason=EMPTY)
        try:
            said = json.loads(text, object_pairs_hook=_first_of_each, parse_constant=_refuse)
        except (ValueError, RecursionError):
            return Parsed(reason=FORMAT)
        if not isinstance(said, dict):
            return Parsed(reason=FORMAT)
        values = {name: self._value(name, said) for name in self.paths}
        if any(name in values and values[name] in (None, "") for name in ("host", "status")):
            return Parsed(reason=FORMAT)
        time_name = next(name for name in self.paths if name.startswith("time"))
        time_ms = _time_ms(time_name, values[time_name])
        if time_ms is None:
            return Parsed(reason=TIME)
        request = self._request(values)
        if request is None:
            return Parsed(time_ms=time_ms, reason=REQUEST)
        status, sent_bytes = values.get("status"), values.get("sent_bytes")
        return Parsed(
            host=values.get("host"),
            time_ms=time_ms,
            method=request[0],
            target=request[1],
            status=None if status is None else f"{status:03}",
            sent_bytes=None if "sent_bytes" not in self.paths else sent_bytes or 0,
            latency_us=next(
                (rounded(values[name], LATENCY_FACTORS[name]) for name in LATENCY_FACTORS if name in values),
                None,
            ),
            **self._texts(values),
        )

    def _value(self, name: str, said: dict[str, Any]) -> Any:
        for path in self.paths[name]:
            at: Any = said
            for key in path:
                if isinstance(at, dict):
                    at = at.get(key)
                elif isinstance(at, list) and key.isdecimal():
                    at = at[int(key)] if int(key) < len(at) else None
                else:
                    at = None
            found = _typed(at, NAMES[name][0])
            if found is not None:
                return found
        return None

    def _request(self, values: dict[str, Any]) -> tuple[str | None, str | None] | None:
        if "request" in values:
            return parse_request(values["request"] or "")
        method, target = values.get("method"), values.get("target")
        if ("method" in values and not (method == "-" or is_method(method or ""))) or (
            "target" in values and not target
        ):
            return None
        return method, target

    def _texts(self, values: dict[str, Any]) -> dict[str, str]:
        texts = {name: values.get(name) for name in TEXTS}
        if values.get("tls_version"):
            texts["tls_protocol"] = f"TLSv{values['tls_version']}"
        if "tls_number" in values:
            texts["tls_protocol"] = TLS_NUMBERS.get(values["tls_number"])
        return {name: text for name, text in texts.items() if text not in (None, "", "-")}


def compile_json(fields: Mapping[str, str | Sequence[str]], text: str = "") -> Json:
    """Compile a map from names to places in the objects.

    Args:
        fields: For example ``{"host": "request.remote_ip", "time_s": "ts", "user_agent": "agents.0"}``;
            several places for one name stand in a list.
        text: For messages; the map itself by default.

    Raises:
        FormatError: A name is unknown, or a time is missing.
    """
    text = text or json.dumps(fields)
    for name, places in fields.items():
        if name not in NAMES:
            raise FormatError(f"JSON format {text}: {name!r} is no field: known are {', '.join(NAMES)}")
        for place in [places] if isinstance(places, str) else places:
            if (
                not isinstance(place, str)
                or "" in place.split(".")
                or any(map(str.isdecimal, place.split(".")[:-1]))
            ):
                raise FormatError(
                    f"JSON format {text}: {name} stands at {place!r}, expected names with dots between, "
                    "and a place in a list at the end only"
                )
    if len([name for name in fields if name.startswith("time")]) != 1:
        raise FormatError(f"JSON format {text}: one time is needed, by {', '.join(['time', *TIME_FACTORS])}")
    paths = {
        name: tuple(tuple(place.split(".")) for place in ([places] if isinstance(places, str) else places))
        for name, places in fields.items()
    }
    return Json(text, paths)


def rounded(number: Any, factor: float) -> int | None:
    """A number in a smaller unit, to the nearest; None when it is none, or none that a time can be."""
    if number is None:
        return None
    scaled = number * factor
    return math.floor(scaled + 0.5) if 0 <= scaled < MAX_NUMBER else None


def _time_ms(name: str, value: Any) -> int | None:
    if name == "time":
        return times.iso_ms(value or "")
    return rounded(value, TIME_FACTORS[name])


def _typed(value: Any, kind: str) -> Any:
    if kind == TEXT:
        return _LONE.sub("\ufffd", value) if isinstance(value, str) else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if kind == INTEGER:
        return value if isinstance(value, int) and 0 <= value < 10**18 else None
    try:
        return float(value)
    except OverflowError:
        return None


def _first_of_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    return dict(reversed(pairs))


def _refuse(constant: str) -> None:
    raise ValueError(constant)
