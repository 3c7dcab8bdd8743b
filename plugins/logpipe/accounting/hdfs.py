"""Reads the lines on HDFS over WebHDFS, in bounded memory."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import httpx

from logpipe.settings import Settings

TIMEOUT_S = 60.0
BLOCK_BYTES = 1 << 20
DATED = re.compile(r"\d\d-\d\d-\d\d")


class HdfsError(Exception):
    """HDFS cannot be read; the message names the path and says why."""


@dataclass(frozen=True)
class HdfsFile:
    """A file with lines. ``is_open``: Flume writes it, so its listed length is not to be trusted."""

    path: str
    length_bytes: int
    is_open: bool


class Hdfs:
    """Read access to the dated directories."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = httpx.Client(
            base_url=f"{settings.webhdfs_url}/webhdfs/v1",
            timeout=TIMEOUT_S,
            follow_redirects=True,
            trust_env=False,
        )

    def _list(self, path: str) -> list[dict[str, object]]:
        answer = self._get(path, "LISTSTATUS")
        return [] if answer is None else answer.json()["FileStatuses"]["FileStatus"]

    def _get(self, path: str, operation: str) -> httpx.Response | None:
        try:
            answer = self._client.get(path, params={"op": operation, "user.name": self._settings.hdfs_user})
        except httpx.HTTPError as error:
            raise HdfsError(f"HDFS {operation} {path} at {self._settings.webhdfs_url}: {error}") from None
        if answer.status_code == httpx.codes.NOT_FOUND:
            return None
        if answer.is_error:
            raise HdfsError(f"HDFS {operation} {path}: {answer.status_code} {answer.text[:300]}")
        return answer

    def partitions(self) -> list[str]:
        """Names of the dated directories, ``%y-%m-%d``, oldest first."""
        rows = self._list(self._settings.hdfs_logs_dir)
        names = [str(row["pathSuffix"]) for row in rows if row["type"] == "DIRECTORY"]
        return sorted(name for name in names if DATED.fullmatch(name))

    def files(self, partition: str) -> list[HdfsFile]:
        """Files with lines in a dated directory, the one being written included."""
        directory = f"{self._settings.hdfs_logs_dir}/{partition}"
        return [
            HdfsFile(
                f"{directory}/{row['pathSuffix']}",
                int(str(row["length"])),
                str(row["pathSuffix"]).endswith(".tmp"),
            )
            for row in self._list(directory)
            if row["type"] == "FILE" and str(row["pathSuffix"]).lstrip("_").startswith("apache_logs")
        ]

    def blocks(self, path: str) -> Iterator[bytes]:
        """A file's bytes, up to what can be read of it now; nothing when it is gone (renamed)."""
        parameters = {"op": "OPEN", "user.name": self._settings.hdfs_user}
        try:
            with self._client.stream("GET", path, params=parameters) as answer:
                if answer.status_code == httpx.codes.NOT_FOUND:
                    raise FileNotFoundError(path)
                if answer.is_error:
                    answer.read()
                    if "CannotObtainBlockLength" in answer.text:
                        raise HdfsError(
                            f"{path} was left open by a killed agent: `make reconcile` recovers it"
                        )
                    raise HdfsError(f"HDFS OPEN {path}: {answer.status_code} {answer.text[:300]}")
                yield from answer.iter_bytes(BLOCK_BYTES)
        except httpx.HTTPError as error:
            raise HdfsError(f"HDFS OPEN {path}: {error}") from None

    def lines(self, path: str) -> Iterator[list[bytes]]:
        """A file's lines, in lists of what one block holds."""
        rest = b""
        for block in self.blocks(path):
            *lines, rest = (rest + block).split(b"\n")
            yield lines
        if rest:
            yield [rest]

    def all_lines(self) -> Iterator[list[bytes]]:
        """The lines of every partition. A file renamed while it is read about is found under its new name.

        Raises:
            HdfsError: HDFS does not answer or refuses.
        """
        for partition in self.partitions():
            done: set[str] = set()
            while True:
                waiting = [file for file in self.files(partition) if _final_name(file.path) not in done]
                if not waiting:
                    break
                for file in waiting:
                    try:
                        yield from self.lines(file.path)
                    except FileNotFoundError:
                        continue
                    done.add(_final_name(file.path))


def _final_name(path: str) -> str:
    """The name that an in-use file gets when it is closed."""
    directory, _, name = path.rpartition("/")
    return f"{directory}/{name.removeprefix('_').removesuffix('.tmp')}"
