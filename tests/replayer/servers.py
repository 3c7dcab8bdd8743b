"""Real FTP, FTPS and web servers that can be slow, drop transfers and forget how to seek."""

import base64
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.filesystems import AbstractedFS
from pyftpdlib.handlers import DTPHandler, FTPHandler, ThrottledDTPHandler, TLS_FTPHandler
from pyftpdlib.servers import FTPServer

from logpipe.replayer.urls import Login

USER, USER_PASSWORD = "reader", "s@cret"
LOGIN = Login(USER, USER_PASSWORD)


class Faults:
    """What a server does wrong; tests change it while it runs.

    Attributes:
        drops_left: so many transfers are broken off after ``drop_after_bytes``.
    """

    def __init__(self) -> None:
        self.drops_left = 0
        self.drop_after_bytes = 0
        self.transfers = 0
        self.ranges: list[int] = []
        self.queries: list[str] = []


class _DroppingFile:
    """A file that fails on the way; pyftpdlib then breaks the transfer off."""

    def __init__(self, file: Any, faults: Faults) -> None:
        self._file = file
        self._faults = faults
        self._given = 0
        self._drops = faults.drops_left > 0

    def read(self, size: int = -1) -> bytes:
        if self._drops:
            room = self._faults.drop_after_bytes - self._given
            if room <= 0:
                self._faults.drops_left -= 1
                raise OSError("dropped by the test")
            size = min(size, room)
        block: bytes = self._file.read(size)
        self._given += len(block)
        return block

    def seek(self, offset: int) -> None:
        self._faults.ranges.append(offset)
        self._file.seek(offset)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


@contextmanager
def ftp_server(
    folder: Path,
    faults: Faults,
    *,
    certificate: Path | None = None,
    bytes_per_s: int = 0,
    can_seek: bool = True,
    tells_size: bool = True,
    says_it_is_at: str | None = None,
) -> Iterator[int]:
    """Serves a folder to one user; gives the port."""
    logging.getLogger("pyftpdlib").setLevel(logging.CRITICAL)

    class Files(AbstractedFS):  # type: ignore[misc]
        def open(self, filename: str, mode: str) -> Any:
            faults.transfers += 1
            return _DroppingFile(super().open(filename, mode), faults)

    base = TLS_FTPHandler if certificate else FTPHandler
    commands = dict(base.proto_cmds)
    if not can_seek:
        del commands["REST"]
    if not tells_size:
        del commands["SIZE"]
    authorizer = DummyAuthorizer()
    authorizer.add_user(USER, USER_PASSWORD, str(folder))
    attributes: dict[str, Any] = {
        "authorizer": authorizer, "abstracted_fs": Files, "use_sendfile": False, "proto_cmds": commands,
        "masquerade_address": says_it_is_at,
    }  # fmt: skip
    if certificate:
        attributes |= {"certfile": str(certificate), "tls_control_required": True, "tls_data_required": True}
    else:
        channel = ThrottledDTPHandler if bytes_per_s else DTPHandler
        limits = {"read_limit": bytes_per_s, "write_limit": bytes_per_s} if bytes_per_s else {}
        attributes["dtp_handler"] = type(
            "Channel", (channel,), {**limits, "ac_out_buffer_size": 1024} if limits else {}
        )
    server = FTPServer(("localhost", 0), type("Handler", (base,), attributes))
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            server.serve_forever(timeout=0.02, blocking=False)
        server.close_all()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield server.address[1]
    finally:
        ended.set()
        thread.join()


@contextmanager
def web_server(
    folder: Path,
    faults: Faults,
    *,
    can_seek: bool = True,
    status: int = 0,
    end: Literal["length", "chunks", "close"] = "length",
    redirect_to: str = "",
    port: int = 0,
) -> Iterator[int]:
    """Serves a folder to one user; gives the port.

    Args:
        status: every request is answered by it; 0: none.
        end: how a client learns where a file ends.
        redirect_to: where every request is sent on to.
        port: 0: any.
    """
    token = "Basic " + base64.b64encode(f"{USER}:{USER_PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            name, _, query = self.path.partition("?")
            path = folder / name.lstrip("/")
            if query:
                faults.queries.append(query)
            if self.headers.get("Authorization") != token:
                return self.send_error(401)
            if redirect_to:
                self.send_response(302)
                self.send_header("Location", redirect_to)
                self.send_header("Content-Length", "0")
                return self.end_headers()
            if status:
                return self.send_error(status)
            if not path.is_file():
                return self.send_error(404)
            content = path.read_bytes()
            begin = 0
            self.protocol_version = "HTTP/1.0" if end == "close" else "HTTP/1.1"
            if can_seek and (wanted := self.headers.get("Range")):
                begin = int(wanted.removeprefix("bytes=").removesuffix("-"))
                faults.ranges.append(begin)
                if begin >= len(content):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(content)}")
                    self.send_header("Content-Length", "0")
                    return self.end_headers()
                self.send_response(206)
                total = len(content) if end == "length" else "*"
                self.send_header("Content-Range", f"bytes {begin}-{len(content) - 1}/{total}")
            else:
                self.send_response(200)
            if end == "length":
                self.send_header("Content-Length", str(len(content) - begin))
            elif end == "chunks":
                self.send_header("Transfer-Encoding", "chunked")
            self.send_header("Last-Modified", self.date_time_string(int(path.stat().st_mtime)))
            self.end_headers()
            faults.transfers += 1
            content = content[begin:]
            drops = faults.drops_left > 0
            if drops:
                faults.drops_left -= 1
                content = content[: faults.drop_after_bytes]
            self.close_connection = drops or end == "close"
            if end == "chunks":
                content = b"%x\r\n%b\r\n" % (len(content), content) + (b"" if drops else b"0\r\n\r\n")
            self.wfile.write(content)
            return None

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            """Nothing."""

    server = ThreadingHTTPServer(("localhost", port), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def write_certificate(path: Path) -> None:
    """A certificate for localhost, signed by itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
