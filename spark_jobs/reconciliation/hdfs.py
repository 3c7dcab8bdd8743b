"""What reconciliation needs of HDFS on top of the window store: leases, raw bytes at a file's ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from py4j.protocol import Py4JJavaError

from windows.hdfs import Hdfs, HdfsError

CHUNK_BYTES = 1 << 16


@contextmanager
def java_errors() -> Iterator[None]:
    """Turn Java's exceptions into `HdfsError`, with the class that the NameNode threw as ``kind``."""
    try:
        yield
    except Py4JJavaError as error:
        java = error.java_exception
        kind = str(java.getClass().getSimpleName())
        if kind == "RemoteException":
            kind = str(java.getClassName()).rpartition(".")[2]
        raise HdfsError(kind, str(java.getMessage()).partition("\n")[0]) from None


class LogFiles(Hdfs):
    """The file system of the log directories."""

    @property
    def jvm(self) -> Any:
        """The JVM that holds the leases."""
        return self._jvm

    def is_closed(self, path: str) -> bool:
        """Tell whether no writer holds the file's lease."""
        with java_errors():
            return bool(self._fs.isFileClosed(self._path(path)))

    def recover_lease(self, path: str) -> bool:
        """Take the file's lease from its writer; True once the file is closed."""
        with java_errors():
            return bool(self._fs.recoverLease(self._path(path)))

    def create_new(self, path: str) -> None:
        """Make an empty file unless there is one."""
        with java_errors():
            try:
                self._fs.create(self._path(path), False).close()
            except Py4JJavaError as error:
                if "AlreadyExists" not in str(error.java_exception) and "AlreadyBeingCreated" not in str(
                    error.java_exception
                ):
                    raise

    def append(self, path: str) -> Any:
        """Open a file for appending, which holds its lease while the stream is open."""
        with java_errors():
            return self._fs.append(self._path(path))

    def size_bytes(self, path: str) -> int:
        """Length of a closed file."""
        with java_errors():
            return int(self._fs.getFileStatus(self._path(path)).getLen())

    def starts_with(self, path: str, start: bytes) -> bool:
        """Tell whether a file begins so."""
        return self._read(path, 0, len(start)) == start

    def first_line(self, path: str) -> bytes:
        """A file's first line, without its end."""
        line, at = b"", 0
        while chunk := self._read(path, at, CHUNK_BYTES):
            head, end, _ = chunk.partition(b"\n")
            line += head
            at += len(chunk)
            if end:
                break
        return line

    def unfinished_line(self, path: str) -> bytes:
        """What stands after a file's last line end."""
        at, line = self.size_bytes(path), b""
        while at > 0:
            start = max(0, at - CHUNK_BYTES)
            _, end, tail = self._read(path, start, at - start).rpartition(b"\n")
            line, at = tail + line, start
            if end:
                break
        return line

    def _read(self, path: str, at: int, length: int) -> bytes:
        with java_errors():
            stream = self._fs.open(self._path(path))
            try:
                stream.seek(at)
                return bytes(stream.readNBytes(length))
            finally:
                stream.close()
