"""Records in a replay's name that the replay has not sent: nothing disappears without being told."""

import re

import pytest
from confluent_kafka import Producer

from logpipe.accounting.audit import audit
from logpipe.cli.machine import MachineTarget
from logpipe.cli.terminal import make_console
from logpipe.identity import CHUNK_LINES, partition_of
from tests.data_plane import IN_FLIGHT_LINES, PACE
from tests.faults.checker import await_healed, check
from tests.faults.conftest import ROWS

pytestmark = [pytest.mark.faults, pytest.mark.timeout(900)]

AHEAD = 5


def produce(plane, key, line, partition):
    producer = Producer({"bootstrap.servers": plane.settings.kafka_bootstrap, "acks": "all"})
    producer.produce(plane.settings.topic, line, key.encode(), partition=partition)
    assert producer.flush(30) == 0


def test_a_number_that_no_replay_can_have_reached_swallows_nothing(data_plane, load):
    replay_id = load.replay(PACE)
    data_plane.await_lines(replay_id, IN_FLIGHT_LINES)
    line = b'forger - - [01/Jul/1995:00:00:01 -0400] "GET /far/%b HTTP/1.0" 200 1' % replay_id.encode()
    for partition in range(data_plane.settings.topic_partitions):
        produce(data_plane, f"{replay_id}:999999999", line, partition)
        load.lines[line] += 1
    ROWS.append(check(data_plane, load, "forged: a number far ahead"))
    assert any("whose key is no identity" in text for text in data_plane.account().details)


def test_numbers_of_a_replay_that_is_over_and_of_none_are_told_and_lose_nothing(data_plane, load):
    """Also a number that a replay could have reached: nothing of it is to come any more."""
    replay_id = load.replay("max")
    data_plane.await_done(replay_id)
    lines = data_plane.record(replay_id)["lines"]
    for key in (f"{replay_id}:999999999", f"{replay_id}:0{lines}", "nobody", f"{replay_id}:-1"):
        line = b'forger - - [01/Jul/1995:00:00:01 -0400] "GET /over/%b HTTP/1.0" 200 1' % key.encode()
        produce(data_plane, key, line, 0)
        load.lines[line] += 1
    check(data_plane, load, "forged: numbers of a replay that is over")
    before = data_plane.account().details
    assert not any("somebody else wrote" in text for text in before), before


@pytest.mark.last(1)
def test_steps_up_to_a_number_that_no_replay_can_have_reached_are_told_and_repaired(data_plane, load):
    """Each step is one that a broker's loss could explain: lines are swallowed, said, and sent again."""
    replay_id = load.replay(PACE)
    data_plane.await_lines(replay_id, IN_FLIGHT_LINES)
    line = b'forger - - [01/Jul/1995:00:00:01 -0400] "GET /steps/%b HTTP/1.0" 200 1' % replay_id.encode()
    for step in (1, 2):
        produce(data_plane, f"{replay_id}:{step * 9_000_000}", line, 0)
        load.lines[line] += 1
        load.doubled += 1
    await_healed(data_plane, load.replays)
    found = data_plane.account()
    assert found.lost, found
    assert any(f"{replay_id}: a record has number 18,000,000" in text for text in found.details), found
    assert MachineTarget(data_plane.settings, make_console()).repair(None) == 0
    check(data_plane, load, "forged: steps to a number far ahead; repaired")


@pytest.mark.last(2)
def test_lines_that_a_forged_mark_swallows_are_told_and_repaired(data_plane, load):
    """The number of a line that is sent soon: it and those before it in its chunk are taken for repeats."""
    replay_id = load.replay(PACE)
    data_plane.await_lines(replay_id, IN_FLIGHT_LINES)
    sent = data_plane.record(replay_id)["lines"]
    number = (sent // CHUNK_LINES + 2) * CHUNK_LINES + AHEAD
    partition = partition_of(number, data_plane.settings.topic_partitions)
    forged = b'forger - - [01/Jul/1995:00:00:01 -0400] "GET /near/%b HTTP/1.0" 200 1' % replay_id.encode()
    produce(data_plane, f"{replay_id}:{number}", forged, partition)
    assert data_plane.record(replay_id)["lines"] <= number - AHEAD, "the replay was faster"

    await_healed(data_plane, load.replays)
    found = data_plane.account()
    assert found.lost == AHEAD - 1, found  # five lines lack, one is too many
    audited = audit(data_plane.settings)
    assert audited.lost == found.lost
    swallowed = [text for text in audited.details if re.search(rf"\b{replay_id}\b", text)]
    assert swallowed, audited

    assert MachineTarget(data_plane.settings, make_console()).repair(None) == 0
    load.lines[forged] += 1
    load.doubled += 1
    ROWS.append(check(data_plane, load, "forged: the number of a line that is sent soon; repaired"))
