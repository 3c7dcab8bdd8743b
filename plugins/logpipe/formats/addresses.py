"""Where lines hold the addresses of clients, by their format, and what to look for where it does not say.

A *treat* is given the bytes of a client's address or name, and gives those that take their place. It is
called for all that a format's fields hold:

- the client, however the server calls it (``%h``, ``%a``, ``$remote_addr``, ``c-ip``, JSON's ``host``);
- the addresses within fields that hold those of proxies (``X-Forwarded-For`` and its kin);
- of a line that is not as the format says up to its time: whatever parses as an address.

Nothing is looked for in the request, the referrer, the agent, or a user's name.
"""

import re
from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from logpipe.formats.compiler import compile_format
from logpipe.formats.json_lines import Json
from logpipe.formats.pattern import Field, Pattern

Treat = Callable[[bytes], bytes]
Lines = Callable[[Sequence[bytes]], list[bytes]]

_KNOWN = 50_000  # texts whose replacement is kept
_PROXIED = re.compile(
    r"x[-_]forwarded[-_]for|(?:^|[^a-z])forwarded(?:$|[^a-z])|real[-_]?ip|proxy_protocol_addr"
    r"|(?:client|connecting)[-_](?:ip|addr)|clientaddr",
    re.IGNORECASE,
)
_PROXIED_KEYS = (  # of JSON, in lower case
    "client_ip", "remote_ip", "remote_addr", "clientaddr", "clienthost", "x-forwarded-for", "x-real-ip",
    "request_x-forwarded-for", "request_x-real-ip", "http_x_forwarded_for", "http_x_real_ip", "forwarded",
    "request_forwarded", "realip_remote_addr", "proxy_protocol_addr",
)  # fmt: skip
_TOKEN = re.compile(rb"(?<![0-9A-Za-z_.:-])[0-9A-Fa-f.:]{2,45}+(?![0-9A-Za-z_-])")
_WITH_PORT = re.compile(rb"(?s)\[([0-9A-Fa-f.:]{2,45})\](.*)|([0-9.]{7,15})(:[0-9]{1,5})")
_JSON_STRING = rb'"(?:[^"\\]|\\.)*+"'
_JSON_VALUE = re.compile(rb"(?s)\s*+:\s*+(\[[^\]]*+\]|" + _JSON_STRING + rb")")
_JSON_CLIENT = re.compile(rb'(?s)\s*+:\s*+\[?\s*+"((?:[^"\\]|\\.)*+)"')
# Where nothing is escaped, as `Pattern` reads it: the client ends at the first blank, and a time comes.
_ANY_SERVERS = re.compile(rb'(?s)([^ ]++)(?=(?: (?!\[)[^ ]*+)*+ \[(?:[^\]]++|\](?! "))*+\] ")')


class Known(dict[bytes, bytes]):
    """What became of texts, as long as there are not too many."""

    def __init__(self, make: Treat) -> None:
        super().__init__()
        self._make = make

    def __missing__(self, text: bytes) -> bytes:
        if len(self) >= _KNOWN:
            self.clear()
        made = self[text] = self._make(text)
        return made


def parse_address(text: bytes) -> IPv4Address | IPv6Address | None:
    """An address as logs have it, IPv4 also where it is written as IPv6; None: it is none."""
    try:
        found = ip_address(text.decode("ascii"))
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def within(text: bytes, treat: Treat) -> bytes:
    """Have each token that parses as an address treated, one with a port too, and leave the rest."""

    def treated(match: re.Match[bytes]) -> bytes:
        token = match[0]
        for found in (token, token.rstrip(b".:")):
            port = _WITH_PORT.fullmatch(found)
            address = port[3] if port is not None else found
            if address and parse_address(address) is not None:
                return treat(address) + token[len(address) :]
        return token

    return _TOKEN.sub(treated, text)


def client(text: bytes, treat: Treat) -> bytes:
    """Have a client treated: an address, one with a port, or a name; ``-`` stands for none."""
    if text in (b"-", b""):
        return text
    port = _WITH_PORT.fullmatch(text)
    if port is None:
        return treat(text)
    return b"[" + treat(port[1]) + b"]" + port[2] if port[1] else treat(port[3]) + port[4]


