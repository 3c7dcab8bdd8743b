"""What is followed, on disk: one JSON file a log or pattern."""

import json
import os
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

from logpipe.digest import Digest
from logpipe.replayer.follow.generation import follow_id_of, host_name
from logpipe.settings import AddressMode
from logpipe.settings.unreadable import UNREADABLE

STARTS = ("end", "start")
_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Follow:
    """What was asked for, and what has to be known for ever.

    Attributes:
        log: path or pattern, as it was given.
        path: absolute, links of its folder resolved; of a pattern the pattern.
        format: as it was given.
        start: what is sent at first: from the file's last line end on (``end``), all that is there
            (``start``), or files that were written to since it was asked for (``since``).
        next_number: of the generation that is begun next.
        created_at: seconds since 1970.
        is_stopped: not followed any more.
        of: id of the pattern that named it.
        taken_format: what ``format`` came to; empty before the first line.
        warning: what is wrong with the format.
        existing: of a pattern, the paths that fitted when it was asked for: they are begun at ``start``.
        folded_lines, folded_bytes: of generations whose records are gone.
        addresses: what becomes of clients' addresses, of generations that begin from now on.
    """

    follow_id: str
    log: str
    path: str
    host: str
    format: str
    start: str
    next_number: int = 1
    created_at: float = field(default_factory=time.time)
    is_stopped: bool = False
    of: str | None = None
    taken_format: str = ""
    warning: str = ""
    folded_lines: int = 0
    folded_bytes: int = 0
    existing: list[str] = field(default_factory=list)
    addresses: AddressMode = "keep"

    @classmethod
    def new(cls, log: str, host: str, format_text: str, start: str, of: str | None = None) -> "Follow":
        """Of a path or a pattern."""
        path = Path(log)
        canonical = str(Path(os.path.realpath(path.parent)) / path.name)
        host = host_name(host)
        return cls(follow_id_of(canonical, host), log, canonical, host, format_text, start, of=of)

    @classmethod
    def from_request(cls, values: Any, host: str) -> "Follow":
        """Check a request's body; ``host`` is that of the settings.

        Raises:
            ValueError: a field is missing, unknown, or has a value that can't work; names field and value.
        """
        if not isinstance(values, dict):
            raise ValueError(f"the body is {type(values).__name__}, expected a JSON object")
        for name in values:
            if name not in ("log", "format", "start", "addresses"):
                raise ValueError(f"{name} is not known, expected log, format, start, addresses")
        log, format_text = values.get("log"), values.get("format", "auto")
        start = values.get("start", "end")
        if not isinstance(log, str) or not log.startswith("/") or "\0" in log or log.endswith("/"):
            raise ValueError(
                f"log is {log!r}, expected the absolute path of a file, or a pattern such as "
                "/var/log/nginx/*.log"
            )
        if not isinstance(format_text, str) or not format_text:
            raise ValueError(f"format is {format_text!r}, expected auto, a preset, or the server's own words")
        if start not in STARTS:
            raise ValueError(f"start is {start!r}, expected one of {STARTS}")
        addresses: Any = values.get("addresses") or "keep"
        if addresses not in get_args(AddressMode):
            raise ValueError(f"addresses is {addresses!r}, expected one of {get_args(AddressMode)}")
        if any(sign in _PATTERN for sign in str(Path(log).parent)) and not is_pattern(log):
            raise ValueError(f"log is {log!r}, expected a pattern in the file's name")
        return replace(cls.new(log, host, format_text, start), addresses=addresses)

    def with_folded(self, digest: Digest) -> "Follow":
        """The same, and a generation whose record is gone."""
        lines, size_bytes = self.folded_lines + digest.lines, self.folded_bytes + digest.size_bytes
        return replace(self, folded_lines=lines, folded_bytes=size_bytes)

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for the files that fit it."""
        return is_pattern(self.path)


def is_pattern(path: str) -> bool:
    """Whether a path names files by a pattern."""
    return any(sign in _PATTERN for sign in path)


class FollowStore:
    """The folder ``follows`` in the state folder; the journal beside it keeps other processes out."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def save(self, follow: Follow) -> None:
        """Write so that a kill or a power cut leaves this or the one before.

        Raises:
            OSError: the disk is full or fails.
        """
        path = self._folder / f"{follow.follow_id}.json"
        temporary = path.with_name(f".{path.name}.tmp")
        with temporary.open("w") as file:
            json.dump(asdict(follow), file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def load(self) -> list[Follow]:
        """All of them, by id.

        Raises:
            ValueError: one cannot be read; the message names its file.
        """
        found = []
        for path in sorted(self._folder.glob("*.json")):
            try:
                found.append(Follow(**json.loads(path.read_text())))
            except (OSError, *UNREADABLE) as error:
                raise ValueError(f"{path} can't be read ({error}): repair or remove it") from error
        return found
