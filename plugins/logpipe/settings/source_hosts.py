"""Which servers may be asked for a log: by name, and by the address that a connection goes to."""

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

PUBLIC = "public"  # stands in a list for every address that the whole Internet reaches

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

_ENTRY = re.compile(r"(?P<host>\[[^\]]+\]|[^\[\]:/]+(?:/\d+)?|[0-9a-f:.]+(?:/\d+)?)(?::(?P<port>\d{1,5}))?")
_NAME = re.compile(r"[a-z0-9_](?:[a-z0-9_.-]*[a-z0-9_])?")
_NAT64 = IPv6Network("64:ff9b::/96")
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # all that IANA has given out; what is not in it is somebody's own


@dataclass(frozen=True, slots=True)
class SourceHosts:
    """A list of servers.

    Attributes:
        text: as it was written.
        has_public: whether every public address is on it.
        networks: addresses, each with its port or None for all.
        names: of hosts, in lower case, the same way.
    """

    text: str
    has_public: bool
    networks: tuple[tuple[Network, int | None], ...]
    names: tuple[tuple[str, int | None], ...]

    @classmethod
    def parse(cls, text: str) -> "SourceHosts":
        """Read ``public``, names, addresses and networks, with commas; each may end in ``:port``.

        Raises:
            ValueError: an entry is none of these; the message names it.
        """
        networks, names, has_public = [], [], False
        for entry in filter(None, (part.strip().lower() for part in text.split(","))):
            if entry == PUBLIC:
                has_public = True
                continue
            found = _ENTRY.fullmatch(entry)
            port = int(found["port"]) if found and found["port"] else None
            host = found["host"].strip("[]") if found else ""
            try:
                networks.append((ip_network(host), port))
            except ValueError as error:
                name = normal(host)
                is_number = bool(re.fullmatch(r"[\d./]+", host)) or ":" in host
                if is_number or not _NAME.fullmatch(name) or port == 0:
                    raise ValueError(
                        f"{entry!r} is no host ({error}), expected {PUBLIC}, names, addresses and networks "
                        "with commas between them, such as public,logs.intern,10.1.0.0/16,[fd00::7]:8080"
                    ) from None
                names.append((name, port))
        return cls(text, has_public, tuple(networks), tuple(names))

    def why_not(self, host: str, port: int, address: str) -> str:
        """Why a host may not be asked at an address, as a clause; empty when it may.

        A name that is listed vouches for what it resolves to, but for addresses that mean this machine's
        own link, none or many: those have to be listed themselves. Addresses that carry another one
        (IPv4-mapped, NAT64, 6to4) are that one.
        """
        found = ip_address(address)
        forms = {found, carried(found)}
        if any(
            wanted in (None, port) and any(each in network for each in forms)
            for network, wanted in self.networks
        ):
            return ""
        inner = carried(found)
        kind = _kind(inner)
        is_named = any(name == normal(host) and wanted in (None, port) for name, wanted in self.names)
        if is_named and kind not in ("a link-local", "a multicast", "an unspecified"):
            return ""
        if not kind:
            return "" if self.has_public else f"{shown(host, address)} is not among {self.text or 'these'}"
        return f"{shown(host, address)} is {kind} address"


def normal(host: str) -> str:
    """A host's name as it is compared: in lower case, as in DNS, without the dot of the root."""
    host = host.lower().rstrip(".")
    try:
        return host.encode("idna").decode()
    except UnicodeError:
        return host


def shown(host: str, address: str) -> str:
    """A host with its address, for a person."""
    return address if host.strip("[]") == address else f"{host} ({address})"


def carried(address: Address) -> Address:
    """The IPv4 address that an IPv6 address stands for, or else the address."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped or address.sixtofour:
            return address.ipv4_mapped or address.sixtofour or address
        if address in _NAT64:
            return IPv4Address(int(address) & 0xFFFFFFFF)
    return address


def _kind(address: Address) -> str:
    """What keeps an address from being public; empty when it is."""
    if address.is_unspecified:
        return "an unspecified"
    if address.is_loopback:
        return "a loopback"
    if address.is_link_local:
        return "a link-local"
    if address.is_multicast:
        return "a multicast"
    is_outside = isinstance(address, IPv6Address) and address not in _GLOBAL_UNICAST
    return "a private or reserved" if is_outside or not address.is_global else ""
