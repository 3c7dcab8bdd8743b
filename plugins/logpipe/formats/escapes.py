"""How servers write what would break their lines: each way with what undoes it."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote_to_bytes

from logpipe.formats.fields import line_text

_LETTERS = {
    b"b": b"\b",
    b"f": b"\f",
    b"n": b"\n",
    b"r": b"\r",
    b"t": b"\t",
    b"v": b"\v",
    b'"': b'"',
    b"\\": b"\\",
}
_APACHE = re.compile(rb'\\(?:x([0-9A-Fa-f]{2})|([bfnrtv"\\]))')
_NGINX = re.compile(rb"\\x([0-9A-Fa-f]{2})()")
_JSON = re.compile(
    r'\\(?:["\\/bfnrt]|u[dD][89abAB][0-9A-Fa-f]{2}\\u[dD][c-fC-F][0-9A-Fa-f]{2}|u[0-9A-Fa-f]{4})'
)
_LONE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True)
class Escape:
    """A way to write what would break a line.

    Attributes:
        name: For messages.
        mark: The character that begins an escape; empty where there is none.
        decode: Undoes it; what is no escape stays as it is.
        guards: Whether the mark also keeps the character behind it from ending a field.
    """

    name: str
    mark: str
    decode: Callable[[str], str]
    guards: bool = False


def _from_bytes(text: str, raw: re.Pattern[bytes]) -> str:
    """Undo escapes of bytes: what comes out is UTF-8 where that is valid, else Latin-1, as a line is."""
    encoded = text.encode()
    if raw.search(encoded) is None:
        return text
    return line_text(
        raw.sub(lambda match: bytes.fromhex(match[1].decode()) if match[1] else _LETTERS[match[2]], encoded)
    )


def _from_json(text: str) -> str:
    decoded = _JSON.sub(lambda match: str(json.loads(f'"{match[0]}"')), text)
    return _LONE.sub("\ufffd", decoded)


def _from_percent(text: str) -> str:
    return line_text(unquote_to_bytes(text)) if "%" in text else text


NONE = Escape("none", "", str)
APACHE = Escape("apache", "\\", lambda text: _from_bytes(text, _APACHE), guards=True)
NGINX = Escape("default", "\\", lambda text: _from_bytes(text, _NGINX), guards=True)
JSON = Escape("json", "\\", _from_json, guards=True)
PERCENT = Escape("percent", "%", _from_percent)
PLUS = Escape("plus", "+", lambda text: text.replace("+", " "))
