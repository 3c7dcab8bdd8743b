"""Directories on HDFS, read through WebHDFS without blocking."""

import json
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import quote

from logpipe.airflow.hooks.http_service import HttpServiceHook


class HdfsError(RuntimeError):
    """HDFS refused a request; the message holds its own words."""


@dataclass(frozen=True, slots=True)
class HdfsFile:
    """A file as its directory lists it. The listed length of a file that is still written is too short."""

    name: str
    length_bytes: int
    modified_ms: int


class HdfsDirectoryHook(HttpServiceHook):
    """Lists directories, reads small files, sets markers. For the rest there is the provider's WebHDFSHook.

    It uses the same connection as that one: host and port of the NameNode's web server, login as user.
    """

    conn_name_attr = "webhdfs_conn_id"
    conn_type = "webhdfs"
    default_conn_name: ClassVar[str] = "webhdfs_default"
    hook_name: ClassVar[str] = "HDFS directories"

    def __init__(self, webhdfs_conn_id: str = default_conn_name) -> None:
        super().__init__(webhdfs_conn_id)

    async def _ask(self, path: str, operation: str, *, method: str = "GET") -> bytes | None:
        user = (await self.connection()).login
        query = {"op": operation} | ({"user.name": user} if user else {})
        reply = await self.call(method, f"/webhdfs/v1{quote(path)}", query=query)
        if reply.status == 404:
            return None
        if reply.status not in {200, 201}:
            raise HdfsError(
                f"HDFS (connection {self.conn_id}) refused {operation} of {path} with HTTP {reply.status}: "
                f"{reply.body[:500].decode(errors='replace')}"
            )
        return reply.body

    async def files(self, directory: str) -> list[HdfsFile] | None:
        """List the files of a directory, by name; None when there is no such directory."""
        body = await self._ask(directory, "LISTSTATUS")
        if body is None:
            return None
        statuses: list[dict[str, Any]] = json.loads(body)["FileStatuses"]["FileStatus"]
        return [
            HdfsFile(item["pathSuffix"], item["length"], item["modificationTime"])
            for item in statuses
            if item["type"] == "FILE"
        ]

    async def modified_ms(self, path: str) -> int | None:
        """Return when a file was last modified, in milliseconds since the epoch; None when there is none."""
        body = await self._ask(path, "GETFILESTATUS")
        return None if body is None else int(json.loads(body)["FileStatus"]["modificationTime"])

    async def read(self, path: str) -> bytes | None:
        """Read a small file; None when there is none."""
        return await self._ask(path, "OPEN")

    async def create_empty(self, path: str) -> None:
        """Make an empty file; one that is there stays.

        Raises:
            HdfsError: HDFS refuses.
        """
        if await self.modified_ms(path) is None:
            await self._ask(path, "CREATE", method="PUT")
