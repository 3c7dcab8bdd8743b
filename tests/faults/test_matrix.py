"""Faults while a replay of the real sample is in flight: each heals by itself and ends with every line."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from tests.data_plane import BUNDLED_LINES, IN_FLIGHT_LINES, Clock, DataPlane, Row
from tests.faults.conftest import ROWS, own_settings
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

SERVICES = ("replayer", "flume-agent1", "flume-agent2", "kafka", "namenode", "datanode", "analytics")
JVMS = ("flume-agent1", "flume-agent2", "kafka", "namenode", "datanode", "analytics")
STOPPED_S = 30
# What CI runs: a case of each kind.
SHORT = {("flume-agent2", "SIGKILL"), ("replayer", "SIGKILL")}


def in_flight(plane: DataPlane, case: str, fault: Callable[[], None]) -> None:
    """Replay, hit, wait until it has healed, account for every line."""
    lines_before = plane.account().source
    replay_id = plane.submit()
    plane.await_lines(replay_id, IN_FLIGHT_LINES)
    clock = Clock()
    fault()
    record = plane.await_done(replay_id)
    plane.await_drained()
    healed_s = clock.seconds()
    after = plane.account()
    ROWS.append(Row(case, healed_s, after))
    assert record["lines"] == BUNDLED_LINES
    assert after.source == lines_before + BUNDLED_LINES
    assert (after.lost, after.doubled) == (0, 0), after


def hold(plane: DataPlane, service: str) -> None:
    """SIGSTOP, and SIGCONT after 30 s unless somebody ended the process before."""
    pid = plane.signal(service, signal.SIGSTOP)
    end = time.monotonic() + STOPPED_S
    wait_until(lambda: time.monotonic() >= end, STOPPED_S + 5)
    try:
        os.kill(pid, signal.SIGCONT)
    except ProcessLookupError:
        return


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSTOP"])
@pytest.mark.parametrize("service", SERVICES)
def test_signal(data_plane, service, name, request):
    if request.config.getoption("--short-faults") and (service, name) not in SHORT:
        pytest.skip("not part of the short form")
    if name == "SIGSTOP":
        in_flight(data_plane, f"{service} SIGSTOP for {STOPPED_S} s", lambda: hold(data_plane, service))
    else:
        in_flight(data_plane, f"{service} {name}", lambda: data_plane.signal(service, getattr(signal, name)))


def test_broker_bounced_five_times(data_plane, long_form):
    def bounce():
        for _ in range(5):
            pid = data_plane.signal("kafka", signal.SIGKILL)
            wait_until(lambda old=pid: data_plane.pid("kafka") != old, 60)
            wait_until(lambda: data_plane.stack.status()["kafka"].healthy, 90)

    in_flight(data_plane, "broker bounced five times", bounce)


def test_power_cut(data_plane):
    def cut():
        for service in JVMS:
            data_plane.signal(service, signal.SIGKILL)

    in_flight(data_plane, "all JVMs killed at once", cut)


def test_agent_2_killed_between_flush_and_commit(data_plane, long_form):
    """With the broker held, agent 2 flushes what it took and cannot commit: a kill then repeats it."""

    def fault():
        broker = data_plane.signal("kafka", signal.SIGSTOP)
        wait_until(lambda: sink_has_flushed(data_plane), 20)
        data_plane.signal("flume-agent2", signal.SIGKILL)
        os.kill(broker, signal.SIGCONT)

    in_flight(data_plane, "agent 2 killed between flush and commit", fault)


def sink_has_flushed(plane: DataPlane) -> bool:
    """Whether agent 2 has begun a batch that it has not been able to finish, or has none in hand."""
    text = httpx.get(f"http://localhost:{plane.settings.agent2_metrics_port}/metrics", timeout=5).text
    counts = {"EventDrainAttemptCount": 0.0, "EventDrainSuccessCount": 0.0}
    for line in text.splitlines():
        for name in counts:
            if line.startswith(f"flume_sink_{name}"):
                counts[name] += float(line.rpartition(" ")[2])
    return counts["EventDrainAttemptCount"] > counts["EventDrainSuccessCount"]


def test_replayer_killed_between_send_and_acknowledgement(data_plane):
    """With agent 1 held, batches are sent and not acknowledged: they are sent again, with the same keys."""

    def fault():
        agent = data_plane.signal("flume-agent1", signal.SIGSTOP)
        data_plane.signal("replayer", signal.SIGKILL)
        os.kill(agent, signal.SIGCONT)

    in_flight(data_plane, "replayer killed between send and acknowledgement", fault)


def test_hdfs_in_safe_mode(data_plane, long_form):
    def fault():
        data_plane.dfsadmin("-safemode", "enter")
        assert not data_plane.stack.status()["namenode"].healthy
        data_plane.dfsadmin("-safemode", "leave")

    in_flight(data_plane, "HDFS in safe mode", fault)


def test_the_same_log_twice_counts_twice_and_two_replays_at_once_do_not_mix(data_plane, long_form):
    before = data_plane.account().source
    replays = [data_plane.submit(), data_plane.submit()]
    for replay_id in replays:
        assert data_plane.await_done(replay_id)["lines"] == BUNDLED_LINES
    data_plane.await_drained()
    after = data_plane.account()
    assert after.source == before + 2 * BUNDLED_LINES
    assert (after.lost, after.doubled) == (0, 0), after


def test_ftp_server_gone_in_mid_transfer(data_plane, long_form):
    in_flight(data_plane, "FTP server killed", lambda: data_plane.signal("ftp", signal.SIGKILL))


class SmallDisk:
    """A file system of its own, small enough to be filled: for root on Linux only."""

    def __init__(self, place: Path, size_mb: int) -> None:
        self._place = place
        self._filler = place / "filler"
        place.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "tmpfs", str(place)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")

    def fill(self) -> None:
        """Take what is free."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while True:
                file.write(bytes(1 << 16))

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()

    def unmount(self) -> None:
        """Take the file system away."""
        subprocess.run(["umount", "-l", str(self._place)], check=True)


