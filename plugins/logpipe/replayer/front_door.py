"""What may be read as a source at all: files below some folders, and no address of the link itself."""

import os
import socket
import stat
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from pathlib import Path

from logpipe.identity import REPAIR_PREFIX
from logpipe.replayer.errors import SourceError, SourceRefusedError
from logpipe.replayer.urls import SourceUrl
from logpipe.settings import Settings

_DESCRIPTORS = Path("/proc/self/fd")


def check_source(url: str, settings: Settings, replay_id: str = "") -> None:
    """Refuse what no server and no disk need be asked about.

    Raises:
        ValueError: it is no URL of a source, or holds a password.
        SourceRefusedError: the file may not be read; see `FrontDoor`.
    """
    parsed = SourceUrl.parse(url)
    if parsed.scheme == "file":
        FrontDoor.of(settings, replay_id).check(parsed.path)


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """The files that may be read: below a root, through no hidden folder, and not in the state folder.

    Attributes:
        roots: folders, links in them resolved.
        closed: the state folder, where secrets stand; None for a repair, whose lines it holds.
    """

    roots: tuple[Path, ...]
    closed: Path | None

    @classmethod
    def of(cls, settings: Settings, replay_id: str = "") -> "FrontDoor":
        """The door for a replay: that of the settings, or for a repair only its own folder."""
        state_dir = settings.state_dir.resolve()
        if replay_id.startswith(REPAIR_PREFIX):
            return cls((state_dir / "repairs",), None)
        return cls(tuple(root.resolve() for root in settings.file_root_folders), state_dir)

    def check(self, path: str) -> Path:
        """Resolve a path's links; tells nothing of what stands where nobody may read.

        Raises:
            SourceRefusedError: the file may not be read; the message names the setting.
        """
        real = Path(os.path.realpath(path))
        if self.closed is not None and real.is_relative_to(self.closed):
            raise SourceRefusedError(
                f"{path} stands in the state folder, of which nothing is replayed: copy it to a folder of "
                "LOGPIPE_FILE_ROOTS"
            )
        below = [real.relative_to(root).parts for root in self.roots if real.is_relative_to(root)]
        if not below:
            raise SourceRefusedError(
                f"{path} stands in none of the folders {':'.join(map(str, self.roots))}: move it there, or "
                "name its folder in LOGPIPE_FILE_ROOTS (folders with colons between them)"
            )
        if all(any(part.startswith(".") for part in parts) for parts in below):
            raise SourceRefusedError(
                f"{path} is hidden or stands in a hidden folder (its name begins with a dot): move it, or "
                "name that folder in LOGPIPE_FILE_ROOTS"
            )
        return real

    def open(self, path: str) -> tuple[int, os.stat_result]:
        """Open a file for reading; what was checked is what is read, whatever is renamed meanwhile.

        Returns:
            The descriptor, and what it is open on.

        Raises:
            SourceRefusedError: see `check`.
            SourceError: it is no file.
            OSError: it can't be opened.
        """
        descriptor = os.open(self.check(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            self.check(os.readlink(_DESCRIPTORS / str(descriptor)))
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                kind = "directory" if stat.S_ISDIR(status.st_mode) else "device or pipe"
                raise SourceError(f"{path} is a {kind}, not a file")
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor, status


class LinkLocalAddressError(OSError):
    """An address of the link itself (169.254.0.0/16, fe80::/10), where clouds tell a machine's secrets."""


def must_not_be_link_local(address: str) -> None:
    """Refuse an address before anything is sent to it.

    Raises:
        LinkLocalAddressError: it belongs to the link.
    """
    found = ip_address(address)
    if isinstance(found, IPv6Address) and found.ipv4_mapped:
        found = found.ipv4_mapped
    if found.is_link_local:
        raise LinkLocalAddressError(f"{address} is a link-local address, which is never asked for a log")


def connect(host: str, port: int, timeout_s: float) -> socket.socket:
    """Connect as `socket.create_connection` does, but to no link-local address.

    Raises:
        LinkLocalAddressError: the host has no other address.
        OSError: it can't be reached.
    """
    failure: OSError | None = None
    for *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        try:
            must_not_be_link_local(str(address[0]))
            return socket.create_connection((str(address[0]), port), timeout_s)
        except OSError as error:
            failure = failure or error
    raise failure or OSError(f"{host} has no address")
