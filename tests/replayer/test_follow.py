"""Followed logs against real Kafka and an agent 1: each line is in the topic once, whatever rotates."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.waiting import wait_until

from .process import ReplayerProcess, Stack
from .test_replay import log_lines, without_repeats

pytestmark = pytest.mark.integration

QUICK = {"follow_quiet_s": 0.3, "follow_end_s": 1.0}


class Written:
    """A log as a server writes it, and everything that was written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lines: list[bytes] = []
        self._written = 0
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
        """The lines of a log that the topic holds, once each by the product's own rule."""
        records = self.stack.kafka.read(self.stack.topic("durable"), self.since)
        kept = without_repeats([one for one in records if str(one.key).startswith(f"{follow_id}.g")])
        return [one.value for one in kept]

    def must_hold(self, follow_id: str, lines: list[bytes]) -> None:
        self.wait_for(follow_id, len(lines))
        assert Counter(self.arrived(follow_id)) == Counter(lines)
        assert self.state(follow_id)["lines"] == len(lines)


@pytest.fixture
def follower(stack: Stack, start_replayer: Callable[..., ReplayerProcess]) -> Follower:
    return Follower(stack, start_replayer(**stack.settings, **QUICK))


def test_a_log_is_followed_through_a_rename(follower: Follower, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    log.write(10)
    before, log.lines = log.lines, []
    followed = follower.follow(log.path)
    assert followed["state"] == "following"
    log.write(5_000)
    follower.wait_for(followed["follow_id"], 5_000)
    for number in range(3):
        os.rename(log.path, tmp_path / f"access.log.{number}")
        log.write(700)
        log.reopen()
        log.write(1_300)
        follower.must_hold(followed["follow_id"], log.lines)
    assert not set(before) & set(follower.arrived(followed["follow_id"]))
    assert follower.state(followed["follow_id"])["generation"] == 4
