"""HDFS through the JVM that Spark runs in: the few atomic operations that the window store is built on."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO, NamedTuple

from py4j.protocol import Py4JJavaError, Py4JNetworkError
from pyspark.sql import SparkSession

from windows.errors import JvmGoneError


class HdfsError(OSError):
    """HDFS refused or did not answer; the message is Hadoop's, ``kind`` its class."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind = kind


class Entry(NamedTuple):
    """A file or folder in a listing."""

    name: str
    path: str
    modified_ms: int


_PIECE_BYTES = 4 << 20  # what goes to the JVM or comes from it at once, as text
# An answer of the JVM that does not fit into 8 KiB comes in two parts, and the second only when the first is
# acknowledged: after 40 ms. A small file is asked for in pieces that fit, which take 1 ms each.
_SMALL_FILE_BYTES, _SMALL_PIECE_BYTES = 256 << 10, 6_000
_ABSENT = ("FileNotFoundException", "ParentNotDirectoryException", "PathNotFoundException")


@contextmanager
def _java_errors() -> Iterator[None]:
    try:
        yield
    except (Py4JNetworkError, ConnectionError) as error:
        raise JvmGoneError("Spark's JVM is gone: killed, or out of memory (--heap-mb)") from error
    except Py4JJavaError as error:
        java = error.java_exception
        kind = java.getClass().getSimpleName()
        message = str(java.getMessage()).splitlines()[0]
        if kind in _ABSENT:
            raise FileNotFoundError(f"{kind}: {message}") from None
        if "AlreadyExists" in kind:
            raise FileExistsError(f"{kind}: {message}") from None
        raise HdfsError(kind, message) from None


class _Reading(io.RawIOBase):
    """A file's bytes, from any place on."""

    def __init__(self, stream: Any, length_bytes: int) -> None:
        self._stream = stream
        self._length_bytes = length_bytes
        self._piece_bytes = _SMALL_PIECE_BYTES if length_bytes <= _SMALL_FILE_BYTES else _PIECE_BYTES
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._length_bytes}[whence]
        self._at = start + offset
        with _java_errors():
            self._stream.seek(self._at)
        return self._at

    def readinto(self, buffer: Any) -> int:
        with _java_errors():
            piece = bytes(self._stream.readNBytes(min(len(buffer), self._piece_bytes)))
        buffer[: len(piece)] = piece
        self._at += len(piece)
        return len(piece)

    def readall(self) -> bytes:
        pieces = list(iter(lambda: self.read(self._piece_bytes), b""))
        return b"".join(pieces)

    def close(self) -> None:
        if not self.closed:
            with _java_errors():
                self._stream.close()
        super().close()


