"""HDFS over WebHDFS: files, atomic renames and extended attributes. Blocks; safe to share between threads.

The requests go through the ``hdfs`` package, which knows several NameNodes, of which one is active, and
Kerberos; attributes, renames that do not overwrite and lengths of what is read, which it lacks, are added.
"""

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

import requests
from hdfs import Client as WebHdfs
from hdfs import HdfsError as Refusal
from hdfs import InsecureClient
from hdfs.client import _Request
from urllib3.exceptions import NewConnectionError

from logpipe.clients.errors import ClientError, UnreachableError
from logpipe.clients.http import HttpService
from logpipe.clients.kerberos import Kerberos, KerberosError, of_hadoop
from logpipe.settings import Settings

TIMEOUT_S = 30.0
BLOCK_BYTES = 1 << 20
_THREADS = 32


class HdfsError(ClientError):
    """HDFS refused or did not answer; the message names operation, path and Hadoop's own words."""


class HdfsUnreachableError(HdfsError, UnreachableError):
    """No NameNode, or not the DataNode, answers."""


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


@dataclass(frozen=True, slots=True)
class Storage:
    """What the NameNode tells of the space, and of blocks without all, or without any, of their replicas."""

    capacity_bytes: int
    free_bytes: int
    under_replicated_blocks: int
    missing_blocks: int


class _Session(requests.Session):
    """Of several NameNodes the next is asked where the question has not been answered.

    But not where it may have been done all the same: a rename that is done twice fails the second time.
    """

    def request(self, method: Any, *args: Any, **named: Any) -> Any:
        """As the library does; what may have been done is none of the errors that the package retries."""
        try:
            return super().request(method, *args, **named)
        except requests.ConnectTimeout:
            raise
        except (requests.ReadTimeout, requests.ConnectionError) as error:
            why = getattr(error.args[0], "reason", None) if error.args else None
            if method == "GET" or isinstance(why, NewConnectionError):
                raise
            raise requests.RequestException from error


class _Proving(requests.auth.AuthBase):
    """Proves to the first server of a request who asks; a redirect carries a token of its own."""

    def __init__(self, kerberos: Kerberos) -> None:
        self._kerberos = kerberos

    def __call__(self, request: Any) -> Any:
        address = urlsplit(request.url)
        if "delegation" not in parse_qs(address.query):
            request.headers["Authorization"] = self._kerberos.proof(address.hostname or "")
        return request


class NameNode(HttpService):
    """The NameNode's own figures; files are `Hdfs`'s."""

    what = "NameNode"
    timeout_s = 3

    @classmethod
    def all(cls, settings: Settings) -> list[Self]:
        """The pipeline's."""
        addresses = [urlsplit(url) for url in settings.webhdfs_url.split(";")]
        return [
            cls([each.hostname or ""], each.port or 0, scheme=each.scheme, **of_hadoop(settings))
            for each in addresses
        ]

    def storage(self) -> Storage:
        """Ask for space and blocks.

        Raises:
            UnreachableError: no answer in time, or it is not the active one, which alone has these figures.
        """
        beans = self.get("/jmx", {"qry": "Hadoop:service=NameNode,name=FSNamesystem"})["beans"]
        if not beans or beans[0]["tag.HAState"] != "active":
            raise UnreachableError(f"{self} has no figures: it is not active")
        names = ("CapacityTotal", "CapacityRemaining", "UnderReplicatedBlocks", "MissingBlocks")
        return Storage(*(int(beans[0][name]) for name in names))


def storage(settings: Settings) -> Storage:
    """The space and blocks of the pipeline's HDFS, by the NameNode that is active. Raises as that."""
    errors = []
    for namenode in NameNode.all(settings):
        try:
            return namenode.storage()
        except UnreachableError as error:
            errors.append(str(error))
    raise UnreachableError("; ".join(errors))


