"""What the hooks of systems with an HTTP interface have in common."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseHook

if TYPE_CHECKING:
    from airflow.sdk import Connection


class ServiceUnreachableError(ConnectionError):
    """The service does not answer at the address of its connection."""


@dataclass(frozen=True, slots=True)
class HttpReply:
    """Status code and body of an answer."""

    status: int
    body: bytes


class HttpServiceHook(BaseHook):
    """Speaks HTTP to the address of a connection: host, port, and basic auth where there is a password.

    A connection may name several hosts, with commas, of which one does the work: they are asked in turn
    until one answers.

    The calls of this class and its children are coroutines, for triggers; an operator runs one with
    ``asyncio.run``.
    """

    conn_name_attr: ClassVar[str] = "conn_id"
    conn_type: ClassVar[str] = "http"
    timeout_s: ClassVar[float] = 10

    def __init__(self, conn_id: str) -> None:
        super().__init__()
        self.conn_id = conn_id
        self._connection: Connection | None = None

    async def connection(self) -> "Connection":
        """Return the connection, read once."""
        if self._connection is None:
            self._connection = await self.aget_connection(self.conn_id)
        return self._connection

    async def hosts(self) -> list[str]:
        """Return the hosts that the connection names."""
        return [host.strip() for host in ((await self.connection()).host or "").split(",")]

    async def base_url(self, host: str | None = None) -> str:
        """Return ``http://host:port`` of the connection, of its first host by default."""
        connection = await self.connection()
        return f"{connection.schema or 'http'}://{host or (await self.hosts())[0]}:{connection.port}"

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        query: Mapping[str, str | int] | None = None,
        authenticate: bool = True,
        host: str | None = None,
    ) -> HttpReply:
        """Send one request and read the whole answer, redirects followed.

        Raises:
            ServiceUnreachableError: no answer within ``timeout_s`` seconds, or no connection.
        """
        hosts = await self.hosts() if host is None else [host]
        reasons = []
        for candidate in hosts:
            url = await self.base_url(candidate) + path
            try:
                return await self._call(method, url, json, body, query, authenticate=authenticate)
            except ServiceUnreachableError as error:
                reasons.append(str(error))
        raise ServiceUnreachableError("; ".join(reasons))

    async def _call(
        self,
        method: str,
        url: str,
        json: Any,
        body: bytes | None,
        query: Mapping[str, str | int] | None,
        *,
        authenticate: bool,
    ) -> HttpReply:
        import aiohttp

        connection = await self.connection()
        headers = {}
        if authenticate and connection.password:
            headers["Authorization"] = aiohttp.encode_basic_auth(connection.login or "", connection.password)
        try:
            async with aiohttp.request(
                method,
                url,
                json=json,
                data=body,
                params=query,
                headers=headers,
                timeout=aiohttp.ClientTimeout(total=self.timeout_s),
            ) as reply:
                return HttpReply(reply.status, await reply.read())
        except TimeoutError:
            raise ServiceUnreachableError(
                f"No answer from {url} (connection {self.conn_id}) within {self.timeout_s} s"
            ) from None
        except aiohttp.ClientError as error:
            raise ServiceUnreachableError(
                f"No answer from {url} (connection {self.conn_id}): {error}"
            ) from error
