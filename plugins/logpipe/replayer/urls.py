"""URLs of sources: parsed, checked, and shown without their password."""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

SCHEMES = ("ftp", "ftps", "http", "https", "file")
_PASSWORD = re.compile(r"(?<=://)([^/?#\s]*?):[^/?#\s]*(?=@)")
_LOGIN = re.compile(r"(?<=://).*(?=@)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def mask_passwords(text: str) -> str:
    """Replace the password of every URL in a text by ``***``."""
    return _PASSWORD.sub(r"\1:***", text)


@dataclass(frozen=True, slots=True)
class SourceUrl:
    """An absolute URL of a log file.

    Attributes:
        text: the URL as given, password included: never to be shown.
        masked: the URL to show.
    """

    text: str
    masked: str
    scheme: str
    host: str
    port: int | None
    user: str | None
    password: str | None
    path: str

    @classmethod
    def parse(cls, text: str) -> "SourceUrl":
        """Parse a URL.

        Raises:
            ValueError: it is no absolute URL of one of `SCHEMES` with a path; the message masks passwords.
        """
        masked = mask_passwords(text)
        if not text or " " in text or _CONTROL.search(unquote(text)):
            raise ValueError(f"url {masked!r} is empty or holds a blank or control character")
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
            raise ValueError(f"url {masked!r} has the scheme {parts.scheme!r}, expected one of {SCHEMES}")
        if parts.scheme == "file" and (
            parts.netloc not in ("", "localhost") or not parts.path.startswith("/")
        ):
            raise ValueError(f"url {masked!r} is not an absolute file URL: write file:///path/to/file")
        if parts.scheme != "file" and not parts.hostname:
            raise ValueError(f"url {masked!r} has no host")
        if parts.path in ("", "/"):
            raise ValueError(f"url {masked!r} names no file")
        return cls(
            text=text,
            masked=masked,
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=port,
            user=None if parts.username is None else unquote(parts.username),
            password=None if parts.password is None else unquote(parts.password),
            path=unquote(parts.path),
        )

    @property
    def without_login(self) -> str:
        """The URL without user and password."""
        parts = urlsplit(self.text)
        netloc = parts.netloc.rpartition("@")[2]
        return urlunsplit(SplitResult(parts.scheme, netloc, parts.path, parts.query, ""))
