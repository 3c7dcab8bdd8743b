"""Following where the machine does not play along: pipes, permissions, no events, no room on the disk."""

import gzip
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from logpipe.digest import Digest
from logpipe.replayer.feed import Place
from logpipe.replayer.follow.generation import Generation, record_id
from logpipe.replayer.follow.store import Follow, FollowStore
from logpipe.replayer.journal import Journal
from logpipe.replayer.record import ReplayRecord, ReplaySpec
from tests.machine import Hdfs
from tests.small_disk import SmallDisk
from tests.waiting import wait_until

from .following import QUICK, Follower, Written
from .process import ReplayerProcess, Stack

pytestmark = pytest.mark.integration

Start = Callable[..., ReplayerProcess]
OLD = 1500  # generations that have ended


@pytest.fixture
def settings(stack: Stack, hdfs: Hdfs) -> dict[str, object]:
    return stack.settings | QUICK | {"webhdfs_url": hdfs.webhdfs_url}


def test_a_pipe_in_the_place_of_a_log_holds_nobody_up(follower: Follower, tmp_path: Path) -> None:
    log, other = Written(tmp_path / "access.log"), Written(tmp_path / "other.log", 1000)
    followed, beside = follower.follow(log.path), follower.follow(other.path)
    log.write(5)
    follower.wait_for(followed["follow_id"], 5)
    os.rename(log.path, tmp_path / "access.log.1")
    os.mkfifo(log.path)
    wait_until(lambda: follower.state(followed["follow_id"])["state"] == "failed", 20, "its failure")
    assert "is a device or pipe" in follower.state(followed["follow_id"])["reason"]
    other.write(7)
    follower.must_hold(beside["follow_id"], other.lines)
    log.path.unlink()
    log.reopen()
    log.write(6)
    follower.must_hold(followed["follow_id"], log.lines)


@pytest.mark.skipif(not shutil.which("setpriv"), reason="root is refused nothing, and setpriv is not there")
def test_a_log_without_permission_is_told_and_taken_once_it_is_given(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path
) -> None:
    caps = "-dac_override,-dac_read_search"
    through = () if os.geteuid() else ("setpriv", "--bounding-set", caps)
    follower = Follower(stack, start_replayer(through=through, **settings))
    folder = tmp_path / "closed"
    folder.mkdir()
    log, inside = Written(tmp_path / "access.log"), Written(folder / "access.log", 1000)
    other = Written(tmp_path / "other.log", 2000)
    log.path.chmod(0)
    folder.chmod(0)
    try:
        found = [follower.follow(each.path) for each in (log, inside, other)]
        assert [one["state"] for one in found] == ["failed", "failed", "following"]
        assert f"no permission to read {log.path}" in found[0]["reason"]
        assert "Permission denied" in found[1]["reason"]
        for each in (log, inside, other):
            each.write(5)
        follower.must_hold(found[2]["follow_id"], other.lines)
    finally:
        folder.chmod(0o700)
    log.path.chmod(0o600)
    for one, each in zip(found, (log, inside), strict=False):
        wait_until(lambda one=one: follower.state(one["follow_id"])["state"] == "following", 20, "its turn")
        each.lines.clear()  # it begins at its end
        each.write(4)
        follower.must_hold(one["follow_id"], each.lines)


def has_namespaces() -> bool:
    tried = (
        "unshare",
        "--user",
        "--map-root-user",
        "sh",
        "-c",
        "echo 0 >/proc/sys/user/max_inotify_instances",
    )
    try:
        return subprocess.run(tried, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not has_namespaces(), reason="a limit of its own needs a user namespace")
def test_without_events_of_the_file_system_logs_are_looked_at(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path
) -> None:
    limit = 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$@"'
    through = ("unshare", "--user", "--map-root-user", "sh", "-c", limit, "sh")
    follower = Follower(stack, start_replayer(through=through, **settings))
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    for number in range(3):
        log.write(100)
        os.rename(log.path, tmp_path / f"access.log.{number}")
        log.write(10)
        log.reopen()
        log.write(50)
        follower.must_hold(followed["follow_id"], log.lines)
    assert "looked at every second" in follower.replayer.log_path.read_text()


