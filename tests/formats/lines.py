"""Lines as servers would write them: the fields' values, and the line that has them."""

import json
import re
from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import strategies as st

from logpipe.formats import escapes, times
from logpipe.formats.json_lines import NAMES, NUMBER, TEXT, Json
from logpipe.formats.pattern import Field, Pattern

WORDS = st.text(st.sampled_from("abcXYZ019/._~?&=;:()-"), min_size=1, max_size=12)
ANY_TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=12) | st.text(
    st.sampled_from("\"\\ x2n\t\r\x00\x7f]}é\U0001f600ab'"), max_size=12
)
MOMENTS = st.datetimes(datetime(1970, 1, 2), datetime(2069, 12, 31)).map(lambda at: at.replace(tzinfo=UTC))
APACHE_LETTERS = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r", "\v": "\\v", "\b": "\\b"}


# Narrower than what is read.
APACHE_VALUES = {
    "latency": st.integers(0, 10**6).map(str),
    "target": WORDS.map(lambda text: "/" + re.sub("[:?]", "", text)),
    "query": WORDS.map(lambda text: f"?{text}".replace(":", "")) | st.just(""),
    "method": st.sampled_from(["GET", "POST", "PROPFIND"]),
    "vhost": st.sampled_from(["a.example", "localhost"]),
}


def _as_apache(text: str) -> str:
    return "".join(
        APACHE_LETTERS.get(chr(byte), chr(byte) if 32 <= byte < 127 else f"\\x{byte:02x}")
        for byte in text.encode()
    )


def _as_nginx(text: str) -> str:
    return "".join(
        chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02X}" for byte in text.encode()
    )


def _as_percent(text: str) -> str:
    return "".join(
        chr(byte) if 32 < byte < 127 and byte not in b'%"' else f"%{byte:02X}" for byte in text.encode()
    )


WRITTEN = {
    escapes.APACHE.name: _as_apache,
    escapes.NGINX.name: _as_nginx,
    escapes.JSON.name: lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
    escapes.PERCENT.name: _as_percent,
    escapes.PLUS.name: lambda text: text.replace(" ", "+"),
    escapes.NONE.name: lambda text: text,
}


@st.composite
def pattern_lines(draw, pattern: Pattern) -> tuple[str, dict[str, str]]:
    """A line, and the texts that the server was given for what it says of the client."""
    moment, pieces, given = draw(MOMENTS), [], {}
    for index, part in enumerate(pattern.parts):
        if isinstance(part, str):
            pieces.append(part)
            continue
        behind = pattern.literal_behind(index)
        plain = draw(_plain(part, moment))
        if plain is None:
            escape = pattern.escape_of(part)
            text = draw(_texts(escape, behind))
            plain = WRITTEN[escape.name](text)
            if pattern.group_of(part):
                given[part.role] = text
        pieces.append(plain)
    return "".join(pieces), given


def _texts(escape: escapes.Escape, behind: str) -> st.SearchStrategy[str]:
    """What may stand in a field: in quotes anything, where it is escaped."""
    if behind[:1] == '"' and escape.guards:
        return ANY_TEXT
    chosen = WORDS if escape is not escapes.PERCENT else ANY_TEXT.filter(bool)
    return chosen.filter(lambda text: behind[:1] not in text if behind else True)


def _plain(part: Field, moment: datetime) -> st.SearchStrategy[str | None]:
    if part.clock is not None:
        return st.just(_time(part.clock, moment))
    if part.name == "%a":  # an address, where %h may be a name
        return st.sampled_from(["10.0.0.1", "2001:db8::1"])
    if part.name in ("%B", "%O"):  # a number, where %b may be a dash
        return st.integers(0, 10**18 - 1).map(str)
    if part.name.startswith("%") and part.role in APACHE_VALUES:
        return APACHE_VALUES[part.role]
    if part.shape.startswith("[0-9]"):
        return st.sampled_from(["80", "443", "65535"])
    made = {
        "status": st.integers(100, 599).map(str),
        "sent_bytes": st.integers(0, 10**18 - 1).map(str) | st.just("-"),
        "latency": st.integers(0, 10**6).map(str)
        | st.decimals(0, 10**4, places=3).map(str)
        | st.sampled_from(["-", "-1"]),
        "method": st.sampled_from(["GET", "POST", "get", "PROPFIND"]),
        "host": st.sampled_from(["10.0.0.1", "h.example.org", "fe80"]),
        "target": WORDS.map(lambda text: f"/{text}".replace(":", "")),
        "query": WORDS.map(lambda text: text.replace(":", "")) | st.just("-"),
        "request": st.builds("GET /{}{}".format, WORDS, st.sampled_from(["", " HTTP/1.1"])),
    }
    if part.role == "" and part.name in ("%l", "%u", "$remote_user"):
        return st.sampled_from(["-", "ann"])
    return made.get(part.role, st.none())


def _time(clock: times.Clock, moment: datetime) -> str:
    if clock.is_strftime:
        return moment.strftime(clock.form.replace("%b", "{}")).format(moment.strftime("%b"))
    micros = int(moment.timestamp() * 1_000_000)
    return {
        "iso": moment.isoformat().replace("+00:00", "Z"),
        "s": f"{micros // 10**6}.{micros % 10**6 // 1000:03}",
        "ms": str(micros // 1000),
        "us": str(micros),
        "fraction": f"{moment.microsecond // 1000:03}",
    }[clock.form]


JSON_VALUES = {
    TEXT: ANY_TEXT | WORDS,
    NUMBER: st.floats(0, 2e9, allow_nan=False) | st.integers(0, 2 * 10**9),
    "integer": st.integers(0, 999),
}


@st.composite
def json_lines(draw, format_: Json) -> str:
    """An object with values where the format looks for them, some of a type that it does not expect."""
    whole: dict = {}
    for name, (path, *_) in format_.paths.items():
        value = draw(JSON_VALUES[NAMES[name][0]])
        if name == "time":
            value = draw(MOMENTS).isoformat()
        elif name == "method":
            value = draw(st.sampled_from(["GET", "POST"]))
        if draw(st.integers(0, 30)) == 0:
            value = draw(
                st.sampled_from([None, True, 1.5, -1, 10**30, 1e300, "x", "", [], {}, ["a"], {"a": 1}])
            )
        at = whole
        for key, behind in pairwise(path):
            if behind.isdecimal():
                at[key] = [value, *draw(st.lists(st.just("more"), max_size=1))]
                break
            at = at.setdefault(key, {})
            if not isinstance(at, dict):
                break
        else:
            if isinstance(at, dict):
                at[path[-1]] = value
    separators = draw(st.sampled_from([(",", ":"), (", ", ": ")]))
    return json.dumps(whole, ensure_ascii=draw(st.booleans()), separators=separators)


HOSTILE = [
    '"', "\\", '\\"', '" ', " ", "[", "] ", "-", "\r", "\t", "\x00", "\\x", "\\x2", "\\u00",
    "\\ud800", "{", "}", "[[", ":", ",", "null", "1e999", "+", "%", "%2", "#", "200", "/", "HTTP/1.1",
    "\u00e9", "\u0085", "ms", "true", '"ts":1,',
]  # fmt: skip


@st.composite
def changed(draw, line: str) -> bytes:
    """A line with some places changed, as bytes."""
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, len(line)))
        end = min(len(line), first + draw(st.integers(0, 3)))
        line = line[:first] + draw(st.sampled_from(["", *HOSTILE])) + line[end:]
    made = line.replace("\n", "").encode()
    return made if draw(st.booleans()) else made.replace(b"\xc3", b"")
