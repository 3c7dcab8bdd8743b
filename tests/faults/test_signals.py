"""Single faults while a paced replay is in flight: each heals by itself and ends with every line."""

import os
import signal
import socket
import subprocess
from functools import partial

import psutil
import pytest

from logpipe.hosts.layout import PYTHON
from tests.faults import faults
from tests.faults.cases import in_flight
from tests.faults.faults import SERVICES
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

JVMS = ("flume-agent1", "flume-agent2", "kafka", "namenode", "datanode", "analytics")
STOPPED_S = 30
SHORT = {("flume-agent2", "SIGKILL")}  # a case of each kind: the sequences have the others
COPIES = 15  # of the bundled lines: 35 MB, more than sockets and readers hold


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", "SIGSTOP"])
@pytest.mark.parametrize("service", SERVICES)
def test_signal(data_plane, load, service, name, is_short):
    if is_short and (service, name) not in SHORT:
        pytest.skip("not part of the short form")
    if name == "SIGSTOP":
        held = partial(faults.hold, data_plane, service, STOPPED_S)
        in_flight(data_plane, load, f"{service} SIGSTOP for {STOPPED_S} s", held)
    else:
        hit = partial(data_plane.signal, service, getattr(signal, name))
        in_flight(data_plane, load, f"{service} {name}", hit)


def test_broker_bounced_five_times(data_plane, load, long_form):
    def bounce():
        for _ in range(5):
            pid = data_plane.signal("kafka", signal.SIGKILL)
            wait_until(lambda old=pid: data_plane.pid("kafka") != old, 60)
            wait_until(lambda: data_plane.stack.status()["kafka"].healthy, 90)

    in_flight(data_plane, load, "broker bounced five times", bounce)


def kill_at_once(plane, services):
    for pid in [plane.pid(service) for service in services]:
        os.kill(pid, signal.SIGKILL)


def test_broker_and_namenode_killed_together(data_plane, load, long_form):
    both = partial(kill_at_once, data_plane, ("kafka", "namenode"))
    in_flight(data_plane, load, "broker and NameNode killed together", both)


def test_power_cut(data_plane, load):
    in_flight(data_plane, load, "all JVMs killed at once", partial(kill_at_once, data_plane, JVMS))


def test_hdfs_in_safe_mode(data_plane, load, long_form):
    """Until agent 2 has been seen failing: then it begins again."""
    log = data_plane.stack.layout.logs_dir / "flume-agent2.log"

    def failures():
        return log.read_text(errors="replace").count("begins again at the newest links")

    def fault():
        before = failures()
        data_plane.dfsadmin("-safemode", "enter")
        try:
            wait_until(lambda: failures() > before, 120)
            assert not data_plane.stack.status()["namenode"].healthy
        finally:
            data_plane.dfsadmin("-safemode", "leave")

    in_flight(data_plane, load, "HDFS in safe mode until agent 2 fails", fault)


def test_ftp_server_gone_in_mid_transfer(data_plane, load, long_form):
    """A server of its own with a log larger than what was sent ahead: the kill hits the transfer."""
    port = free_port()
    path = load.write(data_plane.next_replay, COPIES)

    def serve():
        command = (str(PYTHON), "-m", "pyftpdlib", "-i", "127.0.0.1", "-p", str(port), "-d", str(path.parent))
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: answers(port), 30)
        return psutil.Process(process.pid)

    servers = [serve()]

    def fault():
        assert str(path) in {file.path for file in servers[0].open_files()}, "the transfer was over"
        servers[0].kill()
        servers[0].wait(20)
        servers.append(serve())

    try:
        url = f"ftp://127.0.0.1:{port}/{path.name}"
        in_flight(data_plane, load, "FTP server killed in mid-transfer", fault, url)
    finally:
        for server in servers:
            if server.is_running():
                server.kill()


def answers(port):
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
