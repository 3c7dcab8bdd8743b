"""HDFS over WebHDFS: files, atomic renames and extended attributes. Safe to share between threads."""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from logpipe.settings import Settings

TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 20
_ABSENT = httpx.codes.NOT_FOUND


class HdfsError(Exception):
    """HDFS refused or did not answer; the message names operation, path and Hadoop's own words."""


class HdfsAbsentError(HdfsError):
    """There is no such file or folder."""


class HdfsExistsError(HdfsError):
    """The target of a rename or a creation is there already."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A row of a listing. The length of a file that is being written is too small."""

    name: str
    is_folder: bool
    length_bytes: int
    modified_ms: int
    owner: str = ""


class Hdfs:
    """One HDFS as one user.

    Args:
        url: of WebHDFS, ``http://host:port``.
        user: as whom.
        timeout_s: for each answer; a stream may take as long as it keeps coming.
    """

    def __init__(self, url: str, user: str, timeout_s: float = TIMEOUT_S) -> None:
        self._url = url
        self._user = user
        self._client = httpx.Client(
            base_url=f"{url}/webhdfs/v1",
            timeout=timeout_s,
            trust_env=False,
            limits=httpx.Limits(max_connections=32, max_keepalive_connections=16),
        )

    @classmethod
    def of(cls, settings: Settings) -> "Hdfs":
        """The pipeline's."""
        return cls(settings.webhdfs_url, settings.hdfs_user)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    # ------------------------------------------------------------------ reading

    def list(self, path: str) -> list[Entry]:
        """The entries of a folder by name; empty when there is no such folder."""
        try:
            rows = self._json("GET", path, "LISTSTATUS")["FileStatuses"]["FileStatus"]
        except HdfsAbsentError:
            return []
        return sorted((_entry(row) for row in rows), key=lambda entry: entry.name)

    def status(self, path: str) -> Entry | None:
        """One file or folder; None when it is not there."""
        try:
            return _entry(self._json("GET", path, "GETFILESTATUS")["FileStatus"])
        except HdfsAbsentError:
            return None

    def attribute(self, path: str, name: str) -> bytes | None:
        """An extended attribute's value; None when file or attribute is not there."""
        try:
            answer = self._json("GET", path, "GETXATTRS", **{"xattr.name": name, "encoding": "base64"})
        except HdfsAbsentError:
            return None
        except HdfsError as error:
            if "XAttr" in str(error) or "attribute" in str(error):
                return None
            raise
        for row in answer["XAttrs"]:
            if row["name"] == name:
                return base64.b64decode(row["value"].removeprefix("0s"))
        return None

    def read(self, path: str) -> bytes | None:
        """A small file whole; None when it is not there."""
        try:
            return b"".join(self.blocks(path))
        except HdfsAbsentError:
            return None

    def blocks(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A file's bytes from an offset on, as far as they can be read now.

        Raises:
            HdfsAbsentError: it is not there.
        """
        query = {"op": "OPEN", "user.name": self._user, "offset": str(offset)}
        if length is not None:
            query["length"] = str(length)
        try:
            with self._client.stream("GET", quote(path), params=query, follow_redirects=True) as answer:
                if answer.is_error:
                    answer.read()
                    raise self._refusal(answer, "OPEN", path)
                yield from answer.iter_bytes(BLOCK_BYTES)
        except httpx.HTTPError as error:
            raise HdfsError(f"HDFS OPEN {path} at {self._url}: {error!r}") from None

    # ------------------------------------------------------------------ writing

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        self._json("PUT", path, "MKDIRS")

    def write(self, path: str, content: bytes | Iterable[bytes], *, overwrite: bool = False) -> None:
        """Write a file; it is not there as a whole until this returns: write elsewhere and rename.

        Raises:
            HdfsExistsError: it is there, and ``overwrite`` is not set.
        """
        query = {"overwrite": str(overwrite).lower(), "noredirect": "true"}
        place = self._json("PUT", path, "CREATE", **query)["Location"]
        answer = self._send(
            "PUT", place, content=content, headers={"Content-Type": "application/octet-stream"}
        )
        if answer.is_error:
            raise self._refusal(answer, "CREATE", path)

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Rename atomically.

        Raises:
            HdfsExistsError: the target is there, and ``overwrite`` is not set.
            HdfsAbsentError: the source, or the target's folder, is not there.
        """
        option = "OVERWRITE" if overwrite else "NONE"
        self._json("PUT", source, "RENAME", destination=target, renameoptions=option)

    def set_attribute(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute, whether it was there or not; name and value hold 16,384 bytes."""
        encoded = "0s" + base64.b64encode(value).decode()
        flag = "REPLACE" if self.attribute(path, name) is not None else "CREATE"
        self._json("PUT", path, "SETXATTR", **{"xattr.name": name, "xattr.value": encoded, "flag": flag})

    def delete(self, path: str, *, recursive: bool = True) -> bool:
        """Delete a file, or a folder with all in it; tells whether it was there.

        Raises:
            HdfsError: the folder is not empty, and ``recursive`` is not set.
        """
        return bool(self._json("DELETE", path, "DELETE", recursive=str(recursive).lower())["boolean"])

    # ------------------------------------------------------------------ calls

    def _json(self, method: str, path: str, operation: str, **query: str) -> Any:
        parameters = {"op": operation, "user.name": self._user, **query}
        answer = self._send(method, quote(path), params=parameters, what=f"{operation} {path}")
        if answer.is_error:
            raise self._refusal(answer, operation, path)
        return answer.json() if answer.content else None

    def _send(self, method: str, url: str, *, what: str = "CREATE", **arguments: Any) -> httpx.Response:
        try:
            return self._client.request(method, url, **arguments)
        except httpx.HTTPError as error:
            raise HdfsError(f"HDFS {what} at {self._url}: {error!r}") from None

    def _refusal(self, answer: httpx.Response, operation: str, path: str) -> HdfsError:
        try:
            remote = answer.json()["RemoteException"]
            kind, message = str(remote["exception"]), str(remote["message"])
        except (ValueError, KeyError, TypeError):
            kind, message = f"HTTP {answer.status_code}", answer.text
        text = f"HDFS {operation} {path}: {kind}: {message[:300]}"
        if "AlreadyExists" in kind or "AlreadyExists" in message[:300]:
            return HdfsExistsError(text)
        if answer.status_code == _ABSENT or kind in {"FileNotFoundException", "ParentNotDirectoryException"}:
            return HdfsAbsentError(text)
        return HdfsError(text)


def _entry(row: dict[str, Any]) -> Entry:
    return Entry(
        str(row["pathSuffix"]),
        row["type"] == "DIRECTORY",
        int(row["length"]),
        int(row["modificationTime"]),
        str(row.get("owner", "")),
    )


def dumps(values: Any) -> bytes:
    """JSON as it is kept on HDFS: compact, keys in order."""
    return json.dumps(values, separators=(",", ":"), sort_keys=True).encode()
