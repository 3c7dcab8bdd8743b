"""A network that is slow and loses answers, between the replayer and agent 1."""

import signal

import pytest

from tests.faults import own
from tests.faults.checker import check, repeats
from tests.faults.conftest import ROWS
from tests.faults.proxy import Proxy

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

DELAY_S = 0.05
CUT_EVERY = 3  # answers, of six thousand lines each


def test_answers_are_late_and_cut_in_their_middle(data_plane, load):
    with (
        Proxy(data_plane.settings.thrift_port, delay_s=DELAY_S, cut_every=CUT_EVERY) as proxy,
        own.instead_of(data_plane, "replayer"),
        own.running(own.replayer(data_plane, proxy.port)) as replayer,
    ):
        replays = [load.replay("max", copies=4), load.replay("max", copies=2)]
        for replay_id in replays:
            data_plane.await_done(replay_id)
        replayer.kill(signal.SIGTERM)
    ROWS.append(check(data_plane, load, f"answers {DELAY_S * 1000:.0f} ms late, one of {CUT_EVERY} cut"))
    assert proxy.cut >= 3
    assert sum(repeats(data_plane, replay_id) for replay_id in replays) > 0