def treating(format_text: str, treat: Treat) -> Lines:
    """What treats the addresses in lines of a format, in the words of `compiler.compile_format`.

    Raises:
        FormatError: there is no such format.
    """
    compiled = compile_format(format_text)
    clients = Known(lambda text: client(text, treat))
    if isinstance(compiled, Json):
        return _of_json(compiled, clients.__getitem__, treat)
    return _of_pattern(compiled, clients, treat)


def _of_pattern(pattern: Pattern, clients: Known, treat: Treat) -> Lines:
    parts = [(index, part) for index, part in enumerate(pattern.parts) if isinstance(part, Field)]
    hosts = [index for index, part in parts if part.role == "host"]
    proxies = [index for index, part in parts if part.role == "" and _PROXIED.search(part.name)]
    places = sorted([*hosts, *proxies])
    if not places:
        return lambda lines: [within(line, treat) for line in lines]
    clocks = [index for index, part in parts if part.clock is not None]
    if pattern.unescaped and places == [0]:
        match = _ANY_SERVERS.match
    else:
        match = _begin(pattern, max(places[-1], *clocks[:1], 0), places).match
    comments = pattern.comments

    def first(lines: Sequence[bytes]) -> list[bytes]:
        return [
            clients[found[1]] + line[found.end() :] if (found := match(line)) else within(line, treat)
            for line in lines
        ]

    def some(lines: Sequence[bytes]) -> list[bytes]:
        return [line if comments and line.startswith(b"#") else changed(line) for line in lines]

    def changed(line: bytes) -> bytes:
        found = match(line)
        if found is None:
            return within(line, treat)
        pieces, at = [], 0
        for group, index in enumerate(places, 1):
            begin, end = found.span(group)
            if begin >= 0:
                text = found[group]
                pieces += [line[at:begin], clients[text] if index in hosts else within(text, treat)]
                at = end
        return b"".join([*pieces, line[at:]])

    return first if pattern.unescaped and places == [0] else some


def _begin(pattern: Pattern, last: int, places: Sequence[int]) -> re.Pattern[bytes]:
    """A line up to a field and what ends it; a group for each of the fields at some places."""
    pieces = []
    for index, part in enumerate(pattern.parts[: last + 1]):
        if isinstance(part, str):
            pieces.append(re.escape(part))
        else:
            text = part.shape if part.shape and not part.role else pattern.until(index, part)
            pieces.append(f"({text})" if index in places else f"(?:{text})")
    behind = pattern.literal_behind(last)
    pieces.append(f"(?={re.escape(behind)})" if behind else "")
    # Bytes as they stand in a line: what is no ASCII is what UTF-8 makes of it.
    return re.compile("".join(pieces).encode(), re.DOTALL)


def _of_json(format_: Json, clients: Treat, treat: Treat) -> Lines:
    own = {path[-1] if not path[-1].isdecimal() else path[-2] for path in format_.paths.get("host", ())}
    keys = [(f'"{key}"'.lower().encode(), True) for key in sorted(own)]
    keys += [(f'"{key}"'.encode(), False) for key in _PROXIED_KEYS if key not in map(str.lower, own)]

    def changed(line: bytes) -> bytes:
        if not line.startswith(b"{"):
            return within(line, treat)
        lower = line.lower()
        found: list[tuple[int, int, bytes]] = []
        for key, is_client in keys:
            at = lower.find(key)
            while at >= 0:
                at += len(key)
                value = (_JSON_CLIENT if is_client else _JSON_VALUE).match(line, at)
                if value is not None:
                    made = clients(value[1]) if is_client else within(value[1], treat)
                    found.append((*value.span(1), made))
                at = lower.find(key, at)
        pieces, at = [], 0
        for begin, end, made in sorted(found):
            pieces += [line[at:begin], made]
            at = end
        return b"".join([*pieces, line[at:]]) if found else line

    return lambda lines: [changed(line) for line in lines]
