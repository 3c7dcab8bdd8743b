"""The original's profile: exact when nothing dies; what a killed agent loses is found, named and repaired."""

import signal
from collections import Counter

import psutil
import pytest

from logpipe.accounting.audit import audit
from logpipe.cli.machine import MachineTarget
from logpipe.cli.terminal import make_console
from tests.data_plane import BUNDLED_LINES, DataPlane
from tests.faults.load import bundled_lines
from tests.machine import own_settings

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ODD_LINES = [
    b"", b"plain", b"caf\xe9", b"\xff\xfe", b"nul \x00", b"cr\r", b"plain", b"x" * 512, b"y" * 65536, b"end",
]  # fmt: skip


@pytest.fixture(scope="module")
def memory_plane(tmp_path_factory):
    plane = DataPlane(own_settings(tmp_path_factory.mktemp("memory") / "state", roll_interval_s=10))
    try:
        plane.start(profile="memory")
        yield plane
    finally:
        plane.stop()
    state_dir = str(plane.settings.state_dir)
    left = [process for process in psutil.process_iter(["cmdline"]) if state_dir in str(process.info)]
    assert not left, f"left behind: {left}"


def test_every_byte_of_every_line_arrives(memory_plane, tmp_path):
    path = tmp_path / "odd.log"
    path.write_bytes(b"\n".join(ODD_LINES))
    replay_id = memory_plane.submit(pace="max", url=path.as_uri(), profile="memory")
    assert memory_plane.await_done(replay_id)["lines"] == len(ODD_LINES)
    memory_plane.await_drained()
    assert Counter(memory_plane.lines()) == Counter(ODD_LINES)
    accounting = memory_plane.account()
    assert (accounting.windows, accounting.lost, accounting.doubled) == (len(ODD_LINES), 0, 0)


def test_lines_lost_by_a_killed_agent_are_found_named_and_repaired(memory_plane):
    """Agent 1 is killed with lines in its channel: the broker is held, so that they cannot leave it."""
    before = memory_plane.account().source
    lines_before = Counter(memory_plane.lines())
    broker = memory_plane.signal("kafka", signal.SIGSTOP)
    replay_id = memory_plane.submit(pace="max", profile="memory")
    memory_plane.await_lines(replay_id, 5_000)
    memory_plane.signal("flume-agent1", signal.SIGKILL)
    psutil.Process(broker).send_signal(signal.SIGCONT)
    memory_plane.await_done(replay_id)
    memory_plane.await_drained()

    found = memory_plane.account()
    assert found.source == before + BUNDLED_LINES
    assert found.lost > 0
    assert found.doubled == 0
    assert any(f"lines without identity: {found.lost:,} lines missing" in text for text in found.details)
    named = audit(memory_plane.settings)
    assert named.lost == found.lost
    assert any("missing in HDFS" in text and " line " in text for text in named.details)

    assert MachineTarget(memory_plane.settings, make_console()).repair(None) == 0
    memory_plane.await_drained()
    repaired = memory_plane.account()
    assert (repaired.lost, repaired.doubled) == (0, 0), repaired
    assert repaired.source == found.source
    assert Counter(memory_plane.lines()) == lines_before + Counter(bundled_lines())


def test_the_change_to_durable_writes_nothing_a_second_time(memory_plane, tmp_path):
    """Agent 2 of profile durable goes on where the group has come to, and links what was written before."""
    held = Counter(memory_plane.lines())
    for service in ("flume-agent1", "flume-agent2"):
        memory_plane.stack.host.client.stop(service, "memory")
    for service in ("flume-agent2", "flume-agent1"):
        memory_plane.stack.launch(service, "durable")
    path = tmp_path / "more.log"
    path.write_bytes(b"one\ntwo\n")
    memory_plane.await_done(memory_plane.submit(pace="max", url=path.as_uri()))
    memory_plane.await_drained()
    accounting = memory_plane.account()
    assert (accounting.lost, accounting.doubled) == (0, 0), accounting
    assert f"{held.total():,} lines were written by profile memory" in "\n".join(accounting.details)
    assert Counter(memory_plane.lines()) == held + Counter([b"one", b"two"])
