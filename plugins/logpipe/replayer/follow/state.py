"""What the threads of a followed log share: its open files, and what is known of all of them."""

import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

from logpipe.digest import Digest
from logpipe.replayer.feed import Place
from logpipe.replayer.follow.files import Identity, OpenLog
from logpipe.replayer.follow.generation import HEAD_BYTES, Generation, Head, record_id
from logpipe.replayer.follow.known import Known
from logpipe.replayer.follow.office import Office
from logpipe.replayer.follow.part import Part
from logpipe.replayer.follow.progress import Progress
from logpipe.replayer.follow.store import Follow
from logpipe.replayer.record import ReplayRecord, ReplaySpec


class LogState:
    """Of one log. Files come and go, and the follow changes, under its lock.

    Args:
        follow: what was asked for.
        office: records for it.

    Attributes:
        looking: held by who finds out which files there are; taken before the lock.
        parts: the files that are read, or watched after their end.
        known: tells whether a file is that of a generation.
        reason: what is to be said, though it is no trouble; may be empty.
        trouble: why it cannot be read; empty while it can.
        stopping: set once it is to be followed no more.
    """

    def __init__(self, follow: Follow, office: Office) -> None:
        self.follow = follow
        self.path = Path(follow.path)
        self.lock = threading.RLock()
        self.looking = threading.Lock()
        self.parts: list[Part] = []
        self.known = Known()
        self.progress = Progress(Digest(follow.folded_lines, follow.folded_bytes))
        self.reason = ""
        self.trouble = ""
        self.stopping = threading.Event()
        self._office = office

    def reads(self, identity: Identity) -> bool:
        """Whether one of its files is this one."""
        files = [part.file for part in list(self.parts)]
        return any(file is not None and file.identity == identity for file in files)

    def append(
        self,
        file: OpenLog | None,
        *,
        begin: int = 0,
        is_late: bool = False,
        identity: Identity = (0, 0),
        path: Path | None = None,
    ) -> Part:
        """Begin a generation; its number is taken first, so that it is never taken twice."""
        number = self.change(next_number=self.follow.next_number + 1).next_number - 1
        device, inode = file.identity if file else identity
        where = path or (file.path if file else self.path)
        generation = Generation(
            self.follow.follow_id,
            self.follow.path,
            os.path.realpath(where),
            self.follow.host,
            device,
            inode,
            begin=begin,
            head=Head.of(file.read(0, HEAD_BYTES)) if file else Head(),
            written_at=file.written_at() if file else 0.0,
            is_late=is_late,
            olddir=self.follow.olddir,
        )
        spec = ReplaySpec(
            record_id(self.follow.prefix, number),
            self.path.as_uri(),
            "max",
            "durable",
            limit=None,
            addresses=self.follow.addresses,
        )
        record = ReplayRecord(spec, place=Place(0, begin, begin), generation=generation)
        self._office.save(record, is_new=True)
        self.known.add(record)
        part = Part(record, file, is_late=is_late)
        with self.lock:
            self.parts.append(part)
        return part

    def drop(self, part: Part) -> None:
        """Close a file; one that is over is not watched any more."""
        part.close()
        if part.ended_at is not None:
            self.parts.remove(part)

    def change(self, **changes: Any) -> Follow:
        """Save the follow with other values, then let others see them."""
        with self.lock:
            changed = replace(self.follow, **changes)
            self._office.save_follow(changed)
            self.follow = changed
            return changed