class _Writing(io.RawIOBase):
    """Writes a file from its start on."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, content: Any) -> int:
        piece = bytes(content[:_PIECE_BYTES])
        with _java_errors():
            self._stream.write(piece)
        return len(piece)

    def close(self) -> None:
        if not self.closed:
            with _java_errors():
                self._stream.close()
        super().close()


def _default_copies(jvm: Any, uri: Any, conf: Any) -> int:
    probe = jvm.org.apache.hadoop.fs.FileSystem.newInstance(uri, conf)
    try:
        return int(probe.getServerDefaults(jvm.org.apache.hadoop.fs.Path("/")).getReplication())
    finally:
        probe.close()


class Hdfs:
    """Files under one file system; every method raises `HdfsError` (an OSError) when it does not answer.

    Args:
        spark: whose JVM is used.
        url: ``hdfs://host:port``.
        copies: replicas of each file, Spark's own among them; 0: the NameNode's default, which clients do
            not ask for by themselves.
    """

    def __init__(self, spark: SparkSession, url: str, copies: int = 0) -> None:
        jvm: Any = spark._jvm
        self._gateway: Any = spark.sparkContext._gateway
        self._jvm = jvm
        conf = spark._jsc.hadoopConfiguration()
        with _java_errors():
            uri = jvm.java.net.URI(url)
            # A client takes this once, when it is made, and Spark writes its offsets by the one made below.
            copies = copies or _default_copies(jvm, uri, conf)
            conf.setInt("dfs.replication", copies)
            if copies == 1:  # a pipeline that lost its one DataNode has no other to turn to
                conf.setBoolean("dfs.client.block.write.replace-datanode-on-failure.enable", False)
            self._fs = jvm.org.apache.hadoop.fs.FileSystem.get(uri, conf)
            self._context = jvm.org.apache.hadoop.fs.FileContext.getFileContext(uri, conf)
        self._rename = getattr(jvm.org.apache.hadoop.fs, "Options$Rename")

    def _path(self, path: str) -> Any:
        return self._jvm.org.apache.hadoop.fs.Path(path)

    def exists(self, path: str) -> bool:
        """Tell whether there is a file or folder."""
        with _java_errors():
            return bool(self._fs.exists(self._path(path)))

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it."""
        with _java_errors():
            self._fs.mkdirs(self._path(path))

    def open(self, path: str) -> BinaryIO:
        """Open a file to be read, from any place on.

        Raises:
            FileNotFoundError: it is not there.
        """
        with _java_errors():
            length_bytes = int(self._fs.getFileStatus(self._path(path)).getLen())
            raw = _Reading(self._fs.open(self._path(path)), length_bytes)
        return io.BufferedReader(raw, 64 << 10)

    def create(self, path: str) -> BinaryIO:
        """Open a file to be written, over one that is there."""
        with _java_errors():
            return io.BufferedWriter(_Writing(self._fs.create(self._path(path), True)), 64 << 10)

    def read(self, path: str) -> bytes | None:
        """Read a file; None when it is not there."""
        return self.tail(path, 1 << 62)

    def tail(self, path: str, length: int) -> bytes | None:
        """Read a file's last bytes; None when it is not there."""
        try:
            with self.open(path) as file:
                file.seek(max(0, file.seek(0, io.SEEK_END) - length))
                return file.read()
        except FileNotFoundError:
            return None

    def read_text(self, path: str) -> str:
        """Read a small file.

        Raises:
            FileNotFoundError: it is not there.
        """
        with self.open(path) as file:
            return file.read().decode()

    def write_text(self, path: str, text: str) -> None:
        """Write a small file; a reader finds the one that was there, or this one whole."""
        with self.create(f"{path}.new") as file:
            file.write(text.encode())
        self.rename(f"{path}.new", path, overwrite=True)

    def rename(self, source: str, target: str, overwrite: bool = False) -> None:
        """Rename atomically.

        Raises:
            FileExistsError: the target is there, and ``overwrite`` is not set.
            FileNotFoundError: the source, or the target's folder, is not there.
        """
        options = self._gateway.new_array(self._rename, 1)
        options[0] = self._rename.OVERWRITE if overwrite else self._rename.NONE
        with _java_errors():
            self._context.rename(self._path(source), self._path(target), options)

    def delete(self, path: str) -> None:
        """Delete a file or a folder with all in it, if it is there."""
        with _java_errors():
            self._fs.delete(self._path(path), True)

    def touch(self, path: str, time_ms: int) -> None:
        """Set a file's modification time."""
        with _java_errors():
            self._fs.setTimes(self._path(path), time_ms, -1)

    def modified_ms(self, path: str) -> int:
        """Read a file's modification time."""
        with _java_errors():
            return int(self._fs.getFileStatus(self._path(path)).getModificationTime())

    def list(self, path: str) -> list[Entry]:
        """List a folder by name; empty when it is not there."""
        try:
            with _java_errors():
                statuses = self._fs.listStatus(self._path(path))
                entries = [
                    Entry(
                        name=status.getPath().getName(),
                        path=status.getPath().toString(),
                        modified_ms=int(status.getModificationTime()),
                    )
                    for status in statuses
                ]
        except FileNotFoundError:
            return []
        return sorted(entries)
