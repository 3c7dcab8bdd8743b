"""Copies of records on a real HDFS, which may be away."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from .process import ReplayerProcess
from .stack import Hdfs, Stack, wait_for

pytestmark = pytest.mark.integration


def test_records_are_copied_to_hdfs_when_it_is_there(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    hdfs.request("PUT", "/user/bigdata", "op=MKDIRS")
    hdfs.request("PUT", "/user/bigdata", "op=SETOWNER&owner=bigdata")
    process = start_replayer(**stack.settings, namenode_http_port=hdfs.http_port)

    def copy_of(replay_id: str) -> dict[str, object] | None:
        folder = "/user/bigdata/apache_logs_ledger/replays"
        try:
            found: dict[str, object] = json.loads(
                hdfs.request("GET", f"{folder}/{replay_id}.json", "op=OPEN")
            )
        except OSError:
            return None
        return found if found["state"] == "done" else None

    process.submit("copied", f"file://{tmp_path}/a.log")
    record = process.wait_state("copied", "done")
    assert wait_for("a copy on HDFS", lambda: copy_of("copied")).items() >= record.items()
    hdfs.namenode.send_signal(signal.SIGSTOP)
    process.submit("later", f"file://{tmp_path}/a.log")
    record = process.wait_state("later", "done")
    hdfs.namenode.send_signal(signal.SIGCONT)
    assert wait_for("the copy when HDFS is back", lambda: copy_of("later")).items() >= record.items()


def test_another_host_goes_on_from_the_copy_of_a_lost_one(
    stack: Stack, hdfs: Hdfs, start_replayer: Callable[..., ReplayerProcess], tmp_path: Path
) -> None:
    """The second host repeats what was sent since the copy, with the same keys, and loses nothing."""
    lines = 2000
    (tmp_path / "b.log").write_text("".join(f"line {number}\n" for number in range(lines)))
    hdfs.request("PUT", "/user/bigdata", "op=MKDIRS")
    hdfs.request("PUT", "/user/bigdata", "op=SETOWNER&owner=bigdata")
    shared = {**stack.settings, "namenode_http_port": hdfs.http_port, "replays_on": "hdfs"}
    url = f"file://{tmp_path}/b.log"
    lost = start_replayer(**shared)
    lost.submit("moved", url, pace="delay:0.01")
    lost.wait_lines("moved", 100)
    copied = wait_for("a copy on HDFS", lambda: lines_of_copy(hdfs, "moved"), 30.0)
    lost.kill()

    other = start_replayer(state_name="other", **shared)
    record = other.submit("moved", url, pace="delay:0.01")
    assert copied <= record["lines"] < lines
    other.request("POST", "/replays/moved/stop")
    other.wait_state("moved", "stopped")
    other.kill()

    third = start_replayer(state_name="third", **shared)
    assert third.submit("moved", url, pace="delay:0.01")["state"] == "running"
    refused = third.request(
        "POST", "/replays", {"replay_id": "moved", "url": url, "pace": "max", "profile": "durable"}
    )
    assert refused[0] == 409
    third.terminate()


def lines_of_copy(hdfs: Hdfs, replay_id: str) -> int:
    folder = "/user/bigdata/apache_logs_ledger/replays"
    try:
        copy = json.loads(hdfs.request("GET", f"{folder}/{replay_id}.json", "op=OPEN"))
    except OSError:
        return 0
    return int(copy["lines"])
