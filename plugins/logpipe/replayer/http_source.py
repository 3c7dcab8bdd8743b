"""Sources on web servers, by fsspec's streaming HTTP file.

A server that tells no length and does not send in chunks ends a file by closing the connection, which a
broken transfer does as well: see `logpipe.replayer.raw_reader`.

Content is taken as the server stores it: no transfer compression is asked for and none is undone, since a
gzip file is recognised by its own first bytes. There is no limit on the whole transfer's time (aiohttp's
default is five minutes), only one on silence.
"""

import contextlib
import io
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Any

import aiohttp
from aiohttp.abc import ResolveResult
from fsspec.exceptions import FSTimeoutError
from fsspec.implementations.http import HTTPFileSystem

from logpipe.replayer.errors import SourceChangedError, SourceError, SourceRefusedError
from logpipe.replayer.file_source import FileStream
from logpipe.replayer.front_door import AddressRefusedError, NetworkDoor
from logpipe.replayer.sources import NETWORK_TIMEOUT_S, SourceVersion, close_quietly
from logpipe.replayer.urls import Login, SourceUrl

_TRANSIENT_STATUSES = (408, 425, 429)
MAX_DIGITS = 18  # of a length
_RANGE_NOT_SATISFIABLE = 416


@contextlib.contextmanager
def http_errors(doing: str) -> Iterator[None]:
    """Turn what aiohttp and fsspec raise into `SourceError`."""
    try:
        yield
    except FileNotFoundError as error:
        raise SourceError("the web server has no such file (404 Not Found)") from error
    except aiohttp.ClientResponseError as error:
        if error.status in (401, 403):
            raise SourceError(
                f"the web server refused user or password ({error.status} {error.message})"
            ) from error
        transient = error.status >= 500 or error.status in _TRANSIENT_STATUSES
        raise SourceError(
            f"{doing} was refused by the web server ({error.status} {error.message})", transient=transient
        ) from error
    except aiohttp.ClientConnectorCertificateError as error:
        raise SourceError(
            f"the web server's certificate is not trusted ({error.certificate_error}): "
            "add its authority to the system, or name it in SSL_CERT_FILE"
        ) from error
    except aiohttp.InvalidURL as error:
        raise SourceError("the URL is not valid") from error
    except (aiohttp.ClientError, FSTimeoutError, OSError, ValueError) as error:
        if isinstance(error, aiohttp.ClientConnectorError) and isinstance(
            error.os_error, AddressRefusedError
        ):
            raise SourceRefusedError(str(error.os_error)) from error
        text = str(error) or f"nothing arrived in time ({type(error).__name__})"
        raise SourceError(f"{doing} failed: {text}", transient=True) from error


class HttpStream:
    """A running GET."""

    def __init__(self, files: HTTPFileSystem, file: Any, offset: int) -> None:
        self._files = files
        self._file = file
        headers = file.r.headers
        partial = file.r.status == 206
        self.start = offset if partial else 0
        self.version = SourceVersion(_size_bytes(headers, partial), _modified_at(headers))
        self.tells_end = "Content-Length" in headers or "Transfer-Encoding" in headers

    def read(self, max_bytes: int) -> bytes:
        """Bytes as they arrive."""
        with http_errors("the transfer"):
            received: bytes = self._file.read(max_bytes)
            return received

    def close(self) -> None:
        """Drop the connection."""
        close_quietly(self._file, _Session(self._files))


class _Session:
    def __init__(self, files: HTTPFileSystem) -> None:
        self._files = files

    def close(self) -> None:
        session = self._files._session
        if session is not None:
            self._files.close_session(self._files.loop, session)


