"""One followed log, as the engine has it: begun, looked at, given its turns, shown, stopped."""

import os
from collections.abc import Iterable
from typing import Any

from logpipe.replayer.follow.files import Identity, identity_of
from logpipe.replayer.follow.finder import Finder
from logpipe.replayer.follow.generation import number_of
from logpipe.replayer.follow.looker import Looker
from logpipe.replayer.follow.office import Office
from logpipe.replayer.follow.part import newest
from logpipe.replayer.follow.sender import Sender
from logpipe.replayer.follow.state import LogState
from logpipe.replayer.follow.store import Follow
from logpipe.replayer.record import ReplayRecord

BEHIND_S = 5.0  # a log that is so long behind says so
_SHOWN_S = 0.5


class FollowedLog:
    """One path. `look` and `turn` are called by threads of their own, each by one at a time.

    A `Finder` finds its old files, a `Looker` sees which file the path is, a `Sender` sends them all; they
    share a `LogState`. Each knows those before it in this list, none those behind.

    Args:
        follow: what was asked for.
        office: sends and records for it, and for all the others.
    """

    def __init__(self, follow: Follow, office: Office) -> None:
        self.sink_trouble = ""
        self._office = office
        self._log = LogState(follow, office)
        self._finder = Finder(self._log, office.door)
        self._looker = Looker(self._log, self._finder, office)
        self._sender = Sender(self._log, self._looker, office)

    # ------------------------------------------------------------------ what is seen from outside

    @property
    def follow(self) -> Follow:
        """What was asked for, and what has to be known for ever."""
        return self._log.follow

    @property
    def follow_id(self) -> str:
        """Of what was asked for: the same for the same path."""
        return self.follow.follow_id

    @property
    def is_stopped(self) -> bool:
        """Whether nothing of it is under way any more."""
        return self.is_stopping and not any(part.ended_at is None for part in list(self._log.parts))

    @property
    def is_stopping(self) -> bool:
        """Whether it was asked to stop."""
        return self._log.stopping.is_set()

    @property
    def is_there(self) -> bool:
        """Whether its file was there at the last look."""
        return self._looker.is_there

    def reads(self, identity: Identity) -> bool:
        """Whether one of its files is this one."""
        return self._log.reads(identity)

    def folders(self) -> set[str]:
        """Where its files are written."""
        return {str(self._log.path.parent), os.path.dirname(self.file_path)}

    @property
    def file_path(self) -> str:
        """Of the file that it is now, links resolved."""
        part = newest(list(self._log.parts))
        return part.generation.file if part else str(self._log.path)

    def to_json(self) -> dict[str, Any]:
        """As others see it."""
        is_locked = self._log.lock.acquire(timeout=_SHOWN_S)  # it is held while the disk is full
        try:
            live = [part for part in self._log.parts if part.ended_at is None]
            digest = sum((part.record.digest for part in live), start=self._log.progress.ended)
            behind = sum(part.behind_bytes for part in live)
            current = newest(live)
            failed = next((part.record for part in live if part.record.state == "failed"), None)
            behind_s, lines_per_s = self._log.progress.behind_s, self._log.progress.lines_per_s
            unknown = list(self._log.progress.unknown)
        finally:
            if is_locked:
                self._log.lock.release()
        if self.is_stopping:
            state = "stopped"
        elif failed or self._log.trouble:
            state = "failed"
        elif not self._looker.is_there:
            state = "waiting"
        else:
            state = "behind" if behind_s > BEHIND_S else "following"
        said = [failed.reason if failed else "", self._log.trouble, self._log.reason]
        old = [part for part in live if part.left_at is not None and part.behind_bytes]
        if old and behind_s > BEHIND_S:
            said.append(
                f"{len(old)} files that were rotated away are not read to their end: what rotation deletes "
                "of them is unknown after a restart of the replayer"
            )
        reasons = [*said, self.sink_trouble, self._office.trouble, self.follow.warning]
        number = number_of(current.record.spec.replay_id) if current else self.follow.next_number - 1
        return {
            "follow_id": self.follow_id,
            "log": self.follow.log,
            "path": self.follow.path,
            "format": self.follow.taken_format or self.follow.format,
            "addresses": self.follow.addresses,
            "start": self.follow.start,
            "state": state,
            "reason": "; ".join(filter(None, reasons)) or None,
            "generation": number,
            "lines": digest.lines,
            "bytes": digest.size_bytes,
            "bytes_behind": behind,
            "seconds_behind": round(behind_s, 1),
            "lines_per_s": lines_per_s,
            "unknown": unknown,
        }

    # ------------------------------------------------------------------ what the engine has it do

    def begin(self) -> None:
        """Take the files that there are at the first time, as was asked for."""
        with self._log.looking, self._log.lock:
            records = self._office.records(self.follow_id)
            self._finder.begin(records)
            self._looker.see(at_end=self.follow.start == "end", known=records)
            if self._log.trouble and self.follow.start == "end":
                self._log.change(unread=list(identity_of(self._log.path) or ()))

    def go_on(self) -> None:
        """Find the files of the generations that were running, and those that came since."""
        with self._log.looking, self._log.lock:
            records = self._office.records(self.follow_id)
            self._finder.go_on([self._tried_again(record, records) for record in records])
            self._looker.see()

    def _tried_again(self, record: ReplayRecord, all_records: Iterable[ReplayRecord]) -> ReplayRecord:
        """What has failed goes on, unless somebody gave it up or its file was gone on with by another one."""
        begun = [(each.generation, each) for each in all_records if each.generation is not None]
        is_left = record.given_up_at or any(
            own.begin == record.place.offset and _is_behind(each, record) for own, each in begun
        )
        if record.state != "failed" or is_left:
            return record
        record = record.changed(state="running", reason=None, finished_at=None)
        self._office.save(record)
        return record

    def look(self) -> bool:
        """See which file the path is now; tells whether a turn is due."""
        return self._looker.look()

    def turn(self) -> float | None:
        """Send the next batch, if there is one; as `Sender.turn`."""
        return self._sender.turn()

    def stop(self) -> None:
        """Follow no more once what is in flight is acknowledged."""
        self._log.stopping.set()

    def revive(self) -> None:
        """Let what has failed go on."""
        with self._log.lock:
            for part in self._log.parts:
                if part.record.state == "failed":
                    part.record = part.record.changed(state="running", reason=None, finished_at=None)
                    self._office.save(part.record)

    def count(self, records: Iterable[ReplayRecord]) -> None:
        """Take note of generations that are over."""
        for record in records:
            self._log.progress.end(record)

    def fold(self, records: list[ReplayRecord]) -> None:
        """Records of generations go, and what was unknown of them with it."""
        with self._log.lock:
            self._log.follow = self.follow.with_folded(records)
            self._office.save_follow(self.follow)
            self._log.progress.forget(records)

    def forget_format(self, prefix: str) -> None:
        """Nobody can need the format of an earlier prefix."""
        with self._log.lock:
            self._log.follow = self.follow.without_format(prefix)
            self._office.save_follow(self.follow)

    def close(self) -> None:
        """Let go of the files; records stay as they are."""
        with self._log.lock:
            for part in self._log.parts:
                part.close()
            self._log.parts.clear()


def _is_behind(later: ReplayRecord, record: ReplayRecord) -> bool:
    """Whether a later generation is of the same file."""
    one, other = later.generation, record.generation
    assert one is not None
    assert other is not None
    is_same = (one.device, one.inode) == (other.device, other.inode)
    return is_same and number_of(later.spec.replay_id) > number_of(record.spec.replay_id)