def test_a_full_disk_of_the_state_folder_holds_back_and_loses_nothing(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path
) -> None:
    """What is acknowledged and not recorded is sent again, and known by its identity."""
    follower = Follower(stack, start_replayer(**settings))
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    follower.wait_for(followed["follow_id"], 10)
    pid = follower.replayer.process.pid
    _, most = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))  # no file takes a byte, as on a full disk
    log.write(20)
    wait_until(lambda: len(follower.arrived(followed["follow_id"])) == 30, 20, "lines that nobody records")
    os.rename(log.path, tmp_path / "access.log.1")
    log.reopen()
    log.write(30)
    wait_until(lambda: follower.state(followed["follow_id"])["reason"], 20, "a word of it")
    seen = follower.state(followed["follow_id"])
    assert (seen["lines"], "cannot be written: File too large" in seen["reason"]) == (10, True)
    status, answer = follower.replayer.request("POST", "/follows", {"log": str(tmp_path / "other.log")})
    assert (status, "File too large" in answer["error"]) == (507, True)
    follower.replayer.kill()
    log.write(5)
    follower.replayer = start_replayer(**settings)
    follower.must_hold(followed["follow_id"], log.lines)
    pid = follower.replayer.process.pid
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, most))
    log.write(7)
    wait_until(lambda: len(follower.arrived(followed["follow_id"])) == 72, 20, "lines that nobody records")
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, most))
    follower.must_hold(followed["follow_id"], log.lines)


@pytest.mark.parametrize("again", ["followed again", "restarted"])
def test_what_failed_is_read_on_to_its_end(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path, again: str
) -> None:
    """Also a file that is only read once, and that nobody opens a second time: a gzipped one."""
    keys = tmp_path / "keys.json"
    own = settings | {"address_keys_file": str(keys)}
    follower = Follower(stack, start_replayer(**own))
    log = Written(tmp_path / "access.log")
    log.write(10)
    followed = follower.follow(log.path, start="start", addresses="hash")
    follower.wait_for(followed["follow_id"], 10)
    good = keys.read_text()
    follower.replayer.kill()
    log.write(30)
    old = log.path.rename(tmp_path / "access.log.1")
    log.reopen()
    log.write(5)
    with gzip.open(tmp_path / "access.log.1.gz", "wb") as packed:
        packed.write(old.read_bytes())
    shutil.copystat(old, tmp_path / "access.log.1.gz")
    old.unlink()
    keys.write_text("damaged")
    follower.replayer = start_replayer(**own)
    wait_until(lambda: follower.state(followed["follow_id"])["state"] == "failed", 20, "its failure")
    assert str(keys) in follower.state(followed["follow_id"])["reason"]
    keys.write_text(good)
    if again == "restarted":
        follower.replayer.kill()
        follower.replayer = start_replayer(**own)
    else:
        follower.follow(log.path, start="start", addresses="hash")
    follower.wait_for(followed["follow_id"], 45)
    assert len(follower.arrived(followed["follow_id"])) == 45
    assert follower.state(followed["follow_id"])["unknown"] == []


def test_lines_are_held_back_before_a_disk_is_full(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path
) -> None:
    """A broker whose disk is full may lose what it has acknowledged."""
    disk = SmallDisk(tmp_path / "state" / "kafka", 64)
    try:
        follower = Follower(stack, start_replayer(**settings, keep_free_mb=32))
        log = Written(tmp_path / "access.log")
        followed = follower.follow(log.path)
        log.write(10)
        follower.must_hold(followed["follow_id"], log.lines)
        disk.fill(keep_mb=31)
        log.write(20)
        follower.replayer.submit("held-back", log.path.as_uri())
        told = (f"{tmp_path}/state/kafka has 30 MB free", "(LOGPIPE_KEEP_FREE_MB)")
        for reason in (
            lambda: follower.state(followed["follow_id"])["reason"] or "",
            lambda: follower.replayer.record("held-back")["reason"] or "",
        ):
            wait_until(lambda reason=reason: all(part in reason() for part in told), 20, "a word of it")
        assert len(follower.arrived(followed["follow_id"])) == 10
        assert follower.replayer.record("held-back")["lines"] == 0
        disk.free()
        follower.must_hold(followed["follow_id"], log.lines)
        follower.replayer.wait_state("held-back", "done")
    finally:
        disk.unmount()


