"""What may be read as a source at all: files below some folders, servers at some addresses."""

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from logpipe.identity import REPAIR_PREFIX
from logpipe.replayer.errors import SourceError, SourceRefusedError
from logpipe.replayer.urls import SourceUrl, must_hold_no_secret
from logpipe.settings import Settings
from logpipe.settings.source_hosts import PUBLIC, SourceHosts, normal

_DESCRIPTORS = Path("/proc/self/fd")


def check_source(url: str, settings: Settings, replay_id: str = "") -> None:
    """Refuse what no server and no disk need be asked about.

    Raises:
        ValueError: it is no URL of a source, or holds a secret.
        SourceRefusedError: the file may not be read, or the server not be asked; see `FrontDoor`.
    """
    must_hold_no_secret(url)
    parsed, door = SourceUrl.parse(url), FrontDoor.of(settings, replay_id)
    if not parsed.scheme.startswith("http") and ("?" in url or "#" in url):
        raise ValueError(
            f"url {parsed.shown!r} names the file {parsed.path}, since a name ends at ? and #: write them as "
            "%3F and %23"
        )
    if parsed.scheme == "file":
        door.check(parsed.path)
    else:
        door.network.check_host(parsed.host, parsed.port_or_default)


class AddressRefusedError(OSError):
    """An address that may not be asked; the message names the setting."""


@dataclass(frozen=True, slots=True)
class NetworkDoor:
    """The servers that may be asked. What was checked is what is connected to: no name is looked up twice.

    Attributes:
        listed: by the operator.
        own: hosts and ports of the log that the settings name, the bundled one unless told otherwise.
    """

    listed: SourceHosts
    own: SourceHosts

    @classmethod
    def of(cls, settings: Settings) -> "NetworkDoor":
        """The door of the settings."""
        try:
            url = SourceUrl.parse(settings.replay_url)
        except ValueError:  # said by whoever replays it
            own = ""
        else:
            hosts = {url.host, settings.bind_address if url.host == settings.host else url.host}
            own = ",".join(f"[{host}]:{url.port_or_default}" for host in hosts if url.scheme != "file")
        return cls(SourceHosts.parse(settings.source_hosts), SourceHosts.parse(own))

    def check(self, host: str, port: int, address: str) -> None:
        """Look at an address before anything is sent to it.

        Raises:
            AddressRefusedError: it may not be asked.
        """
        if self.own.why_not(host, port, address) and (reason := self.listed.why_not(host, port, address)):
            raise AddressRefusedError(
                f"{reason}, which is not asked for a log: if it may be, add it to LOGPIPE_SOURCE_HOSTS "
                f"(now {self.listed.text!r}), as in {PUBLIC},{normal(host)}"
            )

    def check_host(self, host: str, port: int) -> None:
        """Look at a host before anything is opened; one whose name is not known is left to the reading.

        Raises:
            SourceRefusedError: it may not be asked at any of its addresses.
        """
        try:
            found = _addresses(host, port)
        except OSError:
            return
        refusals = []
        for address in found:
            try:
                self.check(host, port, address)
            except AddressRefusedError as error:
                refusals.append(str(error))
        if refusals and len(refusals) == len(found):
            raise SourceRefusedError(refusals[0])

    def connect(self, host: str, port: int, timeout_s: float) -> socket.socket:
        """Connect as `socket.create_connection` does, but to addresses that may be asked.

        Raises:
            AddressRefusedError: the host has no other address.
            OSError: it can't be reached.
        """
        failure: OSError | None = None
        for address in _addresses(host, port):
            try:
                self.check(host, port, address)
                return socket.create_connection((address, port), timeout_s)
            except OSError as error:
                if failure is None or isinstance(failure, AddressRefusedError):
                    failure = error
        raise failure or OSError(f"{host} has no address")


@dataclass(frozen=True, slots=True)
class FrontDoor:
    """The files that may be read: below a root, through no hidden folder, and not in the state folder.

    Attributes:
        roots: folders, links in them resolved.
        closed: the state folder, where secrets stand; None for a repair, whose lines it holds.
        network: the servers that may be asked.
    """

    roots: tuple[Path, ...]
    closed: Path | None
    network: NetworkDoor

    @classmethod
    def of(cls, settings: Settings, replay_id: str = "") -> "FrontDoor":
        """The door for a replay: that of the settings, or for a repair only its own folder."""
        state_dir, network = settings.state_dir.resolve(), NetworkDoor.of(settings)
        if replay_id.startswith(REPAIR_PREFIX):
            return cls((state_dir / "repairs",), None, network)
        return cls(tuple(root.resolve() for root in settings.file_root_folders), state_dir, network)

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


def _addresses(host: str, port: int) -> list[str]:
    return [str(place[0]) for *_, place in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
