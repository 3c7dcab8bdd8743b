"""The extended log format of the W3C: a line ``#Fields: …`` names what stands in the others.

IIS writes a blank within a header as ``+``; CloudFront parts its fields by tabs and writes with percents.
Times are UTC. https://www.w3.org/TR/WD-logfile.html
"""

from logpipe.formats import escapes
from logpipe.formats.fields import FormatError
from logpipe.formats.pattern import Field, Pattern
from logpipe.formats.times import Clock

_FEEDS = {
    "c-ip": ("host", 0),
    "cs-host": ("vhost", 1),
    "cs(Host)": ("vhost", 1),
    "x-host-header": ("vhost", 0),
    "cs-method": ("method", 0),
    "cs-uri": ("target", 0),
    "cs-uri-stem": ("target", 1),
    "cs-uri-query": ("query", 0),
    "sc-status": ("status", 0),
    "sc-bytes": ("sent_bytes", 0),
    "cs(Referer)": ("referrer", 0),
    "cs(User-Agent)": ("user_agent", 0),
    "ssl-protocol": ("tls_protocol", 0),
    "sc-content-type": ("content_type", 0),
}
_CLOCKS = {"date": Clock("%Y-%m-%d"), "time": Clock("%H:%M:%S")}


def compile_w3c(text: str) -> Pattern:
    """Compile a ``#Fields:`` line.

    Raises:
        FormatError: It names no fields, or no date and time.
    """
    names = text.strip().removeprefix("#Fields:").split()
    if not text.strip().startswith("#Fields:") or not names:
        raise FormatError(f"Line {text!r} names no fields, expected #Fields: date time c-ip …")
    cloudfront = any(name.startswith("x-edge-") for name in names)
    parts: list[str | Field] = []
    for name in names:
        parts += ["\t" if cloudfront else " "] if parts else []
        if name in _CLOCKS:
            parts.append(Field(name, "time", _CLOCKS[name]))
        elif name == "time-taken":
            parts.append(Field(name, "latency", unit="s" if cloudfront else "ms"))
        else:
            role, rank = _FEEDS.get(name, ("", 0))
            header = escapes.PERCENT if cloudfront else escapes.PLUS
            escape = header if role in ("referrer", "user_agent", "content_type") else escapes.NONE
            parts.append(Field(name, role, rank=rank, escape=escape))
    return Pattern(text, tuple(parts), escapes.NONE, comments=True)
