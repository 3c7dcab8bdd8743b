"""What a line says, and how a field's text becomes a value."""

import re
from typing import NamedTuple

EMPTY, FORMAT, TIME, REQUEST, HEADER = "empty", "format", "time", "request", "header"


class FormatError(ValueError):
    """A format that cannot be compiled, or one that does not fit its log."""


class Parsed(NamedTuple):
    """What a line says; of a malformed one only ``reason``, and ``time_ms`` where its time is readable.

    Attributes:
        host: The client's address or name.
        time_ms: Milliseconds since 1970.
        method: Of the request; ``-`` where a client sent nothing.
        target: What was asked for: path and query.
        status: Three digits.
        sent_bytes: Bytes of the answer; 0 where the server wrote ``-``.
        vhost: The server's name.
        referrer: Where the client came from.
        user_agent: What the client calls itself.
        latency_us: Microseconds that the request took.
        tls_protocol: ``TLSv1.3`` and the like.
        content_type: Of the answer.
        reason: Why a line is malformed: ``empty``, ``format``, ``time``, ``request``; ``header`` is a line of
            a W3C log about the log.
    """

    host: str | None = None
    time_ms: int | None = None
    method: str | None = None
    target: str | None = None
    status: str | None = None
    sent_bytes: int | None = None
    vhost: str | None = None
    referrer: str | None = None
    user_agent: str | None = None
    latency_us: int | None = None
    tls_protocol: str | None = None
    content_type: str | None = None
    reason: str | None = None


CORE = ("host", "time_ms", "method", "target", "status", "sent_bytes")
# What a server writes ``-`` or nothing for, where there is none.
TEXTS = ("vhost", "referrer", "user_agent", "tls_protocol", "content_type")


def columns_of(fed: frozenset[str]) -> tuple[str, ...]:
    """The columns of a format that feeds some: the core's, and of the others those."""
    return (*CORE, *(name for name in Parsed._fields[len(CORE) : -1] if name in fed))


_METHOD = re.compile(r"[A-Za-z]{1,20}")
STATUS = re.compile(r"[0-9]{3}")
SENT_BYTES = re.compile(r"[0-9]{1,18}|-")
DECIMAL = re.compile(r"([0-9]{1,12})(?:\.([0-9]{1,9}))?")


def line_text(line: bytes) -> str:
    """Decode a line: UTF-8 where valid, else Latin-1, which takes any byte."""
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")


def parse_request(request: str) -> tuple[str, str] | None:
    """Method and target of ``GET /path HTTP/1.0``, with or without protocol, with any number of blanks."""
    request = request.strip(" ")
    if request == "-":  # what Apache writes when a client sent nothing
        return "-", "-"
    method, _, target = request.partition(" ")
    target = target.strip(" ")
    before, blank, last = target.rpartition(" ")
    if blank and last.startswith("HTTP/"):
        target = before.rstrip(" ")
    if not target or not is_method(method):
        return None
    return method, target


def is_method(text: str) -> bool:
    """Whether a text is a method that is counted by name."""
    return _METHOD.fullmatch(text) is not None


def scaled(text: str, digits: int) -> int | None:
    """A decimal number times 10 to the power of ``digits``, cut off there; None when it is none."""
    match = DECIMAL.fullmatch(text)
    if match is None:
        return None
    fraction = (match[2] or "").ljust(digits, "0")[:digits]
    return int(match[1] + fraction)
