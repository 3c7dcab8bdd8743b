"""What our own HTTP services have in common: one user, a password from the secrets, and a clean end."""

import base64
import binascii
import contextlib
import json
import secrets
import signal
from pathlib import Path

import uvicorn
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

USER = "logpipe"
OPEN_PATH = "/health"  # asked by whoever wants to know whether it does its work; no password


class BasicAuth:
    """Lets requests through that name user and password; `OPEN_PATH` is open.

    Args:
        app: what is behind it.
        password: that of `USER`.
        secret: the password's name in ``secrets.json``, for whoever is refused.
    """

    def __init__(self, app: ASGIApp, password: str, secret: str) -> None:
        self._app = app
        self._expected = f"{USER}:{password}".encode()
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 401, or pass on."""
        if scope["type"] == "http" and scope["path"] != OPEN_PATH and not self._is_known(scope):
            text = f"user {USER} and the password {self._secret} of secrets.json are needed"
            response = JSONResponse({"error": text}, 401, {"WWW-Authenticate": f'Basic realm="{USER}"'})
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _is_known(self, scope: Scope) -> bool:
        header = dict(scope["headers"]).get(b"authorization", b"")
        kind, _, text = header.partition(b" ")
        with contextlib.suppress(binascii.Error):
            return kind.lower() == b"basic" and secrets.compare_digest(base64.b64decode(text), self._expected)
        return False


def read_password(state_dir: Path, secret: str) -> str:
    """The password that clients must name.

    Raises:
        ValueError: the secrets can't be read or hold none; the message names the file.
    """
    path = state_dir / "secrets.json"
    try:
        password = json.loads(path.read_text())[secret]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{path} gives no {secret} ({type(error).__name__}): it is a JSON object of mode 600 that "
            "the first start of the pipeline writes"
        ) from None
    if not isinstance(password, str) or not password:
        raise ValueError(f"{path}: {secret} is not a text with at least one character")
    return password


def serve(app: ASGIApp, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT; requests in hand have a second to end."""
    # uvicorn ends on a signal, then raises it again: by then everything has ended, so the exit is clean.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.run(
        app,
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=1,
        server_header=False,
    )
