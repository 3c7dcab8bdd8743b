"""What the clients of systems with an HTTP interface have in common."""

import ssl
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any, ClassVar

import httpx

from logpipe.clients.errors import NobodyListensError, RefusedError, UnreachableError
from logpipe.clients.kerberos import Kerberos

_SERVER_ERROR = 500


@cache
def _connections(ca_file: str) -> httpx.Client:
    # One for all, since each loads the machine's certificates. None is kept: a service that was restarted
    # meanwhile would lose the next request. Nor is a cookie: each request says itself who asks.
    return httpx.Client(
        verify=ssl.create_default_context(cafile=ca_file) if ca_file else True,
        trust_env=False,
        follow_redirects=True,
        limits=httpx.Limits(max_keepalive_connections=0),
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=())),
    )


class _Proving(httpx.Auth):
    """Proves to the server of a request who asks."""

    def __init__(self, kerberos: Kerberos) -> None:
        self._kerberos = kerberos

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        request.headers["Authorization"] = self._kerberos.proof(request.url.host)
        yield request


class HttpService:
    """A system at one address, or at several of which one does the work: they are asked in turn.

    Args:
        hosts: where it may be.
        port: of its HTTP server.
        user: for basic auth, with ``password``.
        timeout_s: for each answer.
        scheme: http or https.
        known_as: where the address stands, for messages: a connection, or a setting.
        kerberos: who asks, where the server wants a proof of it.
        ca_file: certificate authorities of its certificate; empty: the public ones.
    """

    what: ClassVar[str] = "service"
    timeout_s: ClassVar[float] = 10
    alive_path: ClassVar[str]  # answered by what does its work: a start and a supervision ask the same

    def __init__(
        self,
        hosts: Sequence[str],
        port: int,
        user: str = "",
        password: str = "",
        *,
        timeout_s: float | None = None,
        scheme: str = "http",
        known_as: str = "",
        kerberos: Kerberos | None = None,
        ca_file: str = "",
    ) -> None:
        self.hosts = tuple(hosts)
        self.port = port
        self._auth = (user, password) if password else None
        self._kerberos = kerberos
        self._ca_file = ca_file
        self._timeout_s = timeout_s or self.timeout_s
        self._scheme = scheme
        self._known_as = f" ({known_as})" if known_as else ""

    def __str__(self) -> str:
        return f"The {self.what} at {','.join(self.hosts)}:{self.port}{self._known_as}"

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        query: Mapping[str, str | int] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send one request, and read the whole answer.

        Raises:
            UnreachableError: no answer in time, or a server's error.
            RefusedError: the file of certificate authorities can't be read.
            KerberosError: there is no proof of who asks.
        """
        try:
            connections = _connections(self._ca_file)
        except OSError as error:
            raise RefusedError(
                f"Certificate authorities {self._ca_file} of {self}: {error}: see LOGPIPE_HADOOP_CA_FILE"
            ) from None
        # A request that brings its own proof of who asks goes without login and password.
        auth = _Proving(self._kerberos) if self._kerberos else self._auth
        if headers and "Authorization" in headers:
            auth = None
        errors: list[UnreachableError] = []
        for host in self.hosts:
            url = f"{self._scheme}://{host}:{self.port}{path}"
            try:
                answer = connections.request(
                    method,
                    url,
                    json=json,
                    params=query,
                    headers=headers,
                    auth=auth,
                    timeout=self._timeout_s,
                )
            except httpx.ConnectError as error:
                errors.append(NobodyListensError(f"No answer from {url}{self._known_as}: {error}"))
            except httpx.TimeoutException:
                errors.append(
                    UnreachableError(f"No answer from {url}{self._known_as} within {self._timeout_s} s")
                )
            except httpx.HTTPError as error:
                errors.append(UnreachableError(f"No answer from {url}{self._known_as}: {error!r}"))
            else:
                if answer.status_code < _SERVER_ERROR:
                    return answer
                errors.append(
                    UnreachableError(f"{self} answered {method} {path} with HTTP {answer.status_code}")
                )
        kinds = {type(error) for error in errors}
        kind = kinds.pop() if len(kinds) == 1 else UnreachableError
        raise kind("; ".join(str(error) for error in errors))

    def get(self, path: str, query: Mapping[str, str | int] | None = None) -> Any:
        """Return the JSON of an answer.

        Raises:
            UnreachableError: as `call`, or the answer is no JSON.
            RefusedError: it refuses; the message holds its own words.
        """
        answer = self.call("GET", path, query=query)
        if answer.is_error:
            raise self.refusal(f"GET {path}", answer)
        try:
            return answer.json()
        except ValueError:
            raise UnreachableError(f"{self} answered GET {path} with {answer.text[:200]!r}") from None

    def refusal(self, request: str, answer: httpx.Response) -> RefusedError:
        """The error of an answer that refuses."""
        return RefusedError(
            f"{self} refused {request}: HTTP {answer.status_code} {answer.text[:500]}".rstrip()
        )
