"""Faults at the one instant that matters, forced; each case shows that the instant was met."""

import signal

import pytest

from tests.data_plane import IN_FLIGHT_LINES, PACE
from tests.faults import own
from tests.faults.checker import check, repeats
from tests.faults.conftest import ROWS
from tests.faults.proxy import Proxy
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

INSTANTS = ("created", "flushed", "closed", "told", "linked", "published")
SHORT = {"linked"}  # between the link and the name of its lines


@pytest.mark.parametrize("instant", INSTANTS)
def test_agent_2_dies(data_plane, load, instant, is_short):
    if is_short and instant not in SHORT:
        pytest.skip("not part of the short form")
    replay_id = load.replay(PACE)
    data_plane.await_lines(replay_id, IN_FLIGHT_LINES)
    with (
        own.instead_of(data_plane, "flume-agent2"),
        own.running(own.agent2(data_plane, f"{instant}:halt:1")) as agent,
    ):
        wait_until(lambda: not agent.is_running, own.SEEN_S, f"agent 2 to die, see {agent.log}")
        assert agent.kill() == own.HALTED, agent.log
        assert f"met {instant}: halt" in agent.log.read_text()
    ROWS.append(check(data_plane, load, f"agent 2 dies: {instant}"))


def test_agent_2_sleeps_before_its_link_and_wakes_beside_its_successor(data_plane, load, long_form):
    replay_id = load.replay(PACE)
    data_plane.await_lines(replay_id, IN_FLIGHT_LINES)
    with own.running(own.agent2(data_plane, "told:stop:1")) as agent:
        with own.instead_of(data_plane, "flume-agent2"):
            wait_until(lambda: agent.state() == "T", own.SEEN_S)
        data_plane.await_done(replay_id)
        data_plane.await_drained()
        agent.send_signal(signal.SIGCONT)
        load.replay(PACE)
        log = agent.log
        wait_until(lambda: "assigned" in log.read_text().rpartition("met told")[2], own.SEEN_S)
        agent.kill(signal.SIGTERM)
    ROWS.append(check(data_plane, load, "agent 2 sleeps before its link, wakes beside its successor"))


def test_replayer_dies_between_send_and_acknowledgement(data_plane, load):
    """The answer has come as far as the network, when who waits for it is killed."""
    with (
        Proxy(data_plane.settings.thrift_port) as proxy,
        own.instead_of(data_plane, "replayer"),
        own.running(own.replayer(data_plane, proxy.port)) as replayer,
    ):
        replay_id = load.replay(PACE)
        data_plane.await_lines(replay_id, IN_FLIGHT_LINES)
        proxy.holds.set()
        assert proxy.has_held.wait(own.SEEN_S)
        replayer.kill(signal.SIGKILL)
    ROWS.append(check(data_plane, load, "replayer dies between send and acknowledgement"))
    assert repeats(data_plane, replay_id) > 0
