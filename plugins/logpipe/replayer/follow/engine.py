"""All followed logs of this host: a few threads that look and send, whatever the number of logs."""

import glob
import logging
import os
import re
import resource
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from logpipe.formats.compiler import compile_format
from logpipe.formats.detect import AUTO, take, told
from logpipe.formats.fields import FormatError
from logpipe.replayer.errors import InterruptedReplayError, SinkUnavailableError, SourceError
from logpipe.replayer.feed import LINGER_S
from logpipe.replayer.follow.files import COMPRESSED, Identity, identity_of, is_rotated_name, open_log
from logpipe.replayer.follow.generation import prefix_of
from logpipe.replayer.follow.log import FollowedLog
from logpipe.replayer.follow.office import Office
from logpipe.replayer.follow.rounds import Crew, Rounds
from logpipe.replayer.follow.store import Follow, FollowStore
from logpipe.replayer.follow.watcher import Watcher
from logpipe.replayer.halt import Halt
from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.registry import Registry
from logpipe.settings import Settings

SENDERS = 4
LOOKERS = 2
_MOST_THREADS = 32
_LOOK_S = 30.0  # where the file system tells of changes, in case that it forgets one
_POLL_S = 1.0  # where it does not
_PATTERNS_S = 10.0
_FIRST_S = 5.0
_AGAIN_S = 60.0
_STOP_WAIT_S = 4.5
_LOOKED_AT_BYTES = 256 * 1024  # of a log's begin or end, to tell its format

log = logging.getLogger(__name__)


