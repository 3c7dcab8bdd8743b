"""URLs of sources: parsed and checked. They hold no password: see `Login`."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from logpipe.settings import PASSWORD_IN_URL

SCHEMES = ("ftp", "ftps", "http", "https", "file")
_LOGIN = re.compile(r"(?<=://).*(?=@)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Login:
    """User and password at a source's server, from an Airflow connection; never shown."""

    user: str
    password: str = field(repr=False)

    @classmethod
    def from_json(cls, values: Any) -> "Login":
        """Rebuild a login.

        Raises:
            ValueError: the value is no object of two texts; the message does not show it.
        """
        if (
            not isinstance(values, dict)
            or set(values) != {"user", "password"}
            or not all(isinstance(value, str) for value in values.values())
        ):
            raise ValueError("login is not what was expected: an object of the texts user and password")
        return cls(**values)


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """An absolute URL of a log file."""

    text: str
    scheme: str
    host: str
    port: int | None
    user: str | None
    path: str

    @classmethod
    def parse(cls, text: str) -> "SourceUrl":
        """Parse a URL.

        Raises:
            ValueError: it is no absolute URL of one of `SCHEMES` with a path, or holds a password, which the
                message does not show.
        """
        masked = PASSWORD_IN_URL.sub(r"\1:***", text)
        if masked != text:
            raise ValueError(
                f"url {masked!r} holds a password, which many places would show: keep user and password in "
                "an Airflow connection to that host (Admin, Connections), take them out of the URL, and give "
                "the connection's id (CONNECTION=… with make, source_conn_id in Airflow)"
            )
        if not text or " " in text or _CONTROL.search(unquote(text)):
            raise ValueError(f"url {text!r} is empty or holds a blank or control character")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            # What stands before an @ may be a password with characters that should have been escaped.
            shown = _LOGIN.sub("***", text)
            raise ValueError(
                f"url {shown!r} is not valid: check host and port, escape / ? # @ as %.."
            ) from None
        if parts.scheme not in SCHEMES:
            raise ValueError(f"url {text!r} has the scheme {parts.scheme!r}, expected one of {SCHEMES}")
        if parts.scheme == "file" and (
            parts.netloc not in ("", "localhost") or not parts.path.startswith("/")
        ):
            raise ValueError(f"url {text!r} is not an absolute file URL: write file:///path/to/file")
        if parts.scheme != "file" and not parts.hostname:
            raise ValueError(f"url {text!r} has no host")
        if parts.path in ("", "/"):
            raise ValueError(f"url {text!r} names no file")
        return cls(
            text=text,
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=port,
            user=None if parts.username is None else unquote(parts.username),
            path=unquote(parts.path),
        )

    @property
    def without_user(self) -> str:
        """The URL without a user's name."""
        parts = urlsplit(self.text)
        netloc = parts.netloc.rpartition("@")[2]
        return urlunsplit(SplitResult(parts.scheme, netloc, parts.path, parts.query, ""))
