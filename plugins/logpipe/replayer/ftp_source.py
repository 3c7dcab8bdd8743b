"""Sources on FTP servers, plain or with TLS (explicit, AUTH TLS).

Connection and login are fsspec's. Its file object is not used: it asks for each block by a RETR of its own,
broken off by ABOR, and loses a block when the transfer drops. Here one RETR (after REST) streams the file.
Transfers are passive, which works through firewalls and address translation.
"""

import contextlib
import ftplib
import socket
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from ftplib import FTP
from typing import Any

from fsspec.implementations.ftp import FTPFileSystem

from logpipe.replayer.errors import SourceError, SourceRefusedError
from logpipe.replayer.front_door import AddressRefusedError, NetworkDoor
from logpipe.replayer.sources import NETWORK_TIMEOUT_S, SourceVersion, close_quietly
from logpipe.replayer.urls import Login, SourceUrl

MAX_REPLY_CHARACTERS = 64 << 10
_NOT_LOGGED_IN = "530"
_NO_FILE = "550"
_NOT_SUPPORTED = ("500", "501", "502", "503", "504")


@contextlib.contextmanager
def ftp_errors(doing: str) -> Iterator[None]:
    """Turn what ftplib and sockets raise into `SourceError`; 5xx replies are final, the rest is transient.

    ftplib raises ValueError and OverflowError where a reply has text for a number, or a number that is none.
    """
    try:
        yield
    except ftplib.error_perm as error:
        reply = str(error)
        if reply.startswith(_NOT_LOGGED_IN):
            raise SourceError(f"the FTP server refused user or password ({reply})") from error
        if reply.startswith(_NO_FILE):
            raise SourceError(
                f"the FTP server has no such file, or does not let it be read ({reply})"
            ) from error
        raise SourceError(f"{doing} was refused by the FTP server ({reply})") from error
    except AddressRefusedError as error:
        raise SourceRefusedError(str(error)) from error
    except ssl.SSLCertVerificationError as error:
        raise SourceError(
            f"the FTP server's certificate is not trusted ({error.verify_message}): "
            "add its authority to the system, or name it in SSL_CERT_FILE"
        ) from error
    except socket.gaierror as error:
        raise SourceError(
            f"the FTP server's name is not known ({error.strerror})",
            transient=error.errno == socket.EAI_AGAIN,
        ) from error
    except (ftplib.Error, EOFError, OSError, ValueError, OverflowError) as error:
        text = str(error) or "the connection was closed"
        raise SourceError(f"{doing} failed: {text}", transient=True) from error


class _Plain(FTP):
    """ftplib's client behind the door. A transfer goes to the control's address, whatever a reply names."""

    timeout: float
    door: NetworkDoor

    def connect(self, host: str = "", port: int = 0, *_: Any, **__: Any) -> str:
        """Connect and read the greeting."""
        self.host, self.port = host, port
        self.sock = self.door.connect(host, port, self.timeout)
        self.af = self.sock.family
        self.file = self.sock.makefile("r", encoding=self.encoding)
        self.welcome = self.getresp()
        return self.welcome

    def getmultiline(self) -> str:
        """A reply of one line or more; ftplib takes as many as a server sends."""
        lines = [self.getline()]
        code = lines[0][:3]
        room = MAX_REPLY_CHARACTERS
        while lines[0][3:4] == "-" and (len(lines) == 1 or lines[-1][:3] != code or lines[-1][3:4] == "-"):
            lines.append(self.getline())
            room -= len(lines[-1]) + 1
            if room < 0:
                text = f"a reply is longer than {MAX_REPLY_CHARACTERS} characters"
                raise ftplib.error_proto(text)  # noqa: S321 - an error
        return "\n".join(lines)


class _WithTls(_Plain, ftplib.FTP_TLS):
    """The same, with TLS."""


class _Server(FTPFileSystem):
    """fsspec's FTP, with the server's certificate checked (fsspec and ftplib leave it unchecked)."""

    ftp: _Plain

    def __init__(self, door: NetworkDoor, host: str, **options: Any) -> None:
        self._door = door
        super().__init__(host, **options)

    def _connect(self) -> None:
        options = {"timeout": self.timeout, "encoding": self.encoding}
        self.ftp = (
            _WithTls(**options, context=ssl.create_default_context()) if self.tls else _Plain(**options)
        )
        self.ftp.door = self._door
        self.ftp.connect(self.host, self.port)
        self.ftp.login(*self.cred)


class FtpStream:
    """A running RETR."""

    tells_end = True

    def __init__(self, server: _Server, transfer: socket.socket, version: SourceVersion, start: int) -> None:
        self.version = version
        self.start = start
        self._server = server
        self._transfer = transfer

    def read(self, max_bytes: int) -> bytes:
        """Bytes as they arrive; at the end of the transfer the server's reply tells a drop from the end."""
        with ftp_errors("the transfer"):
            received = self._transfer.recv(max_bytes)
            if not received:
                self._transfer.close()
                self._server.ftp.voidresp()
            return received

    def close(self) -> None:
        """Drop both connections."""
        close_quietly(self._transfer, self._server.ftp)


class FtpSource:
    """A file named by an ftp:// or ftps:// URL; without a user the login is anonymous."""

    def __init__(
        self, url: SourceUrl, login: Login | None, door: NetworkDoor, timeout_s: float = NETWORK_TIMEOUT_S
    ) -> None:
        self._url = url
        self._door = door
        self._login = login
        self._timeout_s = timeout_s

    def open(self, offset: int) -> FtpStream:
        """Log in, ask for size and time, and begin the transfer."""
        with ftp_errors("connecting"):
            server = _Server(
                self._door,
                self._url.host,
                port=self._url.port or ftplib.FTP_PORT,
                username=(self._login.user if self._login else "") or self._url.user,
                password=self._login.password if self._login else None,
                timeout=self._timeout_s,
                tls=self._url.scheme == "ftps",
                skip_instance_cache=True,
            )
        try:
            with ftp_errors("asking for the file"):
                server.ftp.voidcmd("TYPE I")
                version = SourceVersion(self._size_bytes(server.ftp), self._modified_at(server.ftp))
                transfer, start = self._retrieve(server.ftp, offset)
        except BaseException:
            close_quietly(server.ftp)
            raise
        return FtpStream(server, transfer, version, start)

    def _retrieve(self, ftp: FTP, offset: int) -> tuple[socket.socket, int]:
        command = f"RETR {self._url.path}"
        if offset:
            try:
                return ftp.transfercmd(command, rest=offset), offset
            except ftplib.error_perm as error:
                if not str(error).startswith(_NOT_SUPPORTED):
                    raise
        return ftp.transfercmd(command), 0

    def _size_bytes(self, ftp: FTP) -> int | None:
        try:
            return ftp.size(self._url.path)
        except ftplib.error_perm as error:
            if str(error).startswith(_NOT_SUPPORTED):
                return None
            raise

    def _modified_at(self, ftp: FTP) -> str | None:
        try:
            reply = ftp.sendcmd(f"MDTM {self._url.path}")
            moment = datetime.strptime(reply[4:18], "%Y%m%d%H%M%S").replace(tzinfo=UTC)
        except (ftplib.error_perm, ValueError):
            return None
        return moment.isoformat()
