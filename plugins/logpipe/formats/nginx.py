r"""nginx' ``log_format``.

By default nginx writes ``"``, ``\``, and all below 32 and above 126 as ``\xHH``; with ``escape=json`` as JSON
does; with ``escape=none`` as it is.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType

from logpipe.formats import escapes
from logpipe.formats.fields import FormatError
from logpipe.formats.pattern import Field, Pattern
from logpipe.formats.times import CLF, ISO, Clock

_ESCAPES = {"default": escapes.NGINX, "json": escapes.JSON, "none": escapes.NONE}
_CLOCKS = {"time_local": Clock(CLF), "time_iso8601": Clock(ISO), "msec": Clock("s")}
# Variables that feed something: role, rank among those that say the same.
_FEEDS = {
    "remote_addr": ("host", 0),
    "host": ("vhost", 0),
    "http_host": ("vhost", 1),
    "server_name": ("vhost", 2),
    "request": ("request", 0),
    "request_method": ("method", 0),
    "request_uri": ("target", 0),
    "uri$is_args$args": ("target", 1),
    "uri": ("target", 2),
    "args": ("query", 0),
    "is_args$args": ("query", 0),
    "status": ("status", 0),
    "body_bytes_sent": ("sent_bytes", 0),
    "bytes_sent": ("sent_bytes", 1),
    "http_referer": ("referrer", 0),
    "http_user_agent": ("user_agent", 0),
    "ssl_protocol": ("tls_protocol", 0),
    "sent_http_content_type": ("content_type", 0),
}
_VARIABLE = re.compile(
    r"\$(?:\{(\w+)\}|(uri\$is_args\$(?:args|query_string)|is_args\$(?:args|query_string)|\w+))"
)
_WHOLE = re.compile(r"\s*log_format\s+\S+\s+(?:escape=(\S+)\s+)?(.*?);?\s*", re.DOTALL)
_STRING = re.compile(r"""\s*(?:'((?:[^'\\]|\\.)*)'|"((?:[^"\\]|\\.)*)"|([^\s'";]+))""", re.DOTALL)


def compile_nginx(
    text: str, escape: str = "default", own: Mapping[str, Field] = MappingProxyType({})
) -> Pattern:
    """Compile a ``log_format``: its string, or the whole directive of the configuration.

    Args:
        text: The string, ``$remote_addr - …``; or ``log_format main escape=json '…' '…';``.
        escape: ``default``, ``json`` or ``none``, for a string; a directive says it itself.
        own: Variables that nginx does not have, by name.

    Raises:
        FormatError: A variable has no name, or nothing ends a field.
    """
    form = text
    whole = _WHOLE.fullmatch(text)
    if whole:
        escape, form = whole[1] or "default", _joined(whole[2], text)
    if escape not in _ESCAPES:
        raise FormatError(f"log_format {text!r}: escape={escape} is unknown; known are {', '.join(_ESCAPES)}")
    parts: list[str | Field] = []
    at = 0
    for match in _VARIABLE.finditer(form):
        if match.start() > at:
            parts.append(form[at : match.start()])
        name = (match[1] or match[2]).replace("query_string", "args")
        parts.append(own[name] if name in own else _field(name))
        at = match.end()
    if at < len(form):
        parts.append(form[at:])
    for part in parts:
        if isinstance(part, str) and "$" in part:
            place = form.index(part) + part.index("$") + 1
            raise FormatError(
                f"log_format {text!r}: the $ at character {place} has no name of a variable behind it"
            )
    return Pattern(text, tuple(parts), _ESCAPES[escape])


def _joined(strings: str, text: str) -> str:
    pieces, at = [], 0
    while at < len(strings.rstrip()):
        match = _STRING.match(strings, at)
        if match is None:
            raise FormatError(f"log_format {text!r}: {strings[at : at + 20]!r} is no string in quotes")
        piece = next(group for group in match.groups() if group is not None)
        pieces.append(re.sub(r"""\\(["'\\])""", r"\1", piece).replace(r"\t", "\t").replace(r"\n", "\n"))
        at = match.end()
    return "".join(pieces)


def _field(name: str) -> Field:
    if name in _CLOCKS:
        return Field(f"${name}", "time", _CLOCKS[name])
    if name == "request_time":
        return Field("$request_time", "latency", unit="s")
    role, rank = _FEEDS.get(name, ("", 0))
    return Field(f"${name}", role, rank=rank)
