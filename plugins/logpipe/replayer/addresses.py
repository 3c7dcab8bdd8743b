"""What becomes of clients' addresses before a line leaves the replayer.

``keep`` changes nothing. ``shorten`` leaves the network: 24 bits of an IPv4 address, 48 of an IPv6 one, and
of a name the last two labels, or the last one of two; one without a dot is `NAMELESS`. ``hash`` puts ``h-``
and 16 hexadecimal digits of a keyed HMAC-SHA-256 in their place: equal ones stay equal under the same key.
"""

import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_network
from pathlib import Path
from typing import Any, NamedTuple

from logpipe.formats.addresses import Known, parse_address, treating
from logpipe.replayer.alone import alone
from logpipe.settings import AddressMode, Settings
from logpipe.settings.durable import replace_file
from logpipe.settings.unreadable import UNREADABLE

NAMELESS = b"host"
KEY_BYTES = 32
_HASH_DIGITS = 16
_LABELS = re.compile(rb"[0-9A-Za-z_-]+(?:\.[0-9A-Za-z_-]+)*\.?")

Treated = Callable[[Sequence[bytes]], list[bytes]]


class AddressKeyError(Exception):
    """A key is not there, or cannot be read; the message says which, where, and the way out."""


@dataclass(frozen=True, slots=True)
class Treatment:
    """What is done with a log's lines, fixed before the first one is sent.

    Attributes:
        mode: ``shorten`` or ``hash``.
        format_text: says where the addresses are.
        key: name of the key; empty where there is none.
    """

    mode: AddressMode
    format_text: str
    key: str = ""

    def __str__(self) -> str:
        return f"{self.mode}:{self.key}" if self.key else self.mode

    def to_json(self) -> dict[str, str]:
        """As JSON values."""
        return {"mode": self.mode, "format": self.format_text, "key": self.key}

    @classmethod
    def from_json(cls, values: Any) -> "Treatment | None":
        """Rebuild what `to_json` gave; None of None.

        Raises:
            KeyError, TypeError, ValueError: it is none.
        """
        if values is None:
            return None
        if values["mode"] not in ("shorten", "hash"):
            raise ValueError(f"addresses are treated by {values['mode']!r}, expected shorten or hash")
        return cls(values["mode"], str(values["format"]), str(values["key"]))


class _Stamp(NamedTuple):
    """What tells a file from every other that stood in its place."""

    inode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


def _stamp(of: os.stat_result) -> _Stamp:
    return _Stamp(of.st_ino, of.st_size, of.st_mtime_ns, of.st_ctime_ns)


def _is_settled(stamp: _Stamp) -> bool:
    return time.time() - stamp.modified_ns / 1e9 > _SETTLED_S


# A file that was written just now may be written once more without a later time.
_SETTLED_S = 1.0
_READ: dict[Path, tuple[_Stamp, tuple[str, dict[str, str]]]] = {}