class Hdfs:
    """One HDFS as one user.

    Args:
        url: of WebHDFS, ``http://host:port`` or ``https://host:port``; of several NameNodes, with semicolons.
        user: as whom, where HDFS takes anybody's word.
        timeout_s: for each answer; a stream may take as long as it keeps coming.
        kerberos: as whom, where it asks for a proof.
        ca_file: certificate authorities of its certificates; empty: the public ones.

    Raises:
        HdfsError: that file can't be read.
    """

    def __init__(
        self,
        url: str,
        user: str,
        timeout_s: float = TIMEOUT_S,
        *,
        kerberos: Kerberos | None = None,
        ca_file: str = "",
    ) -> None:
        if ca_file and not os.access(ca_file, os.R_OK):  # what requests says of it is no error of its own
            raise HdfsError(
                f"HDFS at {url}: the file of certificate authorities {ca_file} can't be read: see "
                "LOGPIPE_HADOOP_CA_FILE"
            )
        session = _Session()
        session.verify = ca_file or True
        session.trust_env = False
        session.headers["X-XSRF-HEADER"] = ""  # no browser sends it for a page of somebody else's
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(_THREADS, _THREADS))
        if kerberos:
            session.auth = _Proving(kerberos)
            self.client = WebHdfs(url, timeout=timeout_s, session=session)
        else:
            self.client = InsecureClient(url, user=user, timeout=timeout_s, session=session)
        self.session = session
        self._asks_as = kerberos.principal if kerberos else f"user {user}, without a proof"

    @classmethod
    def of(cls, settings: Settings, timeout_s: float = TIMEOUT_S) -> Self:
        """The pipeline's."""
        return cls(settings.webhdfs_url, settings.hdfs_user, timeout_s, **of_hadoop(settings))

    def close(self) -> None:
        """Let go of the connections."""
        self.session.close()

    # ------------------------------------------------------------------ reading

    def list(self, path: str) -> list[Entry]:
        """The entries of a folder by name; empty when there is no such folder."""
        try:
            rows = self._ask("GET", "LISTSTATUS", path).json()["FileStatuses"]["FileStatus"]
        except HdfsAbsentError:
            return []
        return sorted((_entry(row) for row in rows), key=lambda entry: entry.name)

    def status(self, path: str) -> Entry | None:
        """One file or folder; None when it is not there."""
        try:
            return _entry(self._ask("GET", "GETFILESTATUS", path).json()["FileStatus"])
        except HdfsAbsentError:
            return None

    def attribute(self, path: str, name: str) -> bytes | None:
        """An extended attribute's value; None when file or attribute is not there."""
        wanted = {"xattr.name": name, "encoding": "base64"}
        try:
            rows = self._ask("GET", "GETXATTRS", path, **wanted).json()["XAttrs"]
        except HdfsAbsentError:
            return None
        except HdfsError as error:
            if "XAttr" in str(error) or "attribute" in str(error):
                return None
            raise
        for row in rows:
            if row["name"] == name:
                return base64.b64decode(row["value"].removeprefix("0s"))
        return None

    def read(self, path: str) -> bytes | None:
        """A small file whole; None when it is not there."""
        try:
            return b"".join(self.blocks(path))
        except HdfsAbsentError:
            return None

    def tail(self, path: str, length: int) -> bytes | None:
        """A file's last bytes; None when it is not there."""
        found = self.status(path)
        if found is None:
            return None
        try:
            return b"".join(self.blocks(path, max(0, found.length_bytes - length)))
        except HdfsAbsentError:
            return None

    def blocks(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        """A file's bytes from an offset on, as far as they can be read now.

        Raises:
            HdfsAbsentError: it is not there.
        """
        place = {"offset": offset} | ({} if length is None else {"length": length})
        with self._ask("GET", "OPEN", path, **place) as answer:
            try:
                yield from answer.iter_content(BLOCK_BYTES)
            except requests.RequestException as error:
                raise HdfsUnreachableError(f"HDFS OPEN {path} at {self.client.url}: {error!r}") from None

    # ------------------------------------------------------------------ writing

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        self._ask("PUT", "MKDIRS", path)

    def set_owner(self, path: str, owner: str, group: str) -> None:
        """Give a file or folder to another user, which only HDFS's superuser may."""
        self._ask("PUT", "SETOWNER", path, owner=owner, group=group)

    def set_mode(self, path: str, mode: int) -> None:
        """Say who may do what with a file or folder, as chmod does."""
        self._ask("PUT", "SETPERMISSION", path, permission=f"{mode:o}")

    def write(self, path: str, content: bytes | Iterable[bytes], *, overwrite: bool = False) -> None:
        """Write a file; it is not there as a whole until this returns: write elsewhere and rename.

        Raises:
            HdfsExistsError: it is there, and ``overwrite`` is not set.
        """
        place = self._ask("PUT", "CREATE", path, overwrite=str(overwrite).lower(), noredirect="true").json()
        send = partial(self.client._request, "PUT", place["Location"])
        answer = self._told(lambda: send(data=content), "CREATE", path)
        if not answer.ok:
            raise _error("CREATE", path, *_words(answer))

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """Rename atomically.

        Raises:
            HdfsExistsError: the target is there, and ``overwrite`` is not set.
            HdfsAbsentError: the source, or the target's folder, is not there.
        """
        option = "OVERWRITE" if overwrite else "NONE"
        self._ask("PUT", "RENAME", source, destination=target, renameoptions=option)

    def set_attribute(self, path: str, name: str, value: bytes) -> None:
        """Set an extended attribute, whether it was there or not; name and value hold 16,384 bytes."""
        encoded = "0s" + base64.b64encode(value).decode()
        flag = "REPLACE" if self.attribute(path, name) is not None else "CREATE"
        self._ask("PUT", "SETXATTR", path, **{"xattr.name": name, "xattr.value": encoded, "flag": flag})

    def delete(self, path: str, *, recursive: bool = True) -> bool:
        """Delete a file, or a folder with all in it; tells whether it was there.

        Raises:
            HdfsError: the folder is not empty, and ``recursive`` is not set.
        """
        return bool(self._ask("DELETE", "DELETE", path, recursive=str(recursive).lower()).json()["boolean"])

    # ------------------------------------------------------------------ calls

    def _ask(self, method: str, operation: str, path: str, **query: Any) -> Any:
        request = _Request(method, stream=operation == "OPEN").to_method(operation)
        return self._told(lambda: request(self.client, path, **query), operation, path)

    def _told(self, request: Any, operation: str, path: str) -> Any:
        try:
            return request()
        except Refusal as error:
            if error.message.startswith("Authentication failure"):  # the package's word for HTTP 401
                raise HdfsError(
                    f"HDFS {operation} {path}: {self.client.url} does not take {self._asks_as}: see "
                    "LOGPIPE_KERBEROS_PRINCIPAL and LOGPIPE_KERBEROS_KEYTAB"
                ) from None
            raise _error(operation, path, error.exception or "", error.message) from None
        except KerberosError as error:
            kind = HdfsUnreachableError if isinstance(error, UnreachableError) else HdfsError
            raise kind(f"HDFS {operation} {path}: {error}") from None
        except requests.RequestException as error:
            why = _deepest(error)
            raise HdfsUnreachableError(
                f"HDFS {operation} {path}: no answer from {self.client.url}: {why}"
            ) from None


def _deepest(error: BaseException) -> str:
    """What went wrong in the end, without the names of those who passed it on."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}"


def _words(answer: Any) -> tuple[str, str]:
    try:
        remote = answer.json()["RemoteException"]
        return str(remote["exception"]), str(remote["message"])
    except (ValueError, KeyError, TypeError):
        return f"HTTP {answer.status_code}", answer.text


def _error(operation: str, path: str, kind: str, message: str) -> HdfsError:
    text = f"HDFS {operation} {path}: {kind}: {message[:300]}"
    if "AlreadyExists" in kind or "AlreadyExists" in message[:300]:
        return HdfsExistsError(text)
    if kind in {"FileNotFoundException", "ParentNotDirectoryException"}:
        return HdfsAbsentError(text)
    if kind in {"StandbyException", "RetriableException"}:  # each of several says so while none is active
        return HdfsUnreachableError(text)
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