class _CheckedResolver(aiohttp.ThreadedResolver):
    """Looks names up for a session, after a redirect as well, and gives only what may be asked."""

    def __init__(self, door: NetworkDoor) -> None:
        super().__init__()
        self._door = door
        self._given: set[tuple[str, int]] = set()

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a name.

        Raises:
            AddressRefusedError: none of them may be asked.
        """
        allowed, refusal = [], None
        for found in await super().resolve(host, port, family):
            try:
                self._door.check(host, port, found["host"])
            except AddressRefusedError as error:
                refusal = error
            else:
                allowed.append(found)
                self._given.add((found["host"], port))
        if refusal and not allowed:
            raise refusal
        return allowed

    def socket_to(self, address: tuple[Any, ...]) -> socket.socket:
        """A socket for an address that is about to be connected to; one that was no name is checked here."""
        family, kind, protocol, _, place = address
        host, port = str(place[0]), int(place[1])
        if (host, port) not in self._given:
            self._door.check(host, port, host)
        return socket.socket(family, kind, protocol)


def _client_through(door: NetworkDoor) -> Callable[..., Awaitable[aiohttp.ClientSession]]:
    async def client(**options: Any) -> aiohttp.ClientSession:
        resolver = _CheckedResolver(door)
        connector = aiohttp.TCPConnector(resolver=resolver, socket_factory=resolver.socket_to)
        return aiohttp.ClientSession(connector=connector, **options)

    return client


class HttpSource:
    """A file named by an http:// or https:// URL; user and password become basic authentication."""

    def __init__(
        self, url: SourceUrl, login: Login | None, door: NetworkDoor, timeout_s: float = NETWORK_TIMEOUT_S
    ) -> None:
        self._url = url
        self._door = door
        self._login = login or (Login(url.user, "") if url.user is not None else None)
        self._timeout_s = timeout_s

    def open(self, offset: int) -> HttpStream | FileStream:
        """Send the GET, with a Range from the offset on."""
        files = HTTPFileSystem(
            get_client=_client_through(self._door),
            client_kwargs={
                "auto_decompress": False,
                "timeout": aiohttp.ClientTimeout(
                    total=None, sock_connect=self._timeout_s, sock_read=self._timeout_s
                ),
            },
            skip_instance_cache=True,
        )
        headers = {"Accept-Encoding": "identity"}
        if self._login and self._login.user:  # aiohttp drops it where a redirect leads to another host
            headers["Authorization"] = aiohttp.encode_basic_auth(self._login.user, self._login.password)
        if offset:
            headers["Range"] = f"bytes={offset}-"
        try:
            with http_errors("asking for the file"):
                # A size is passed so that fsspec does not ask for it by a request of its own.
                asked = self._url.asked(self._login.query if self._login else "")
                file = files.open(asked, "rb", block_size=0, size=1, headers=headers)
        except BaseException as error:
            close_quietly(_Session(files))
            refusal = error.__cause__
            if isinstance(refusal, aiohttp.ClientResponseError) and refusal.status == _RANGE_NOT_SATISFIABLE:
                return _behind_the_end(offset, refusal.headers or {})
            raise
        return HttpStream(files, file, offset)


def _behind_the_end(offset: int, headers: Any) -> FileStream:
    """What a server gives that has nothing from the offset on."""
    version = SourceVersion(_size_bytes(headers, partial=True), _modified_at(headers))
    if version.size_bytes is not None and version.size_bytes != offset:
        raise SourceChangedError(
            f"the source changed since this replay began: {offset} bytes were read, it is now {version}; "
            "replay the new one under another replay_id"
        )
    return FileStream(io.BytesIO(), version, offset)


def _size_bytes(headers: Any, partial: bool) -> int | None:
    text = (
        headers.get("Content-Range", "").rpartition("/")[2] if partial else headers.get("Content-Length", "")
    )
    return int(text) if text.isdecimal() and len(text) <= MAX_DIGITS else None


def _modified_at(headers: Any) -> str | None:
    try:
        return parsedate_to_datetime(headers["Last-Modified"]).astimezone(UTC).isoformat()
    except (KeyError, ValueError, OverflowError):
        return None
