"""Secrets in URLs: found, and left out of what is shown. The one place that knows how they look."""

import re
from urllib.parse import unquote

HIDDEN = "***"

_USER_INFO = re.compile(r"(?<=://)[^/?#\s]*(?=@)")
_PASSWORD = re.compile(r"(?<=://)[^/?#\s]*?:[^/?#\s]*(?=@)")
_PARAMETER = re.compile(r"(?<=[?&;#])([^=&;#?\s]+)=([^&;#\s\"'<>]*)")
# Names of parameters that prove who asks: those of presigned URLs (S3, GCS, Azure, CloudFront) and of keys.
_WHOLE_NAMES = ("sig", "sign", "sas", "jwt", "code", "hmac")
_PARTS = ("token", "key", "secret", "passw", "pwd", "credential", "auth", "signature", "policy")
_BEGINNINGS = ("x-amz-", "x-goog-", "x-oss-", "x-cos-")


def redacted(text: str) -> str:
    """A text without the user info and the secret query values of the URLs in it."""
    text = _USER_INFO.sub(HIDDEN, text)
    return _PARAMETER.sub(lambda found: f"{found[1]}={HIDDEN}" if _is_secret(found[1]) else found[0], text)


def secret_in(url: str) -> str:
    """What is secret in a URL, in words; empty when nothing is. A user's name alone is none."""
    if _PASSWORD.search(url):
        return "a password"
    names = [found[1] for found in _PARAMETER.finditer(url) if _is_secret(found[1])]
    return f"a query that proves who asks ({', '.join(names)})" if names else ""


def _is_secret(name: str) -> bool:
    name = unquote(name).lower()
    return name in _WHOLE_NAMES or name.startswith(_BEGINNINGS) or any(part in name for part in _PARTS)


def secret_pattern() -> str:
    """The same as a regular expression for a form, which knows no flags: matches a URL's secret."""
    names = "|".join(
        (*(f"{_any_case(name)}" for name in _WHOLE_NAMES),
         *(f"{_any_case(name)}[^=&;]*" for name in _BEGINNINGS),
         *(f"[^=&;?#]*{_any_case(name)}[^=&;]*" for name in _PARTS))
    )  # fmt: skip
    return rf"(://[^/?#]*:[^/?#]*@|[?&;#]({names})=)"


def _any_case(text: str) -> str:
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in text)