class Engine:
    """Follows logs.

    Args:
        settings: where agent 1 and the topic are.
        records: keeps the records of generations, and lets others know of them.
    """

    def __init__(self, settings: Settings, records: Registry) -> None:
        self.settings = settings
        self._halt = Halt()
        self._store = FollowStore(settings.state_dir / "follows")
        self._office = Office(settings, records, self._store, self._halt, self._owner)
        self._logs: dict[str, FollowedLog] = {}
        self._patterns: dict[str, Follow] = {}
        self._stopped: dict[str, Follow] = {}
        self._expanded: dict[str, float] = {}  # until when a path that fits a pattern is left alone
        self._names: dict[tuple[str, str], str] = {}
        self._files: dict[str, str] = {}
        self._lock = threading.RLock()
        self._looks, self._turns = Rounds(), Rounds()
        self._lookers = Crew("follow-look", self._looks, self._look, size=LOOKERS, most=_MOST_THREADS)
        self._senders = Crew(
            "follow-send",
            self._turns,
            self._turn,
            size=SENDERS,
            most=_MOST_THREADS,
            may_wait=self._office.is_sending,
        )
        self._watcher = Watcher(self._folders, self._changed)
        self._keeper = threading.Thread(target=self._keep_watch, name="follow-keeper", daemon=True)

    # ------------------------------------------------------------------ what is asked for

    def resume(self) -> None:
        """Go on with everything that was followed.

        Raises:
            ValueError: what was followed cannot be read.
        """
        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # a log has a descriptor, and its old files
        for follow in self._store.load():
            if follow.is_stopped:
                self._stopped[follow.follow_id] = follow
            elif follow.is_pattern:
                self._patterns[follow.follow_id] = follow
            else:
                self._add(FollowedLog(follow, self._office), FollowedLog.go_on)
        self._lookers.start()
        self._senders.start()
        self._watcher.start()
        self._keeper.start()

    def follow(self, asked: Follow) -> tuple[list[dict[str, Any]], bool]:
        """Follow a log, or those that fit a pattern; one that is followed already is left as it is.

        Returns:
            What is followed now: the log; or the pattern and its logs. And whether that is new.

        Raises:
            ValueError: it may not be read, is no file of lines, or has another format than it is said to.
            OSError: it can't be recorded.
        """
        with self._lock:
            known = self._logs.get(asked.follow_id)
            if known is not None and not known.is_stopping:
                _must_fit(asked, known.follow)
                known.revive()
                self._turns.ask(asked.follow_id)
                return [known.to_json()], False
            if asked.follow_id in self._patterns:
                _must_fit(asked, self._patterns[asked.follow_id])
                return self._of_pattern(asked.follow_id), False
            if known is not None:
                raise ValueError(f"{asked.log} is being stopped: what is in flight is waited for; try again")
            before = self._stopped.get(asked.follow_id)
            if before is not None:
                asked = _again(asked, before)
            if asked.is_pattern:
                self._office.door.check(str(Path(asked.path).parent / "log"))
                if asked.olddir:
                    self._office.door.check(str(Path(asked.olddir) / "log"))
                asked = replace(asked, existing=sorted(glob.glob(asked.path)))
                self._store.save(asked)
                self._patterns[asked.follow_id] = asked
                self._stopped.pop(asked.follow_id, None)
                self._expand(asked, is_first=True)
                return self._of_pattern(asked.follow_id), True
            if same := self._same_file(asked):
                _must_fit(asked, same.follow)
                return [same.to_json()], False
            self._begin(self._checked(asked))
            return [self._logs[asked.follow_id].to_json()], True

    def get(self, follow_id: str) -> dict[str, Any] | None:
        """What is known of a followed log or pattern; None if there is none."""
        with self._lock:
            if follow_id in self._logs:
                return self._logs[follow_id].to_json()
            if follow_id in self._patterns:
                return self._of_pattern(follow_id)[0]
            stopped = self._stopped.get(follow_id)
        return None if stopped is None else self._ended(stopped)

    def all(self) -> list[dict[str, Any]]:
        """Everything that is followed, and what was."""
        with self._lock:
            ids = [*self._patterns, *self._logs, *self._stopped]
        return [one for one in map(self.get, sorted(set(ids))) if one is not None]

    def stop(self, follow_id: str) -> dict[str, Any] | None:
        """Follow no more, once what is in flight is acknowledged; None if there is no such log."""
        with self._lock:
            pattern = self._patterns.pop(follow_id, None)
            if pattern is not None:
                self._keep_stopped(pattern)
            logs = [
                each
                for each in self._logs.values()
                if each.follow_id == follow_id or (pattern and each.follow.of == follow_id)
            ]
            for each in logs:
                each.stop()
                self._turns.ask(each.follow_id)
        deadline = time.monotonic() + _STOP_WAIT_S
        while any(each.follow_id in self._logs for each in logs) and time.monotonic() < deadline:
            time.sleep(0.02)
        return self.get(follow_id)

    def shut_down(self) -> None:
        """Halt; what is in flight has a moment to be acknowledged. Everything goes on at the next start."""
        self._halt.ask()
        self._looks.end()
        self._turns.end()
        self._watcher.end()
        self._senders.end(_STOP_WAIT_S)
        self._lookers.end(0.5)

    def _checked(self, asked: Follow) -> Follow:
        """Refuse what can never be followed, and tell the format; what may become one day is waited for."""
        self._office.door.check(asked.path)
        if asked.olddir:
            self._office.door.check(str(Path(asked.olddir) / Path(asked.path).name))
        if asked.format != AUTO:
            compile_format(asked.format)
        try:
            file = open_log(Path(asked.path), self._office.door)
        except SourceError as error:
            raise ValueError(error.reason) from None
        except OSError:
            return asked  # not there yet, or no permission: its state says so
        try:
            head, size = file.read(0, _LOOKED_AT_BYTES), file.size()
            if b"\0" in head[:4096] or size is None:
                raise ValueError(f"{asked.log} is a binary file, expected lines of text")
            if asked.start == "end" and size > len(head):  # its first lines may have had another format
                head = file.read(size - _LOOKED_AT_BYTES, _LOOKED_AT_BYTES).partition(b"\n")[2]
        except OSError:
            return asked
        finally:
            file.close()
        lines = head.split(b"\n")[:-1]
        if not any(lines) or asked.taken_format:
            return asked
        try:
            found = take(asked.format, lines).name
        except FormatError as error:
            if asked.format != AUTO and asked.format_number == 1:
                raise FormatError(told(error, asked.addresses)) from None
            return asked  # the lines that are sent tell
        return replace(asked, format=found) if asked.format == AUTO else asked

    def _same_file(self, asked: Follow) -> FollowedLog | None:
        """The log that reads this file by another name."""
        identity = identity_of(Path(asked.path))
        return next((each for each in self._logs.values() if identity and each.reads(identity)), None)

    def _owner(self, identity: Identity, follow_id: str) -> str | None:
        """Another log that reads this file."""
        others = [each for each in list(self._logs.values()) if each.follow_id != follow_id]
        return next((each.follow_id for each in others if each.reads(identity)), None)

    def _begin(self, follow: Follow) -> None:
        # A disk that is full is told now, and a kill before the first record leaves nothing that is followed.
        self._store.save(replace(follow, is_stopped=True))
        self._stopped.pop(follow.follow_id, None)
        added = FollowedLog(follow, self._office)
        self._add(added, FollowedLog.begin)
        if added.follow == follow:  # it has no file yet, so nothing was recorded
            self._store.save(follow)
        self._watch(added)

    def _add(self, added: FollowedLog, begin: Callable[[FollowedLog], None]) -> None:
        with self._lock:
            self._logs[added.follow_id] = added
        begin(added)
        self._name(added, Path(added.follow.path))
        self._turns.ask(added.follow_id)
        self._looks.ask(added.follow_id)

    def _name(self, followed: FollowedLog, path: Path) -> None:
        """Events of this path, and of what rotation makes of its name, are this log's."""
        with self._lock:
            self._files[followed.follow_id] = followed.file_path
            for each in (path, Path(followed.file_path)):
                for name in (each.name, each.stem):
                    self._names.setdefault((str(each.parent), name), followed.follow_id)

    def _watch(self, followed: FollowedLog) -> None:
        if not all(map(self._watcher.watches, followed.folders())):
            self._watcher.renew()

    def _remove(self, removed: FollowedLog) -> None:
        """It has come to rest."""
        with self._lock:
            if self._logs.get(removed.follow_id) is not removed:
                return
            del self._logs[removed.follow_id]
            self._names = {name: one for name, one in self._names.items() if one != removed.follow_id}
            self._files.pop(removed.follow_id, None)
            self._expanded.pop(removed.follow.log, None)
            self._keep_stopped(removed.follow)
        removed.close()
        self._looks.forget(removed.follow_id)
        self._turns.forget(removed.follow_id)

    def _keep_stopped(self, follow: Follow) -> None:
        stopped = replace(follow, is_stopped=True)
        self._office.save_follow(stopped)
        self._stopped[follow.follow_id] = stopped

    def _ended(self, follow: Follow) -> dict[str, Any]:
        ended = FollowedLog(follow, self._office)
        ended.stop()
        ended.count(self._office.records(follow.follow_id))
        return ended.to_json()

    # ------------------------------------------------------------------ patterns

    def _expand(self, pattern: Follow, *, is_first: bool = False) -> None:
        """Follow the files that fit a pattern and are not followed yet; first for a while only."""
        paths = glob.glob(pattern.path)
        now_s = time.monotonic()
        names = {os.path.basename(path) for path in paths}
        for path in sorted(paths):
            if self._expanded.get(path, 0.0) > now_s:
                continue
            if is_first and time.monotonic() > now_s + _FIRST_S:
                return  # the others follow by and by
            name = os.path.basename(path)
            is_log = not _is_old(name, names) and Path(path).suffix not in COMPRESSED
            if is_log and os.path.isfile(path):
                self._expanded[path] = now_s + _AGAIN_S
                self._follow_one(pattern, path, is_first=is_first)

    def _follow_one(self, pattern: Follow, path: str, *, is_first: bool) -> None:
        start = pattern.start if path in pattern.existing or pattern.start == "start" else "since"
        follow = Follow.new(
            path, self.settings.host, pattern.format, start, pattern.follow_id, pattern.olddir
        )
        follow = replace(follow, created_at=pattern.created_at, addresses=pattern.addresses)
        with self._lock:
            if follow.follow_id in self._logs or self._same_file(follow):
                return
            before = self._stopped.get(follow.follow_id)
            if before is not None and not is_first and before.created_at >= pattern.created_at:
                return  # somebody stopped it by its name
            try:
                if before is not None:
                    follow = _again(follow, before)
                follow = self._checked(follow)
            except ValueError as error:
                log.warning("%s fits %s and is not followed: %s", path, pattern.path, error)
            else:
                self._begin(follow)

    def _of_pattern(self, follow_id: str) -> list[dict[str, Any]]:
        pattern = self._patterns[follow_id]
        found = [each.to_json() for each in self._logs.values() if each.follow.of == follow_id]
        states = {each["state"] for each in found}
        worst = next((state for state in ("failed", "behind", "following") if state in states), "waiting")
        totals = ("lines", "bytes", "bytes_behind", "lines_per_s")
        absent = f"no file fits {pattern.path} (yet)"
        if os.path.lexists(pattern.path):
            absent += f"; the file of that very name is followed with LOG='{glob.escape(pattern.path)}'"
        return [
            {
                "follow_id": follow_id,
                "log": pattern.log,
                "path": pattern.path,
                "format": pattern.format,
                "addresses": pattern.addresses,
                "start": pattern.start,
                "state": worst,
                "reason": None if found else absent,
                "generation": 0,
                **{name: sum(each[name] for each in found) for name in totals},
                "seconds_behind": max((each["seconds_behind"] for each in found), default=0.0),
                "unknown": [],
                "files": [each["follow_id"] for each in found],
            },
            *found,
        ]

    # ------------------------------------------------------------------ threads

    def _folders(self) -> Iterable[str]:
        with self._lock:
            logs, patterns = list(self._logs.values()), list(self._patterns.values())
        return {folder for each in logs for folder in each.folders()} | {
            str(Path(each.path).parent) for each in patterns
        }

    def _changed(self, paths: set[str] | None) -> None:
        """Something happened to these paths; None: to any."""
        if paths is None:
            with self._lock:
                found = set(self._logs)
        else:
            found = {one for path in paths if (one := self._named(path)) is not None}
        for follow_id in found:
            self._looks.ask(follow_id)
            self._turns.ask(follow_id)
        if paths and self._patterns:
            folders = {os.path.dirname(path) for path in paths if self._named(path) is None}
            for pattern in list(self._patterns.values()):
                if str(Path(pattern.path).parent) in folders:
                    self._expand(pattern)

    def _named(self, path: str) -> str | None:
        """The log that a file is one of, by its name: ``access.log-20261129.gz`` is one of ``access.log``."""
        folder, name = os.path.split(path)
        while name:
            if (found := self._names.get((folder, name))) is not None:
                return found
            name = name[: max(name.rfind("."), name.rfind("-"), 0)]
        return None

    def _look(self, follow_id: str) -> None:
        followed = self._logs.get(follow_id)
        if followed is None:
            return self._looks.give_back(follow_id, None)
        was_there = followed.is_there
        try:
            is_due = followed.look()
        finally:
            is_watched = followed.is_there and all(map(self._watcher.watches, followed.folders()))
            self._looks.give_back(follow_id, _LOOK_S if is_watched else _POLL_S)
        if is_due:
            self._turns.ask(follow_id)
        if followed.is_there != was_there or followed.file_path != self._files.get(follow_id):
            self._name(followed, Path(followed.follow.path))
            self._watch(followed)
        return None

    def _turn(self, follow_id: str) -> None:
        followed = self._logs.get(follow_id)
        wait_s: float | None = None
        at_least_s = 0.0
        try:
            if followed is not None:
                wait_s = followed.turn()
                followed.sink_trouble = ""
        except SinkUnavailableError as error:
            assert followed is not None
            followed.sink_trouble = f"{error}; trying again"
            wait_s = at_least_s = self._office.gate.wait_s
        except InterruptedReplayError:
            wait_s = None
        finally:
            if wait_s == LINGER_S:
                at_least_s = LINGER_S
            self._turns.give_back(follow_id, wait_s, at_least_s=at_least_s)
        if followed is not None and followed.is_stopped:
            self._remove(followed)

    def _keep_watch(self) -> None:
        """Replace what hangs; look whether new files fit a pattern."""
        look_at_s = 0.0
        while not self._halt.wait(_POLL_S):
            self._lookers.look_after()
            self._senders.look_after()
            if time.monotonic() < look_at_s:
                continue
            look_at_s = time.monotonic() + _PATTERNS_S
            for pattern in list(self._patterns.values()):
                try:
                    self._expand(pattern)
                except OSError as error:
                    log.warning("%s cannot be looked for: %s", pattern.path, error)

    # ------------------------------------------------------------------ records that go

    def folded(self, records: Iterable[ReplayRecord]) -> None:
        """Records are gone, of which sums are enough; how many lines a log had in all is kept with it."""
        of_log: dict[str, list[ReplayRecord]] = defaultdict(list)
        for record in records:
            if record.generation is not None:
                of_log[record.generation.follow_id].append(record)
        for follow_id, own in of_log.items():
            with self._lock:
                if (followed := self._logs.get(follow_id)) is not None:
                    followed.fold(own)
                elif (stopped := self._stopped.get(follow_id)) is not None:
                    self._stopped[follow_id] = folded = stopped.with_folded(own)
                    self._office.save_follow(folded)

    def drop_formats(self, since_s: float, drop: Callable[[str], None]) -> None:
        """Drop the formats that nobody can need: no record, no file on HDFS and no topic has lines of theirs.

        Args:
            since_s: those of what ended before are needless, Unix time.
            drop: deletes the entry of a prefix.
        """
        with self._lock:
            known = [*self._stopped.values(), *(each.follow for each in self._logs.values())]
        for follow in known:
            has_records = {prefix_of(one.spec.replay_id) for one in self._office.records(follow.follow_id)}
            for prefix, ended_at in follow.spent.items():
                if (
                    ended_at < since_s
                    and prefix not in has_records
                    and self._retire(follow.follow_id, prefix)
                ):
                    drop(prefix)
                    self._forget_format(follow.follow_id, prefix)

    def _retire(self, follow_id: str, prefix: str) -> bool:
        """See to it that no generation begins under a prefix; false if one may."""
        with self._lock:
            if (followed := self._logs.get(follow_id)) is not None:
                return followed.follow.prefix != prefix
            stopped = self._stopped[follow_id]
            if stopped.prefix == prefix:  # kept among the spent until its entry is gone
                changed = replace(stopped.without_format(prefix), spent=stopped.spent)
                self._stopped[follow_id] = changed
                self._office.save_follow(changed)
            return True

    def _forget_format(self, follow_id: str, prefix: str) -> None:
        with self._lock:
            if (followed := self._logs.get(follow_id)) is not None:
                followed.forget_format(prefix)
            else:
                self._stopped[follow_id] = changed = self._stopped[follow_id].without_format(prefix)
                self._office.save_follow(changed)


