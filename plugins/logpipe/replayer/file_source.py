"""Sources on this machine's disk."""

from datetime import UTC, datetime
from typing import IO

from fsspec.implementations.local import LocalFileSystem

from logpipe.replayer.errors import SourceError
from logpipe.replayer.sources import SourceVersion, close_quietly
from logpipe.replayer.urls import SourceUrl


class FileStream:
    """An open file."""

    tells_end = True

    def __init__(self, file: IO[bytes], version: SourceVersion, start: int) -> None:
        self.version = version
        self.start = start
        self._file = file

    def read(self, max_bytes: int) -> bytes:
        """Read the next bytes."""
        try:
            return self._file.read(max_bytes)
        except OSError as error:
            raise SourceError(f"reading failed: {error.strerror}") from error

    def close(self) -> None:
        """Close the file."""
        close_quietly(self._file)


class FileSource:
    """A file named by a file:// URL."""

    def __init__(self, url: SourceUrl) -> None:
        self._path = url.path
        self._files = LocalFileSystem()

    def open(self, offset: int) -> FileStream:
        """Open and seek; every failure is final, since nothing but a person changes it."""
        try:
            found = self._files.info(self._path)
            if found["type"] != "file":
                raise SourceError(f"{self._path} is a {found['type']}, not a file")
            file = self._files.open(self._path, "rb")
            file.seek(offset)
        except FileNotFoundError as error:
            raise SourceError(f"there is no file {self._path}") from error
        except PermissionError as error:
            raise SourceError(f"no permission to read {self._path}") from error
        except OSError as error:
            raise SourceError(f"opening {self._path} failed: {error.strerror}") from error
        modified_at = datetime.fromtimestamp(found["mtime"], UTC).isoformat()
        return FileStream(file, SourceVersion(found["size"], modified_at), offset)
