"""Followed logs against real Kafka and an agent 1: each line is in the topic once, whatever rotates."""

import base64
import gzip
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest

from logpipe.clients.formats import FormatRegistry
from logpipe.contracts.formats import entry_of
from tests.machine import Hdfs
from tests.waiting import wait_until

from .following import QUICK, Follower, Written, ended, place
from .process import ReplayerProcess, Stack
from .test_replay import MAX_LINE_BYTES

pytestmark = pytest.mark.integration


def test_addresses_of_a_followed_log_are_treated_in_each_of_its_files(
    follower: Follower, tmp_path: Path
) -> None:
    line = b'203.0.113.%d - - [01/Aug/1995:00:00:01 -0400] "GET /%d HTTP/1.0" 200 1'
    log, lines = tmp_path / "people.log", [line % (n % 200, n) for n in range(2000)]
    long = b"203.0.113.9 - - [01/Aug/1995:00:00:01 -0400] " + b"x" * (2 << 20)
    log.write_bytes(b"".join(each + b"\n" for each in (long, *lines[:1000])))
    followed = follower.follow(log, start="start", format="combined", addresses="shorten")
    assert followed["addresses"] == "shorten"
    with pytest.raises(AssertionError, match="followed with 'shorten'"):
        follower.follow(log, addresses="hash")
    follower.wait_for(followed["follow_id"], 1000)
    log.rename(tmp_path / "people.log.1")
    log.write_bytes(b"".join(each + b"\n" for each in lines[1000:]))
    short = [b"203.0.113.0 " + each.split(b" ", 1)[1] for each in lines]
    follower.must_hold(followed["follow_id"], short)
    status, record = follower.replayer.request("GET", f"/replays/{followed['follow_id']}.g2")
    assert (status, record["treatment"]["mode"], record["lines"]) == (200, "shorten", 1000)
    letters = follower.replayer.state_dir / "dead_letters" / f"{followed['follow_id']}.g1.jsonl"
    (letter,) = letters.read_text().splitlines()
    assert base64.b64decode(json.loads(letter)["prefix_base64"]).startswith(b"203.0.113.0 ")


def test_a_followed_line_whose_hash_makes_it_too_long_is_set_aside(
    follower: Follower, tmp_path: Path
) -> None:
    begin = b'::1 - - [01/Aug/1995:00:00:01 -0400] "GET /'
    lines = [begin + b'%d HTTP/1.0" 200 7' % number for number in range(300)]
    grown = begin.ljust(MAX_LINE_BYTES, b"x")
    log = tmp_path / "hashed.log"
    log.write_bytes(b"".join(each + b"\n" for each in (*lines[:100], grown, *lines[100:200], grown)))
    follow_id = follower.follow(log, start="start", format="combined", addresses="hash")["follow_id"]
    follower.wait_for(follow_id, 200)
    with log.open("ab") as file:
        file.writelines(each + b"\n" for each in lines[200:])
    follower.wait_for(follow_id, 300)
    records = follower.records(follow_id)
    assert [place(one)[1] for one in records] == [n for n in range(1, 303) if n not in (101, 202)]
    assert [one.value.split(b" ", 1)[1] for one in records] == [line.split(b" ", 1)[1] for line in lines]
    letters = follower.replayer.state_dir / "dead_letters" / f"{follow_id}.g1.jsonl"
    kept = [json.loads(letter) for letter in letters.read_text().splitlines()]
    assert [(letter["line_number"], letter["length_bytes"]) for letter in kept] == [
        (number, MAX_LINE_BYTES + len("h-0123456789abcdef") - len("::1")) for number in (101, 202)
    ]
    status, record = follower.replayer.request("GET", f"/replays/{follow_id}.g1")
    assert (status, record["set_aside"], record["lines"]) == (200, 2, 300)


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


def test_an_old_file_is_read_to_its_end_though_its_server_writes_on(
    follower: Follower, tmp_path: Path
) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    os.rename(log.path, tmp_path / "access.log.1")
    new = Written(log.path, first=100_000)
    new.write(5)
    log.write(20)
    follower.wait_for(followed["follow_id"], 35)
    # Its generation has ended long ago by now, and begins another one.
    wait_until(lambda: ended(follower, f"{followed['follow_id']}.g1"), 20, "the end of the first")
    log.write(30)
    new.write(7)
    follower.must_hold(followed["follow_id"], log.lines + new.lines)