def _is_old(name: str, names: set[str]) -> bool:
    """Whether a file's name is what rotation makes of another one's."""
    cut = name
    while cut := cut[: max(cut.rfind("."), cut.rfind("-"), 0)]:
        if cut in names and is_rotated_name(name, cut):
            return True
    return re.sub(r"[-._]\d[\dT:._-]*", "", name) in names - {name}


def _again(asked: Follow, before: Follow) -> Follow:
    """A log that is followed again: its generations are numbered on; for another format by another prefix."""
    is_another = bool(before.taken_format) and not _fits(asked, before)
    return replace(
        asked,
        next_number=before.next_number,
        taken_format="" if is_another else before.taken_format,
        format_number=before.format_number + is_another,
        folded_lines=before.folded_lines,
        folded_bytes=before.folded_bytes,
        spent=before.spent,
        olddir=asked.olddir or before.olddir,
    )


def _fits(asked: Follow, known: Follow) -> bool:
    """Whether what is known reads the lines as they are asked to be read."""
    return asked.format in (AUTO, known.format, known.taken_format)


def _must_fit(asked: Follow, known: Follow) -> None:
    """Raise ValueError: it is followed, in another format, with other addresses, or old files elsewhere."""
    if asked.addresses not in ("keep", known.addresses):
        raise ValueError(
            f"addresses is {asked.addresses!r}, and {known.path} is followed with {known.addresses!r}: "
            "unfollow it, and follow it again"
        )
    if asked.olddir not in ("", known.olddir):
        raise ValueError(
            f"olddir is {asked.olddir!r}, and {known.path} is followed with "
            f"{known.olddir or 'its own folder'!r}: unfollow it, and follow it again"
        )
    if not _fits(asked, known):
        raise ValueError(
            f"format is {asked.format!r}, and {known.path} is followed as "
            f"{known.taken_format or known.format!r}: unfollow it, and follow it again"
        )
