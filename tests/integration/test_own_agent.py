"""A Flume agent of one's own: its file is all that it takes to run it beside the others."""

import socket

import pytest

from logpipe.hosts import configuration
from logpipe.hosts.machine.stack import Stack
from logpipe.hosts.services import table
from tests.machine import own_settings
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

AGENT = """\
agent3.sources = netcat
agent3.channels = memory
agent3.sinks = nothing
agent3.sources.netcat.type = netcat
agent3.sources.netcat.bind = 127.0.0.1
agent3.sources.netcat.port = ${env:LOGPIPE_NETCAT_PORT}
agent3.sources.netcat.channels = memory
agent3.channels.memory.type = memory
agent3.sinks.nothing.type = logger
agent3.sinks.nothing.channel = memory
"""


def test_an_agent_found_by_its_file_is_started_watched_and_stopped(tmp_path):
    (tmp_path / "durable").mkdir()
    (tmp_path / "durable" / "agent3.properties").write_text(AGENT)
    stack = Stack(own_settings(tmp_path / "state"), table(tmp_path))
    configuration.write_all(stack.settings, stack.layout)
    told: list[str] = []
    stack.host.start()
    try:
        stack.launch("flume-agent3", "durable")
        status = stack.status()["flume-agent3"]
        assert (status.state, status.variant, status.healthy) == ("running", "durable", True)
        with socket.create_connection(("127.0.0.1", stack.settings.netcat_port)) as connection:
            connection.sendall(b"a line of my own\n")
            assert connection.recv(2) == b"OK"
        wait_until(lambda: "a line of my own"[:16] in stack.log_tail("flume-agent3"), 30)
    finally:
        stack.stop(told.append)
    assert [line.split(":")[0] for line in told] == ["flume-agent3"]
    assert not stack.host.is_running()