class AddressKeys:
    """The keys of a copy, by name, in one file of mode 600: ``{"current": "k1", "keys": {"k1": "…"}}``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @classmethod
    def of(cls, settings: Settings) -> "AddressKeys":
        """Those of ``LOGPIPE_ADDRESS_KEYS_FILE``; by default of ``address_keys.json`` in the state folder."""
        given = settings.address_keys_file
        return cls(Path(given) if given else settings.state_dir.expanduser() / "address_keys.json")

    def current(self) -> str:
        """The name of the key that new logs take; the first one is made now."""
        current, _ = self._load()
        return current or self._made(is_first=True)

    def rotate(self) -> str:
        """Make a new key, which logs take that begin from now on; returns its name.

        Raises:
            AddressKeyError: the file cannot be written.
        """
        return self._made(is_first=False)

    def _made(self, *, is_first: bool) -> str:
        """Make a key, one at a time; of those that want the first one, one makes it."""
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with alone(self._path.parent):
                current, keys = self._load()
                if not (is_first and current):
                    current = f"k{max((int(each[1:]) for each in keys), default=0) + 1}"
                    keys = keys | {current: secrets.token_hex(KEY_BYTES)}
                    text = json.dumps({"current": current, "keys": keys}, indent=1)
                    replace_file(self._path, text, mode=0o600)
        except OSError as error:
            raise AddressKeyError(f"{self._path} cannot be written: {error.strerror}") from None
        return current

    def key(self, name: str) -> bytes:
        """A key; the file is read again only when it has changed.

        Raises:
            AddressKeyError: it is not there.
        """
        _, keys = self._load()
        if name not in keys:
            raise AddressKeyError(
                f"{self._path} has no key {name}, by which this log's addresses are hashed: copy the file of "
                "the host where the log was begun, or replay the log under another id"
            )
        return bytes.fromhex(keys[name])

    def hashes_of(self, text: bytes) -> dict[str, bytes]:
        """What each key makes of an address or a name, by the key's name."""
        return {name: hashed(text, bytes.fromhex(key)) for name, key in self._load()[1].items()}

    def _load(self) -> tuple[str, dict[str, str]]:
        """Which key is the current one, and all of them; none while there is no file.

        Raises:
            AddressKeyError: the file cannot be read, and nobody writes it just now.
        """
        give_up_at = time.monotonic() + _SETTLED_S
        while True:
            try:
                stamp = _stamp(os.stat(self._path))
                known = _READ.get(self._path)
                if known is None or known[0] != stamp:
                    with self._path.open() as file:
                        stamp = _stamp(os.fstat(file.fileno()))
                        known = stamp, _keys_of(file.read())
                    if _is_settled(stamp):
                        _READ[self._path] = known
                return known[1]
            except FileNotFoundError:
                return "", {}
            except (OSError, *UNREADABLE) as error:
                is_new = not isinstance(error, OSError) and not _is_settled(stamp)
                if is_new and time.monotonic() < give_up_at:  # a person who writes it may be halfway
                    time.sleep(0.05)
                    continue
                raise AddressKeyError(
                    f"{self._path} cannot be read ({error}): restore it, or move it away, and logs that are "
                    "hashed by its keys fail"
                ) from None


def _keys_of(text: str) -> tuple[str, dict[str, str]]:
    """The name of the current key, and all keys by name; raises one of `UNREADABLE`."""
    values = json.loads(text)
    keys = {str(name): str(key) for name, key in values["keys"].items()}
    if any(re.fullmatch(r"k[1-9][0-9]*", name) is None or not bytes.fromhex(keys[name]) for name in keys):
        raise ValueError("a name or a key has another form")
    return str(values["current"]), keys


def shortened(text: bytes) -> bytes:
    """The network of an address, or the end of a name."""
    address = parse_address(text)
    if address is not None:
        network = ip_network((address, 24 if address.version == 4 else 48), strict=False)
        return str(network.network_address).encode()
    if _LABELS.fullmatch(text) is None:
        return NAMELESS
    labels = text.rstrip(b".").split(b".")
    return b".".join(labels[-2:] if len(labels) > 2 else labels[1:]) or NAMELESS


def hashed(text: bytes, key: bytes) -> bytes:
    """A keyed hash of an address, however it is written, or of a name in any case."""
    address = parse_address(text)
    canonical = str(address).encode() if address is not None else text.lower().rstrip(b".")
    return b"h-" + hmac.digest(key, canonical, "sha256").hex()[:_HASH_DIGITS].encode()


@lru_cache(64)
def _treating(treatment: Treatment, key: bytes) -> Treated:
    def treat(text: bytes) -> bytes:
        return hashed(text, key) if treatment.mode == "hash" else shortened(text)

    return treating(treatment.format_text, Known(treat).__getitem__)


def treated(treatment: Treatment | None, settings: Settings) -> Treated:
    """What turns lines into those that are sent; None changes nothing.

    Raises:
        AddressKeyError: the key is not there.
    """
    if treatment is None:
        return list
    key = AddressKeys.of(settings).key(treatment.key) if treatment.key else b""
    return _treating(treatment, key)


def begun(mode: AddressMode, format_text: str, settings: Settings) -> Treatment | None:
    """What is done with a log that begins now; None: nothing.

    Raises:
        AddressKeyError: there is no key, and none can be made.
    """
    if mode == "keep":
        return None
    return Treatment(mode, format_text, AddressKeys.of(settings).current() if mode == "hash" else "")
