"""HDFS in memory, for unit tests: as much of `logpipe.clients.hdfs.Hdfs` as its users call.

``tests/integration/test_memory_hdfs.py`` holds it to what the real one does.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from logpipe.clients.hdfs import Entry, HdfsAbsentError, HdfsExistsError


class MemoryHdfs:
    """Files by path, each with its attributes; folders are those that files or `make_folder` made.

    Attributes:
        files: contents by path.
        asked: operation and path of each call that reads, in order.
    """

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str]] = []
        self._attributes: dict[str, dict[str, bytes]] = {}
        self._modified_ms: dict[str, int] = {}  # of folders and files
        self._clock_ms = 0

    def close(self) -> None:
        """There is no connection."""

    def list(self, path: str) -> list[Entry]:
        self.asked.append(("list", path))
        names = {
            name[len(path) + 1 :].split("/")[0] for name in self._modified_ms if name.startswith(f"{path}/")
        }
        return [self._entry(f"{path}/{name}", name) for name in sorted(names)]

    def status(self, path: str) -> Entry | None:
        self.asked.append(("status", path))
        return self._entry(path, "") if path in self._modified_ms else None

    def _entry(self, path: str, name: str) -> Entry:
        length = len(self.files.get(path, b""))
        return Entry(name, path not in self.files, length, self._modified_ms[path])

    def attribute(self, path: str, name: str) -> bytes | None:
        self.asked.append(("attribute", path))
        return self._attributes.get(path, {}).get(name)

    def read(self, path: str) -> bytes | None:
        self.asked.append(("read", path))
        return self.files.get(path)

    def tail(self, path: str, length: int) -> bytes | None:
        content = self.read(path)
        return None if content is None else content[-length:]

    def blocks(self, path: str, offset: int = 0, length: int | None = None) -> Iterator[bytes]:
        if path not in self.files:
            raise HdfsAbsentError(f"HDFS OPEN {path}: FileNotFoundException")
        end = None if length is None else offset + length
        yield self.files[path][offset:end]

    def make_folder(self, path: str) -> None:
        while path and path not in self._modified_ms:
            self._touch(path)
            path = path.rpartition("/")[0]

    def write(self, path: str, content: bytes | Iterable[bytes], *, overwrite: bool = False) -> None:
        if path in self.files and not overwrite:
            raise HdfsExistsError(f"HDFS CREATE {path}: FileAlreadyExistsException")
        self.make_folder(path.rpartition("/")[0])
        self._attributes.pop(path, None)
        self.files[path] = content if isinstance(content, bytes) else b"".join(content)
        self._touch(path)
        self._touch(path.rpartition("/")[0])

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        if source not in self._modified_ms or target.rpartition("/")[0] not in self._modified_ms:
            raise HdfsAbsentError(f"HDFS RENAME {source}: FileNotFoundException")
        if target in self._modified_ms and not overwrite:
            raise HdfsExistsError(f"HDFS RENAME {source}: FileAlreadyExistsException: {target}")
        for table in (self.files, self._attributes, self._modified_ms):
            _move(table, source, target)
        for path in (source, target):
            self._touch(path.rpartition("/")[0])

    def set_attribute(self, path: str, name: str, value: bytes) -> None:
        if path not in self._modified_ms:
            raise HdfsAbsentError(f"HDFS SETXATTR {path}: FileNotFoundException")
        self._attributes.setdefault(path, {})[name] = value

    def delete(self, path: str, *, recursive: bool = True) -> bool:
        found = [name for name in self._modified_ms if name == path or name.startswith(f"{path}/")]
        for name in found:
            for table in (self.files, self._attributes, self._modified_ms):
                table.pop(name, None)
        if found:
            self._touch(path.rpartition("/")[0])
        return bool(found)

    def _touch(self, path: str) -> None:
        self._clock_ms += 1
        self._modified_ms[path] = self._clock_ms


def _move(table: dict[str, Any], source: str, target: str) -> None:
    table.pop(target, None)
    for path in [path for path in table if path == source or path.startswith(f"{source}/")]:
        table[target + path[len(source) :]] = table.pop(path)