def test_after_an_outage_of_the_agent_lines_are_caught_up_with_in_order(
    stack: Stack, follower: Follower, tmp_path: Path
) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    follower.wait_for(followed["follow_id"], 10)
    stack.durable.kill()
    for number in range(8, 0, -1):
        log.write(10_000)
        os.rename(log.path, tmp_path / f"access.log.{number}")
        log.reopen()
        if number % 2:
            subprocess.run(["gzip", tmp_path / f"access.log.{number}"], check=True)
    log.write(5_000)
    wait_until(lambda: follower.state(followed["follow_id"])["reason"], 20, "a word of the outage")
    stack.durable.start()
    begun = time.monotonic()
    follower.wait_for(followed["follow_id"], len(log.lines), 60)
    assert len(log.lines) / (time.monotonic() - begun) > 2_000, "lines a second"
    assert follower.arrived(followed["follow_id"]) == log.lines


def test_old_files_in_another_folder_are_found_after_a_restart(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path
) -> None:
    follower = Follower(stack, start_replayer(**settings))
    folder, old = tmp_path / "logs", tmp_path / "old"
    folder.mkdir()
    old.mkdir()
    log = Written(folder / "access.log")
    followed = follower.follow(log.path, olddir="../old")
    log.write(10)
    follower.wait_for(followed["follow_id"], 10)
    follower.replayer.kill()
    for number in (3, 2, 1):
        log.write(20)
        os.rename(log.path, old / f"access.log.{number}")
        log.reopen()
    subprocess.run(["gzip", old / "access.log.3"], check=True)
    log.write(5)
    follower.replayer = start_replayer(**settings)
    follower.must_hold(followed["follow_id"], log.lines)
    assert follower.arrived(followed["follow_id"]) == log.lines
    assert follower.state(followed["follow_id"])["unknown"] == []
    status, answer = follower.replayer.request(
        "POST", "/follows", {"log": str(folder / "other.log"), "olddir": "/etc"}
    )
    assert (status, "LOGPIPE_FILE_ROOTS" in answer["error"]) == (422, True), answer


def test_a_file_whose_name_looks_like_a_pattern_goes_on_after_a_restart(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path
) -> None:
    follower = Follower(stack, start_replayer(**settings))
    log = Written(tmp_path / "access[1].log")
    log.write(10)
    (followed,) = follower.follow(tmp_path / "*.log", start="start")["files"]
    follower.wait_for(followed, 10)
    follower.replayer.kill()
    log.write(5)
    follower.replayer = start_replayer(**settings)
    follower.must_hold(followed, log.lines)
    assert follower.arrived(followed) == log.lines
    other = tmp_path / "other[2].txt"
    other.touch()
    assert f"LOG='{tmp_path}/other[[]2].txt'" in follower.follow(other)["reason"]


def test_thousands_of_ended_generations_are_folded_to_one_record(
    stack: Stack, settings: dict[str, object], start_replayer: Start, tmp_path: Path
) -> None:
    log = Written(tmp_path / "access.log")
    state = tmp_path / "state"
    follow = Follow.new(str(log.path), "localhost", "combined", "end")
    follow = replace(follow, next_number=OLD + 1, taken_format="combined")
    (state / "replays").mkdir(parents=True)
    journal = Journal(state / "replays")
    ended_at = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="milliseconds")
    for number in range(1, OLD + 1):
        generation = Generation(follow.follow_id, follow.path, f"{log.path}.{number}", follow.host, 1, number)
        spec = ReplaySpec(record_id(follow.follow_id, number), log.path.as_uri(), "max", "durable", None)
        ended = {"state": "done", "started_at": ended_at, "finished_at": ended_at, "sealed_at": ended_at}
        record = ReplayRecord(spec, place=Place(2, 10, 10), digest=Digest(2, 8), generation=generation)
        journal.save(replace(record, **ended))
    journal.close()
    FollowStore(state / "follows").save(follow)
    begun = time.monotonic()
    follower = Follower(stack, start_replayer(**settings))
    wait_until(lambda: len(list((state / "replays").glob("*.json"))) < 5, 60, "the fold")
    assert time.monotonic() - begun < 60
    asked = time.monotonic()
    assert follower.state(follow.follow_id)["lines"] == 2 * OLD
    assert time.monotonic() - asked < 2
    assert (state / "follows" / f"{follow.follow_id}.json").stat().st_size < 4096
    log.write(3)
    follower.wait_for(follow.follow_id, 2 * OLD + 3)
    assert len(follower.replayer.request("GET", "/replays")[1]["replays"]) == 1
    follower.replayer.kill()
    follower.replayer = start_replayer(**settings)
    follower.wait_for(follow.follow_id, 2 * OLD + 3)
