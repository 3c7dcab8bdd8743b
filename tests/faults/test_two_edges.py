"""Two edge hosts take turns at one replay; who sent is killed, or frozen and wakes beside the other."""

import random
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import combinations

import pytest

from logpipe.replayer.ledger import Copies
from tests.data_plane import HEAL_TIMEOUT_S, DataPlane
from tests.faults import faults
from tests.faults.checker import check
from tests.faults.conftest import ROWS, short_rolls
from tests.faults.faults import SENDERS, Step
from tests.faults.load import Load
from tests.waiting import wait_until

pytestmark = [pytest.mark.faults, pytest.mark.timeout(1800)]

ROUNDS, SHORT_ROUNDS = 8, 2
MOST_TAKEOVERS = 3
PACE = "speed:2400"
SEEN_LINES = 1_000  # before the next takeover


class Edges:
    """A data plane with agent 1 and replayer, and another host that has these two only."""

    def __init__(self, folder):
        here = short_rolls(folder / "first", replays_on="hdfs")
        addresses = {name: getattr(here, name) for name in ("kafka_bootstrap", "hdfs_url", "webhdfs_url")}
        self.first = DataPlane(here)
        self.second = DataPlane(short_rolls(folder / "second", replays_on="hdfs", **addresses))
        self.load = Load(self.first, folder / "logs")
        self.copies = Copies(here)

    def start(self):
        self.first.start()
        self.second.start_edge()

    def stop(self):
        for host in (self.second, self.first):
            with suppress(ConnectionRefusedError):
                host.stop()

    def other(self, host):
        return self.first if host is self.second else self.second

    def lines(self, replay_id):
        """Acknowledged lines, as far as any host has told."""
        return max(host.record(replay_id).get("lines", 0) for host in (self.first, self.second))

    def await_lines(self, replay_id, lines):
        """Until so many are acknowledged, or all there are."""
        wait_until(lambda: self.is_done(replay_id) or self.lines(replay_id) >= lines, HEAL_TIMEOUT_S)

    def await_done(self, replay_id):
        wait_until(lambda: self.is_done(replay_id), HEAL_TIMEOUT_S)

    def is_done(self, replay_id):
        record = self.copies.get(replay_id)
        return record is not None and record.state == "done"


@pytest.fixture(scope="module")
def edges(tmp_path_factory):
    made = Edges(tmp_path_factory.mktemp("edges"))
    try:
        made.start()
        yield made
    finally:
        made.stop()


def hits(chance):
    """What befalls the host that sends: parts are killed, one or two at once, or it is frozen for a while."""
    if chance.random() < 0.3:
        hold_s = chance.choice((3, 8, 15))
        return [Step(0, service, "SIGSTOP", hold_s) for service in ("replayer", "flume-agent1")]
    killed = chance.choice([*combinations(SENDERS, 1), *combinations(SENDERS, 2)])
    return [Step(0, service, "SIGKILL", 0) for service in killed]


def test_no_line_is_swallowed_between_two_edge_hosts(edges, is_short):
    seed = random.SystemRandom().randrange(1, 1_000_000)
    chance = random.Random(seed)
    case = f"two edge hosts, seed {seed}"
    print(case)
    with ThreadPoolExecutor(4) as pool:
        under_way = []
        for number in range(SHORT_ROUNDS if is_short else ROUNDS):
            replay_id = f"turns{number}"
            url = edges.load.write(replay_id).as_uri()
            host = chance.choice((edges.first, edges.second))
            host.submit(PACE, url, replay_id=replay_id)
            edges.load.replays.append(replay_id)
            for takeover in range(chance.randint(1, MOST_TAKEOVERS)):
                edges.await_lines(replay_id, SEEN_LINES * (takeover + 1))
                for step in hits(chance):
                    print(f"  {replay_id}: {'first' if host is edges.first else 'second'}", step)
                    hit = edges.first if step.service == "kafka" else host
                    under_way.append(pool.submit(faults.apply, hit, step))
                host = edges.other(host)
                host.submit(PACE, url, replay_id=replay_id)
            edges.await_done(replay_id)
        for hit in under_way:
            hit.result()
    ROWS.append(check(edges.first, edges.load, case))
