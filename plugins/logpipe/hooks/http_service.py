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

    async def base_url(self) -> str:
        """Return ``http://host:port`` of the connection."""
        connection = await self.connection()
        return f"{connection.schema or 'http'}://{connection.host}:{connection.port}"

    async def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        body: bytes | None = None,
        query: Mapping[str, str | int] | None = None,
        authenticate: bool = True,
    ) -> HttpReply:
        """Send one request and read the whole answer, redirects followed.

        Raises:
            ServiceUnreachableError: no answer within ``timeout_s`` seconds, or no connection.
        """
        import aiohttp

        connection = await self.connection()
        url = await self.base_url() + path
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
