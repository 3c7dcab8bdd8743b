"""Servers on loopback that answer as they are told, and the product's clients of them.

An input is a script. FTP: replies, one a command, ``\\x00`` between them, the last one for all that come
after; ``{data}`` is the place of the data channel, whose bytes follow the first ``\\x01``. HTTP: the bytes of
the whole answer. Each connection is answered alike, then closed.
"""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

from logpipe.replayer.errors import SourceError
from logpipe.replayer.front_door import NetworkDoor
from logpipe.replayer.ftp_source import FtpSource
from logpipe.replayer.http_source import HttpSource
from logpipe.replayer.sources import Source
from logpipe.replayer.urls import SourceUrl
from logpipe.settings.source_hosts import SourceHosts

TIMEOUT_S = 0.3  # without a byte
MOST_BYTES = 8 << 20  # that are read of an answer
ENDLESS = b"{endless}"  # what stands before it is sent again and again
_ENDLESS_BYTES = 48 << 20


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """A server that answers each connection in a thread of its own; gives the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def one(connection: socket.socket) -> None:
        connection.settimeout(2)
        with connection, contextlib.suppress(OSError):
            answer(connection)

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(connection,), daemon=True))
            threads[-1].start()

    server = threading.Thread(target=serve, daemon=True)
    server.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        server.join()
        for thread in threads:
            thread.join()


def send(connection: socket.socket, content: bytes) -> None:
    """Send a text, which may have no end."""
    before, endless, behind = content.partition(ENDLESS)
    connection.sendall(before)
    if endless:
        piece = (before[-64:] or b"x") * 256
        for _ in range(_ENDLESS_BYTES // len(piece)):
            connection.sendall(piece)
    connection.sendall(behind)


def read_all(source: Source) -> None:
    """What comes is bounded by what was asked for at a time."""
    stream = source.open(0)
    try:
        done = 0
        while done < MOST_BYTES and (block := stream.read(65536)):
            assert len(block) <= 65536
            done += len(block)
    finally:
        stream.close()


def read_http(content: bytes) -> None:
    """Ask a web server that answers just this."""

    def answer(connection: socket.socket) -> None:
        connection.recv(65536)
        send(connection, content)

    with serving(answer) as port:
        url = SourceUrl.parse(f"http://127.0.0.1:{port}/log")
        with _told(url):
            read_all(HttpSource(url, None, door(f"127.0.0.1:{port}"), TIMEOUT_S))


def read_ftp(content: bytes) -> None:
    """Ask an FTP server that answers just this."""
    told, _, data = content.partition(b"\x01")
    replies = told.split(b"\x00")
    with serving(lambda connection: send(connection, data)) as data_port:

        def answer(connection: socket.socket) -> None:
            at = 0
            while True:
                place = b"127,0,0,1,%d,%d" % divmod(data_port, 256)
                reply = replies[min(at, len(replies) - 1)]
                reply = reply.replace(b"{data}", place).replace(b"{port}", b"%d" % data_port)
                send(connection, reply + b"\r\n")
                at += 1
                if at > 50 or not connection.recv(4096):
                    return

        with serving(answer) as port:
            url = SourceUrl.parse(f"ftp://127.0.0.1:{port}/log")
            with _told(url):
                read_all(FtpSource(url, None, door("127.0.0.1"), TIMEOUT_S))


@contextlib.contextmanager
def _told(url: SourceUrl) -> Iterator[None]:
    """What an error tells of a server's words is one line, and not long."""
    del url
    try:
        yield
    except SourceError as error:
        if len(error.reason) > 2000 or any(ord(sign) < 32 for sign in error.reason):
            raise AssertionError(f"{len(error.reason)} characters: {error.reason[:200]!r}") from error
        raise


def door(listed: str) -> NetworkDoor:
    """Leads to one server only."""
    return NetworkDoor(SourceHosts.parse(listed), SourceHosts.parse(listed))
