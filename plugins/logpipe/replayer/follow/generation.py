"""What a generation's record holds on top of a replay's: which file it is, and what is not known of it."""

import platform
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import xxhash

HEAD_BYTES = 4096  # of a file's begin are compared, as far as it has them


def host_name(host: str) -> str:
    """This host, as identities name it: the settings' name of it, unless that is every host's."""
    is_own = host not in ("localhost", "127.0.0.1", "::1")
    name = re.sub(r"[^A-Za-z0-9]+", "", host if is_own else platform.node().partition(".")[0])
    return name[:40] or "host"


def follow_id_of(path: str, host: str) -> str:
    """The id of a followed log: the same for the same path on the same host.

    Args:
        path: absolute, links in its folder resolved; or a pattern.
        host: see `host_name`.
    """
    slug = "-".join(re.findall(r"[A-Za-z0-9]+", Path(path).name))[:60] or "logs"
    slug = slug.removesuffix("-log") or slug
    return f"{host}-{slug}-{xxhash.xxh64_hexdigest(f'{host}:{path}'.encode())[:8]}"


@dataclass(frozen=True, slots=True)
class Head:
    """A fingerprint: XXH64 of a file's first bytes, and how many these are. None resemble every file."""

    size_bytes: int = 0
    xxh64: str = ""

    @classmethod
    def of(cls, begin: bytes) -> "Head":
        """Of a file's first bytes."""
        begin = begin[:HEAD_BYTES]
        return cls(len(begin), xxhash.xxh64_hexdigest(begin)) if begin else cls()

    def fits(self, begin: bytes) -> bool:
        """Whether a file that begins so may be the same one."""
        return Head.of(begin[: self.size_bytes]) == self


@dataclass(frozen=True, slots=True)
class Unknown:
    """Lines that were perhaps written, and that nobody can read any more.

    Attributes:
        from_line, from_byte: the first that is not known, of the generation.
        since, until: between these they were written, ISO-8601 UTC.
        reason: in words.
    """

    from_line: int
    from_byte: int
    since: str
    until: str
    reason: str


@dataclass(frozen=True, slots=True)
class Generation:
    """A file of a followed log.

    Attributes:
        follow_id: of the log.
        path: of the log.
        file: where the file stood when it was found; rotation renames it.
        device, inode: of the file.
        begin: offset of the first byte that is sent.
        head: of the whole file.
        chain, rest: ordered hash of what was acknowledged, from ``begin`` on.
        written_at: the file's time of modification when it was last read, seconds since 1970.
        cut: the file's end, once its unfinished last line is sent as it is.
        is_late: an old file that was written to after its generation had ended.
        unknown: what was lost, if anything was.
        olddir: where rotation puts old files, if that is another folder than the log's.
    """

    follow_id: str
    path: str
    file: str
    host: str
    device: int
    inode: int
    begin: int = 0
    head: Head = field(default_factory=Head)
    chain: str = ""
    rest: str = ""
    written_at: float = 0.0
    cut: int | None = None
    is_late: bool = False
    unknown: Unknown | None = None
    olddir: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> "Generation":
        """Rebuild what `to_json` gave.

        Raises:
            KeyError, TypeError: the values are not what it gives.
        """
        unknown = values["unknown"]
        return cls(
            **{
                **values,
                "head": Head(**values["head"]),
                "unknown": None if unknown is None else Unknown(**unknown),
            }
        )


def record_id(prefix: str, number: int) -> str:
    """The id of a generation, which begins its lines' keys; the prefix stands for log and format."""
    return f"{prefix}.g{number}"


def prefix_of(replay_id: str) -> str:
    """What a generation's id begins with."""
    return replay_id.rpartition(".g")[0]


def number_of(replay_id: str) -> int:
    """The number of a generation."""
    return int(replay_id.rpartition(".g")[2])
