"""Sources on this machine's disk."""

from datetime import UTC, datetime
from typing import IO

from logpipe.replayer.errors import SourceError
from logpipe.replayer.front_door import FrontDoor
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
    """A file named by a file:// URL, which the door lets through."""

    def __init__(self, url: SourceUrl, door: FrontDoor) -> None:
        self._path = url.path
        self._door = door

    def open(self, offset: int) -> FileStream:
        """Open and seek; every failure is final, since nothing but a person changes it."""
        try:
            descriptor, status = self._door.open(self._path)
        except FileNotFoundError as error:
            raise SourceError(f"there is no file {self._path}") from error
        except PermissionError as error:
            raise SourceError(f"no permission to read {self._path}") from error
        except OSError as error:
            raise SourceError(f"opening {self._path} failed: {error.strerror}") from error
        file = open(descriptor, "rb")  # noqa: SIM115 - the stream closes it
        file.seek(offset)
        modified_at = datetime.fromtimestamp(status.st_mtime, UTC).isoformat()
        return FileStream(file, SourceVersion(status.st_size, modified_at), offset)