def test_a_deleted_file_is_read_to_its_end(follower: Follower, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    log.path.unlink()
    log.write(3000)
    follower.wait_for(followed["follow_id"], 3010)
    # The lines may be there before anybody has looked at the path again.
    wait_until(lambda: follower.state(followed["follow_id"])["state"] == "waiting", 5)
    log.reopen()
    log.write(100)
    follower.must_hold(followed["follow_id"], log.lines)
    assert follower.state(followed["follow_id"])["state"] == "following"


def test_an_unfinished_line_waits_for_its_end(follower: Follower, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(3)
    with log.path.open("ab", buffering=0) as file:
        file.write(b"begun ")
        follower.wait_for(followed["follow_id"], 3)
        file.write(b"and ended\nleft")
        follower.wait_for(followed["follow_id"], 4)
    os.rename(log.path, tmp_path / "access.log.1")
    log.reopen()
    log.write(1)
    log.lines += [b"begun and ended", b"left"]
    follower.must_hold(followed["follow_id"], log.lines)


def test_a_moved_link_is_a_rotation(follower: Follower, tmp_path: Path) -> None:
    first, second = Written(tmp_path / "access.2026-11-28"), Written(tmp_path / "access.2026-11-29", 1000)
    link = tmp_path / "current"
    link.symlink_to(first.path)
    followed = follower.follow(link, start="start")
    first.write(10)
    follower.wait_for(followed["follow_id"], 10)
    second.write(4)
    other = tmp_path / "other"
    other.symlink_to(second.path)
    os.rename(other, link)
    first.write(5)
    follower.must_hold(followed["follow_id"], first.lines + second.lines)
    second.write(3)
    follower.must_hold(followed["follow_id"], first.lines + second.lines)


def test_a_folder_comes_and_goes(follower: Follower, tmp_path: Path) -> None:
    folder = tmp_path / "logs"
    followed = follower.follow(folder / "access.log")
    assert followed["state"] == "waiting"
    lines: list[bytes] = []
    for number in range(2):
        folder.mkdir()
        log = Written(folder / "access.log", number * 1000)
        log.write(10)
        follower.wait_for(followed["follow_id"], len(lines) + 10)
        log.write(10)
        lines += log.lines
        follower.must_hold(followed["follow_id"], lines)
        shutil.rmtree(folder)
        wait_until(lambda: follower.state(followed["follow_id"])["state"] == "waiting", 20, "its absence")


def test_a_truncated_file_is_told_with_what_is_unknown(follower: Follower, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(100)
    follower.wait_for(followed["follow_id"], 100)
    shutil.copyfile(log.path, tmp_path / "access.log.1")
    with (tmp_path / "access.log.1").open("ab") as file:
        file.write(b"only the copy has it\n")
    os.truncate(log.path, 0)
    log.write(10)
    log.lines.append(b"only the copy has it")
    follower.must_hold(followed["follow_id"], log.lines)
    found = wait_until(lambda: follower.state(followed["follow_id"])["unknown"], 20, "what is unknown")
    assert [(one["generation"], one["from_line"]) for one in found] == [(1, 102)]
    assert "copytruncate" in found[0]["reason"]
    os.truncate(log.path, 0)
    log.write(2000)  # longer than what was read, so that only its begin tells
    follower.must_hold(followed["follow_id"], log.lines)
    assert len(follower.state(followed["follow_id"])["unknown"]) == 2


def test_of_a_file_that_lost_its_end_nothing_is_sent_twice(follower: Follower, tmp_path: Path) -> None:
    """As a power cut leaves it, where the server had not synced what it wrote."""
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(100)
    left = log.path.stat().st_size
    log.write(40)
    follower.wait_for(followed["follow_id"], 140)
    os.truncate(log.path, left)
    wait_until(lambda: follower.state(followed["follow_id"])["unknown"], 20, "what is unknown")
    log.write(10)
    follower.must_hold(followed["follow_id"], log.lines)
    assert len(follower.state(followed["follow_id"])["unknown"]) == 1


def test_a_file_that_comes_back_goes_on(follower: Follower, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    follower.wait_for(followed["follow_id"], 10)
    os.rename(log.path, tmp_path / "elsewhere")
    wait_until(lambda: ended(follower, f"{followed['follow_id']}.g1"), 20, "its end")
    os.rename(tmp_path / "elsewhere", log.path)
    log.write(5)
    follower.must_hold(followed["follow_id"], log.lines)
    log.write(5)
    follower.must_hold(followed["follow_id"], log.lines)


def test_a_pattern_takes_files_that_come(follower: Follower, tmp_path: Path) -> None:
    first = Written(tmp_path / "first.log")
    first.write(5)
    followed = follower.follow(tmp_path / "*.log")
    assert len(followed["files"]) == 1
    second = Written(tmp_path / "second.log", 1000)
    (tmp_path / "second.log.1").write_bytes(b"old\n")
    os.utime(tmp_path / "second.log.1", (1000, 1000))
    second.write(6)
    first.write(7)
    os.link(second.path, tmp_path / "twin.log")
    state = follower.wait_for(followed["follow_id"], 13)
    assert state["lines"] == 13
    assert len(state["files"]) == 2
    status, stopped = follower.replayer.request("POST", f"/follows/{followed['follow_id']}/stop")
    assert (status, stopped["state"]) == (200, "stopped")


@pytest.mark.parametrize(
    ("start", "expected"),
    [("end", 10), ("start", 60)],
)
def test_old_files_are_read_in_order_or_not_at_all(
    follower: Follower, tmp_path: Path, start: str, expected: int
) -> None:
    log = Written(tmp_path / "access.log")
    moments = {"access.log.3.gz": 1000, "access.log.2.gz": 2000, "access.log.1": 3000}
    for name, moment in moments.items():
        log.write(15)
        os.rename(log.path, tmp_path / name)
        if name.endswith(".gz"):
            content = (tmp_path / name).read_bytes()
            (tmp_path / name).write_bytes(gzip.compress(content))
        os.utime(tmp_path / name, (moment, moment))
        log.reopen()
    log.write(5)
    followed = follower.follow(log.path, start=start)
    log.write(10)
    lines = log.lines[-expected:]
    follower.must_hold(followed["follow_id"], lines)
    assert follower.arrived(followed["follow_id"]) == lines


BAD = {
    "a directory": (lambda folder: folder.mkdir(), {}, "is a directory"),
    "binary": (lambda path: path.write_bytes(b"\x7fELF\0\0"), {}, "binary file"),
    "another format": (
        lambda path: path.write_bytes(b"{}\n" * 20),
        {"format": "combined"},
        "for example not",
    ),
    "no format": (lambda path: None, {"format": "%{x"}, "is no directive"),
    "no start": (lambda path: None, {"start": "middle"}, "start is 'middle'"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_followed_is_refused(follower: Follower, tmp_path: Path, case: str) -> None:
    make, more, said = BAD[case]
    make(tmp_path / "access.log")
    status, answer = follower.replayer.request(
        "POST", "/follows", {"log": str(tmp_path / "access.log"), **more}
    )
    assert status == 422
    assert said in answer["error"]
    known = follower.replayer.request("GET", "/follows")[1]["follows"]
    assert not [one for one in known if str(tmp_path) in one["log"]]


def test_the_same_log_is_followed_once(follower: Follower, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    os.link(log.path, tmp_path / "other.log")
    (tmp_path / "link").symlink_to(tmp_path)
    names = ["access.log", "access.log", "other.log", "link/access.log"]
    found = [follower.follow(tmp_path / name) for name in names]
    assert len({one["follow_id"] for one in found}) == 1


def test_a_log_is_unfollowed_and_followed_again(follower: Follower, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    follower.wait_for(followed["follow_id"], 10)
    path = f"/follows/{followed['follow_id']}/stop"
    assert follower.replayer.request("POST", path)[1]["state"] == "stopped"
    assert follower.replayer.record(f"{followed['follow_id']}.g1")["state"] == "done"
    log.write(5)
    again = follower.follow(log.path, start="start")
    assert again["follow_id"] == followed["follow_id"]
    follower.must_hold(followed["follow_id"], log.lines)


def test_a_log_is_followed_again_in_another_format(follower: Follower, hdfs: Hdfs, tmp_path: Path) -> None:
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    follower.wait_for(followed["follow_id"], 10)
    status, answer = follower.replayer.request("POST", "/follows", {"log": str(log.path), "format": "caddy"})
    assert (status, "is followed as 'common'" in answer["error"]) == (422, True), answer
    for number, text in ((2, "vhost_combined"), (2, "auto"), (3, "combined")):
        follower.replayer.request("POST", f"/follows/{followed['follow_id']}/stop")
        again = follower.follow(log.path, format=text)
        assert again["follow_id"] == followed["follow_id"]
        log.write(5)
        follower.must_hold(followed["follow_id"], log.lines)
        assert str(follower.records(followed["follow_id"])[-1].key).startswith(
            f"{followed['follow_id']}.f{number}.g"
        )
    entries = FormatRegistry(hdfs.client, "/user/bigdata/apache_logs_ledger").load()
    formats = [
        entry_of(str(one.key).partition(":")[0], entries).format_text
        for one in follower.records(followed["follow_id"])
    ]
    assert formats == ["common"] * 10 + ["vhost_combined"] * 10 + ["combined"] * 5


def test_files_that_are_compressed_before_they_were_read(
    stack: Stack, follower: Follower, tmp_path: Path
) -> None:
    """Agent 1 is away meanwhile; nothing is lost while the files are there, and nothing sent twice."""
    log = Written(tmp_path / "access.log")
    followed = follower.follow(log.path)
    log.write(10)
    follower.wait_for(followed["follow_id"], 10)
    stack.durable.kill()
    for number in range(3):
        log.write(50)
        os.rename(log.path, tmp_path / f"access.log.{number}")
        log.reopen()
        log.write(100)
        wait_until(
            lambda number=number: follower.state(followed["follow_id"])["generation"] == number + 2,
            20,
            "its new file",
        )
        subprocess.run(["gzip", tmp_path / f"access.log.{number}"], check=True)
    assert follower.state(followed["follow_id"])["lines"] == 10
    assert follower.state(followed["follow_id"])["reason"]
    stack.durable.start()
    follower.must_hold(followed["follow_id"], log.lines)


class Server(Thread):
    """Writes lines, and rotates as logrotate does, at moments that a seed chooses.

    Attributes:
        written: the log; whole once the thread has ended.
    """

    def __init__(self, path: Path, noise: random.Random, rotations: int) -> None:
        super().__init__(daemon=True)
        self.written = Written(path)
        self._noise = noise
        self._rotations = rotations

    def run(self) -> None:
        for _ in range(self._rotations):
            for _ in range(self._noise.randint(1, 30)):
                self.written.write(self._noise.randint(1, 400))
                time.sleep(self._noise.random() * 0.05)
            self._rotate()

    def _rotate(self) -> None:
        log = self.written
        folder, name = log.path.parent, log.path.name
        for number in range(500, 0, -1):  # none is deleted
            for suffix in ("", ".gz"):
                if (old := folder / f"{name}.{number}{suffix}").exists():
                    os.rename(old, folder / f"{name}.{number + 1}{suffix}")
        os.rename(log.path, folder / f"{name}.1")
        if self._noise.random() < 0.7:
            log.write(self._noise.randint(1, 300))
            time.sleep(self._noise.random() * 0.3)
            log.write(self._noise.randint(1, 300))
        log.reopen()
        for number in (1, 2):
            if (plain := folder / f"{name}.{number}").exists() and self._noise.random() < 0.5:
                subprocess.run(["gzip", plain], check=True)


@pytest.mark.parametrize(
    ("seed", "kills"), [(1, 4), *(pytest.param(seed, 25, marks=pytest.mark.slow) for seed in (2, 3))]
)
def test_kills_and_rotations_at_any_moment(
    stack: Stack,
    hdfs: Hdfs,
    start_replayer: Callable[..., ReplayerProcess],
    tmp_path: Path,
    seed: int,
    kills: int,
) -> None:
    noise = random.Random(seed)
    folder = tmp_path / "logs"
    folder.mkdir()
    server = Server(folder / "access.log", random.Random(seed + 1000), rotations=kills * 4)
    settings = stack.settings | QUICK | {"webhdfs_url": hdfs.webhdfs_url}
    follower = Follower(stack, start_replayer(**settings))
    followed = follower.follow(server.written.path)
    server.start()
    for _ in range(kills):
        time.sleep(noise.random() * 1.5)
        follower.replayer.kill()
        time.sleep(noise.random() * 1.5)
        follower.replayer = start_replayer(**settings)
    server.join()
    follower.must_hold(followed["follow_id"], server.written.lines)
    assert follower.state(followed["follow_id"])["unknown"] == []
