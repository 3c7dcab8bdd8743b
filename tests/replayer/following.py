"""A log as its server writes it, and a replayer that follows it; what arrived is read from the topic."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

from tests.machine import Record
from tests.waiting import wait_until

from .process import ReplayerProcess, Stack
from .test_replay import log_lines, without_repeats

QUICK = {"follow_quiet_s": 0.3, "follow_end_s": 1.0}


class Written:
    """A log as a server writes it, and everything that was written."""

    def __init__(self, path: Path, first: int = 0) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self._written = first
        self._file = path.open("ab", buffering=0)

    def write(self, count: int) -> None:
        some = [b"%d %s" % (n, line) for n, line in enumerate(log_lines(count), self._written)]
        self._written += count
        self._file.write(b"".join(line + b"\n" for line in some))
        self.lines += some

    def reopen(self) -> None:
        self._file.close()
        self._file = self.path.open("ab", buffering=0)


class Follower:
    """A replayer that follows, and the topic that it fills."""

    def __init__(self, stack: Stack, replayer: ReplayerProcess) -> None:
        self.stack = stack
        self.replayer = replayer
        self.since = stack.kafka.end_offsets(stack.topic("durable"))

    def follow(self, log: Path | str, **more: Any) -> dict[str, Any]:
        status, answer = self.replayer.request("POST", "/follows", {"log": str(log), **more})
        assert status in (200, 201), answer
        return dict(answer["follows"][0])

    def state(self, follow_id: str) -> dict[str, Any]:
        return dict(self.replayer.request("GET", f"/follows/{follow_id}")[1])

    def wait_for(self, follow_id: str, lines: int, deadline_s: float = 20.0) -> dict[str, Any]:
        def probe() -> dict[str, Any] | None:
            seen.update(self.state(follow_id))
            return seen if seen["lines"] >= lines else None

        seen: dict[str, Any] = {}
        try:
            return wait_until(probe, deadline_s, f"{lines} lines")
        except AssertionError as error:
            raise AssertionError(f"{error}: {seen}\n{self.replayer.log_path.read_text()[-3000:]}") from None

    def arrived(self, follow_id: str) -> list[bytes]:
        """The lines of a log that the topic holds, once each by the product's own rule, by their keys."""
        return [one.value for one in self.records(follow_id)]

    def records(self, follow_id: str) -> list[Record]:
        records = self.stack.kafka.read(self.stack.topic("durable"), self.since)
        own = re.compile(rf"{re.escape(follow_id)}(\.f\d+)?\.g")
        kept = without_repeats([one for one in records if own.match(str(one.key))])
        return sorted(kept, key=place)

    def must_hold(self, follow_id: str, lines: list[bytes]) -> None:
        self.wait_for(follow_id, len(lines))
        assert Counter(self.arrived(follow_id)) == Counter(lines)
        assert self.state(follow_id)["lines"] == len(lines)


def place(record: Record) -> tuple[int, int]:
    """Generation and number of a record's line."""
    generation, _, number = str(record.key).rpartition(".g")[2].partition(":")
    return int(generation), int(number)


def ended(follower: Follower, replay_id: str) -> bool:
    return bool(follower.replayer.record(replay_id).get("state") == "done")
