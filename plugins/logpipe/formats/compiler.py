"""From a server's own words to a format."""

import json
import re

from logpipe.formats.apache import compile_apache
from logpipe.formats.fields import FormatError
from logpipe.formats.json_lines import compile_json
from logpipe.formats.nginx import compile_nginx
from logpipe.formats.presets import Format, preset
from logpipe.formats.w3c import compile_w3c


def compile_format(text: str) -> Format:
    """Compile a format.

    Args:
        text: A preset's name; or an Apache ``LogFormat`` or nginx ``log_format``, its string or the whole
            directive; or a W3C line ``#Fields: …``; or a JSON object from `json_lines.NAMES` to places.

    Raises:
        FormatError: It says which part is wrong, where, and what is known.
    """
    text = text.strip()
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise FormatError(
            f"Format {text!r}: {text[error.start]!r} is half a character: no line holds it"
        ) from None
    if re.fullmatch(r"[\w-]*", text):
        return preset(text)
    if text.startswith("#"):
        return compile_w3c(text)
    if text.startswith("{") and (fields := _json_map(text)) is not None:
        return compile_json(fields, text)
    if text.startswith("log_format") or ("$" in text and "%" not in text):
        return compile_nginx(text, "json" if text.startswith("{") else "default")
    if "%" in text:
        return compile_apache(text)
    return preset(text)


def _json_map(text: str) -> dict[str, str] | None:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(fields, dict) or any(
        "$" in str(place) or "%" in str(place) for place in fields.values()
    ):
        return None  # a log_format of JSON
    return fields
