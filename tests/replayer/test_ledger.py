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
    process = start_replayer(thrift_port=stack.thrift_port, namenode_http_port=hdfs.http_port)

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
    assert wait_for("a copy on HDFS", lambda: copy_of("copied")) == record
    hdfs.namenode.send_signal(signal.SIGSTOP)
    process.submit("later", f"file://{tmp_path}/a.log")
    record = process.wait_state("later", "done")
    hdfs.namenode.send_signal(signal.SIGCONT)
    assert wait_for("the copy when HDFS is back", lambda: copy_of("later")) == record
