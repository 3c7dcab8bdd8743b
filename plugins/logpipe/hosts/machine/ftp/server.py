"""Serves the bundled log by FTP, read-only and anonymous, as the Internet Traffic Archive does.

Started by the process host: ``python -m logpipe.hosts.machine.ftp.server``.
"""

from pathlib import Path

from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer

from logpipe import settings

FILES_DIR = Path(__file__).resolve().parent / "files"


def main() -> None:
    """Serve until the process is stopped."""
    current = settings.load()
    authorizer = DummyAuthorizer()
    authorizer.add_anonymous(str(FILES_DIR), perm="elr")

    class Handler(FTPHandler):
        """The session settings of this server."""

    Handler.authorizer = authorizer
    Handler.banner = "NASA-HTTP log lines."
    with FTPServer((current.host, current.ftp_port), Handler) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