@pytest.mark.parametrize(("store", "size_mb"), [("kafka", 200), ("hadoop", 2000)])
def test_disk_full(tmp_path_factory, long_form, store, size_mb):
    settings = own_settings(tmp_path_factory.mktemp("disk") / "state")
    disk = SmallDisk(settings.state_dir / store, size_mb)
    plane = DataPlane(settings)

    def fault():
        disk.fill()
        lines = plane.record("r1").get("lines", 0)
        end = time.monotonic() + STOPPED_S
        wait_until(lambda: time.monotonic() >= end, STOPPED_S + 5)
        assert plane.record("r1").get("state") != "failed", lines
        disk.free()

    try:
        plane.start()
        in_flight(plane, f"disk of {store} full for {STOPPED_S} s", fault)
    finally:
        plane.stop()
        disk.unmount()


def test_midnight_passes_during_a_replay(tmp_path_factory, long_form):
    """In a zone where it is about to strike twelve: each line ends in the directory of its arrival."""
    midnight = datetime.now(UTC).replace(second=0, microsecond=0) + timedelta(minutes=4)
    minutes = -(midnight.hour * 60 + midnight.minute) % (24 * 60)
    minutes -= 24 * 60 if minutes > 12 * 60 else 0
    zone = f"GMT{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"
    plane = DataPlane(own_settings(tmp_path_factory.mktemp("midnight") / "state", timezone=zone))
    try:
        plane.start()
        clock = Clock()
        day = (midnight + timedelta(minutes=minutes)).date()
        wait_until(lambda: datetime.now(UTC) > midnight - timedelta(seconds=20), 240)
        replay_id = plane.submit(pace="speed:600")
        assert datetime.now(UTC) < midnight, "the services took too long to start"
        plane.await_done(replay_id)
        plane.await_drained()
        days = plane.days()
        accounting = plane.account()
        ROWS.append(Row("midnight passes during a replay", clock.seconds(), accounting))
        assert days == [f"{day - timedelta(days=1):%y-%m-%d}", f"{day:%y-%m-%d}"]
        assert (accounting.lost, accounting.doubled) == (0, 0)
    finally:
        plane.stop()
