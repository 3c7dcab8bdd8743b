r"""Apache's ``LogFormat``, after mod_log_config's list of directives.

Apache writes what a client sent with ``\"``, ``\\``, ``\n`` and the like, and ``\xhh`` (`ap_escape_logitem`).
"""

import re

from logpipe.formats import escapes
from logpipe.formats.fields import FormatError
from logpipe.formats.pattern import Field, Pattern
from logpipe.formats.times import CLF, Clock

PORT = "[0-9]{1,5}"
# Directives that feed something: role, rank among those that say the same.
_FEEDS = {
    "h": ("host", 1),
    "a": ("host", 0),
    "v": ("vhost", 0),
    "V": ("vhost", 1),
    "r": ("request", 0),
    "m": ("method", 0),
    "U": ("target", 0),
    "q": ("query", 0),
    "s": ("status", 0),
    "b": ("sent_bytes", 0),
    "B": ("sent_bytes", 0),
    "O": ("sent_bytes", 1),
}
# Those that are read over.
_OTHERS = {*"ACHILPRSXefiklnopux", "^ti", "^to"}
_NAMED = {
    ("i", "referer"): "referrer",
    ("i", "user-agent"): "user_agent",
    ("i", "host"): "vhost",
    ("o", "content-type"): "content_type",
    ("x", "ssl_protocol"): "tls_protocol",
    ("c", "ssl_protocol"): "tls_protocol",
}
_DIRECTIVE = re.compile(
    r"%(?P<before>[!0-9,<>]*)(?:\{(?P<name>[^}]*)\})?(?P<letter>\^t[io]|[A-Za-z])(?P<query>(?<=U)%q)?"
)
_QUOTED = re.compile(r'\s*LogFormat\s+"((?:[^"\\]|\\.)*)"(?:\s+[\w.-]+)?\s*', re.IGNORECASE)
_WRITTEN = {"n": "\n", "t": "\t"}


def compile_apache(text: str) -> Pattern:
    r"""Compile a ``LogFormat``: its string (with ``"`` or ``\"``), or the whole line of the configuration.

    Raises:
        FormatError: A directive is unknown, or nothing ends a field.
    """
    quoted = _QUOTED.fullmatch(text)
    form = re.sub(r"\\(.)", lambda match: _WRITTEN.get(match[1], match[1]), quoted[1] if quoted else text)
    parts: list[str | Field] = []
    at = 0
    while at < len(form):
        if form.startswith("%%", at):
            _add(parts, "%")
            at += 2
        elif form[at] == "%":
            match = _DIRECTIVE.match(form, at)
            if match is None:
                raise FormatError(
                    f"LogFormat {text!r}: at character {at + 1}, {form[at : at + 12]!r} is no directive"
                )
            _add_directive(parts, match, text)
            at = match.end()
        else:
            _add(parts, form[at])
            at += 1
    return Pattern(text, tuple(parts), escapes.APACHE)


def _add(parts: list[str | Field], literal: str) -> None:
    if parts and isinstance(parts[-1], str):
        parts[-1] += literal
    else:
        parts.append(literal)


def _add_directive(parts: list[str | Field], match: re.Match[str], text: str) -> None:
    whole, letter, name = match[0], match["letter"], match["name"]
    if letter == "t":
        if name is None:
            _add(parts, "[")
            parts.append(Field(whole, "time", Clock(CLF)))
            _add(parts, "]")
        else:
            form = re.sub("^(begin|end):?", "", name)
            epoch = {
                "sec": "s",
                "msec": "ms",
                "usec": "us",
                "%s": "s",
                "msec_frac": "fraction",
                "usec_frac": "fraction",
            }
            parts.append(Field(whole, "time", Clock(epoch.get(form, form or CLF))))
            if not form:
                parts[-1:] = ["[", parts[-1], "]"]
        return
    if letter == "D" or letter == "T":
        unit = (name or "s") if letter == "T" else "us"
        if unit not in ("s", "ms", "us"):
            raise FormatError(f"LogFormat {text!r}: {whole} has unit {unit!r}, known are s, ms, us")
        parts.append(Field(whole, "latency", unit=unit, rank=["us", "ms", "s"].index(unit)))
        return
    role, rank = _FEEDS.get(letter, ("", 0))
    if name is not None:
        role = _NAMED.get(
            (letter.lower() if letter in "xc" else letter, name.lower()), role if letter in "ab" else ""
        )
        rank = 2 if role == "vhost" else rank
    elif letter not in _FEEDS and letter not in _OTHERS:
        known = ", ".join(f"%{each}" for each in sorted({*_FEEDS, *_OTHERS, "t", "D", "T"}))
        raise FormatError(
            f"LogFormat {text!r}: {whole} at character {match.start() + 1} is unknown; known are {known}"
        )
    if letter == "s" and "<" not in match["before"] and ">" not in match["before"]:
        rank = 1  # of the first request; the last one's is what the client got
    parts.append(Field(whole, role, rank=rank, shape=PORT if letter == "p" else ""))
