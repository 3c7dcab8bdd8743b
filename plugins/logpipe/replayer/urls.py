"""URLs of sources: parsed and checked. They hold no password: see `Login`."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

from logpipe.settings.redaction import redacted, secret_in

SCHEMES = ("ftp", "ftps", "http", "https", "file")
PORTS = {"ftp": 21, "ftps": 21, "http": 80, "https": 443}
_LOGIN = re.compile(r"(?<=://).*(?=@)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def must_hold_no_secret(url: str) -> None:
    """Refuse a URL that many places would show a secret of.

    Raises:
        ValueError: it holds one; the message shows where it belongs, and not the secret.
    """
    if found := secret_in(url):
        raise ValueError(
            f"url {redacted(url)!r} holds {found}, which many places would show: keep it in an Airflow "
            "connection to that host (Admin, Connections; user and password in their fields, a query in the "
            'extra as {"query": "…"}), take it out of the URL, and give the connection\'s id (CONNECTION=… '
            "with make, source_conn_id in Airflow)"
        )


@dataclass(frozen=True, slots=True)
class Login:
    """What a source's server asks for, from an Airflow connection; never shown.

    Attributes:
        user: empty where the query is all that is asked for.
        password: of the user.
        query: what stands behind the URL's question mark: the signature of a presigned URL.
    """

    user: str
    password: str = field(repr=False)
    query: str = field(default="", repr=False)

    @classmethod
    def from_json(cls, values: Any) -> "Login":
        """Rebuild a login.

        Raises:
            ValueError: the value is no object of these texts; the message does not show it.
        """
        if (
            not isinstance(values, dict)
            or set(values) - {"query"} != {"user", "password"}
            or not all(isinstance(value, str) for value in values.values())
        ):
            raise ValueError(
                "login is not what was expected: an object of the texts user and password, and query if any"
            )
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
        if secret_in(text) == "a password":
            must_hold_no_secret(text)
        shown = redacted(text)
        if not text or " " in text or _CONTROL.search(unquote(text)):
            raise ValueError(f"url {shown!r} is empty or holds a blank or control character")
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            # What stands before an @ may be a password with characters that should have been escaped.
            shown = redacted(_LOGIN.sub("***", text))
            raise ValueError(
                f"url {shown!r} is not valid: check host and port, escape / ? # @ as %.."
            ) from None
        if parts.scheme not in SCHEMES:
            raise ValueError(f"url {shown!r} has the scheme {parts.scheme!r}, expected one of {SCHEMES}")
        if parts.scheme == "file" and (
            parts.netloc not in ("", "localhost") or not parts.path.startswith("/")
        ):
            raise ValueError(f"url {shown!r} is not an absolute file URL: write file:///path/to/file")
        if parts.scheme != "file" and not parts.hostname:
            raise ValueError(f"url {shown!r} has no host")
        if parts.path in ("", "/"):
            raise ValueError(f"url {shown!r} names no file")
        return cls(
            text=text,
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=port,
            user=None if parts.username is None else unquote(parts.username),
            path=unquote(parts.path),
        )

    @property
    def shown(self) -> str:
        """The URL as it may be shown: without a user, and without what is secret in its query."""
        return redacted(self.text)

    @property
    def port_or_default(self) -> int:
        """The port that a connection goes to; 0 for a file."""
        return self.port or PORTS.get(self.scheme, 0)

    def asked(self, query: str = "") -> str:
        """The URL that a server is asked for: without a user's name, and with a query that is kept apart."""
        parts = urlsplit(self.text)
        netloc = parts.netloc.rpartition("@")[2]
        whole = "&".join(filter(None, (parts.query, query.lstrip("?&"))))
        return urlunsplit(SplitResult(parts.scheme, netloc, parts.path, whole, ""))
