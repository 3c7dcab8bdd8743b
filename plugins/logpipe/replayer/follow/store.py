"""What is followed, on disk: one JSON file a log or pattern."""

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, get_args

from logpipe.replayer.follow.generation import follow_id_of, host_name, prefix_of
from logpipe.replayer.record import ReplayRecord
from logpipe.settings import AddressMode
from logpipe.settings.durable import replace_file, sync_folder
from logpipe.settings.unreadable import UNREADABLE

STARTS = ("end", "start")
_PATTERN = frozenset("*?[")


def log_path(log: object) -> str:
    """The path of a log, or a pattern of paths, that somebody asked for.

    Raises:
        ValueError: it is none of a file.
    """
    if not isinstance(log, str) or not log.startswith("/") or "\0" in log or log.endswith("/"):
        raise ValueError(
            f"log is {log!r}, expected the absolute path of a file, or a pattern such as /var/log/nginx/*.log"
        )
    return log


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
        format_number: how many formats its lines have had: each has a `prefix` of its own.
        warning: what is wrong with the format.
        spent: prefixes of generations whose records are gone, each with the end of the last one, seconds
            since 1970: what has to be known to drop their formats one day.
        unread: of a log whose file could not be read when it was asked for, that file's device and inode,
            empty where they are not known: it is begun at its end, as soon as it can be read.
        olddir: where rotation puts old files, absolute; empty: they stay in the log's folder.
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
    format_number: int = 1
    warning: str = ""
    folded_lines: int = 0
    folded_bytes: int = 0
    unread: list[int] | None = None
    olddir: str = ""
    spent: dict[str, float] = field(default_factory=dict)
    existing: list[str] = field(default_factory=list)
    addresses: AddressMode = "keep"

    @classmethod
    def new(
        cls,
        log: str,
        host: str,
        format_text: str,
        start: str,
        of: str | None = None,
        olddir: str = "",
    ) -> "Follow":
        """Of a path or a pattern."""
        path = Path(log)
        canonical = str(Path(os.path.realpath(path.parent)) / path.name)
        host = host_name(host)
        olddir = olddir and os.path.realpath(Path(canonical).parent / olddir)
        return cls(
            follow_id_of(canonical, host), log, canonical, host, format_text, start, of=of, olddir=olddir
        )

    @classmethod
    def from_request(cls, values: Any, host: str) -> "Follow":
        """Check a request's body; ``host`` is that of the settings.

        Raises:
            ValueError: a field is missing, unknown, or has a value that can't work; names field and value.
        """
        if not isinstance(values, dict):
            raise ValueError(f"the body is {type(values).__name__}, expected a JSON object")
        for name in values:
            if name not in ("log", "format", "start", "olddir", "addresses"):
                raise ValueError(f"{name} is not known, expected log, format, start, olddir, addresses")
        log, format_text = log_path(values.get("log")), values.get("format", "auto")
        start = values.get("start", "end")
        if not isinstance(format_text, str) or not format_text:
            raise ValueError(f"format is {format_text!r}, expected auto, a preset, or the server's own words")
        if start not in STARTS:
            raise ValueError(f"start is {start!r}, expected one of {STARTS}")
        olddir = values.get("olddir", "")
        if not isinstance(olddir, str) or "\0" in olddir or any(sign in _PATTERN for sign in olddir):
            raise ValueError(
                f"olddir is {olddir!r}, expected the folder that rotation puts old files into, or nothing"
            )
        addresses: Any = values.get("addresses") or "keep"
        if addresses not in get_args(AddressMode):
            raise ValueError(f"addresses is {addresses!r}, expected one of {get_args(AddressMode)}")
        if any(sign in _PATTERN for sign in str(Path(log).parent)) and not is_pattern(log):
            raise ValueError(f"log is {log!r}, expected a pattern in the file's name")
        return replace(cls.new(log, host, format_text, start, olddir=olddir), addresses=addresses)

    def with_folded(self, records: Iterable[ReplayRecord]) -> "Follow":
        """The same, and generations whose records are gone."""
        lines, size_bytes, spent = self.folded_lines, self.folded_bytes, dict(self.spent)
        for record in records:
            lines, size_bytes = lines + record.digest.lines, size_bytes + record.digest.size_bytes
            prefix = prefix_of(record.spec.replay_id)
            ended_at = datetime.fromisoformat(record.sealed_at or record.updated_at).timestamp()
            spent[prefix] = max(ended_at, spent.get(prefix, 0.0))
        return replace(self, folded_lines=lines, folded_bytes=size_bytes, spent=spent)

    def without_format(self, prefix: str) -> "Follow":
        """The same, and nobody can need the format of a prefix; no generation begins under it any more."""
        spent = {name: ended_at for name, ended_at in self.spent.items() if name != prefix}
        if prefix != self.prefix:
            return replace(self, spent=spent)
        return replace(self, spent=spent, taken_format="", format_number=self.format_number + 1)

    @property
    def prefix(self) -> str:
        """Begins the ids of the generations that are begun now; readers know their format by it."""
        return self.follow_id if self.format_number == 1 else f"{self.follow_id}.f{self.format_number}"

    @property
    def is_pattern(self) -> bool:
        """Whether it stands for the files that fit it; a pattern's file is none, whatever its name."""
        return not self.of and is_pattern(self.path)


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
        replace_file(self._folder / f"{follow.follow_id}.json", json.dumps(asdict(follow), indent=1))
        sync_folder(self._folder)

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
