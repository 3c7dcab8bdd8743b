"""Agent 2 writes each record once: whatever is in it, whoever is killed, and when."""

import itertools
import random
import signal
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from tests.chain.harness import Sent, World, numbered
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

INSTANTS = ("created", "flushed", "closed", "told", "linked", "published")
SLOW = ("created", "flushed", "closed", "published")  # of an agent that sleeps: `make test-faults`


def test_every_line_once_whatever_is_in_it(world: World) -> None:
    odd = [
        b"", b"plain", b"caf\xe9", b"\xff\xfe", b"nul \x00", b"cr\r", b"plain", None, b"two\nlines", b"\n",
        b"x" * 4095, b"y" * (1 << 18), b"z" * (1 << 20),
    ]  # fmt: skip
    world.agent()
    world.send(Sent(0, None, value) for value in odd)
    world.send(numbered("r1", 1, 7000))
    world.send(numbered("r1", 5001, 7000))  # sent again, after a lost acknowledgement
    world.send(numbered("r1", 7001, 9000))
    foreign = (b"abc", b"r1:1_0", b"r1:0", b"r1:999999999999999999", b":5", b"r1:", b"\xff:1")
    world.send(Sent(1, key, b"of another program") for key in foreign)
    world.await_final()
    links = world.check()
    assert sum(link.repeats for link in links) == 2000
    assert sum(link.foreign for link in links) == len(foreign)
    newest = [world.links(partition)[-1] for partition in range(3)]
    assert sum(link.marks["r1"].digest.lines for link in newest) == 9000
    assert max(link.marks["r1"].number for link in newest) == 9000


def test_what_arrives_is_flushed_within_a_second_and_told(world: World) -> None:
    world.agent(roll_interval_s=300)
    world.send(numbered("r1", 1, 10))
    wait_until(lambda: world.reached(0, flushed=True) == 10, 30, "ten lines to be flushed")
    (flushed,) = world.open_links(0)
    assert world.links(0) == []
    assert flushed.marks["r1"].digest.lines == 10
    (path,) = world.files()
    assert path.rpartition("/")[2].startswith("_apache_logs-0-1-")


def test_a_thousand_replays_in_a_range(world: World) -> None:
    world.agent()
    world.send(
        Sent(0, f"20261124T000000-{replay:08x}:{number}".encode(), b"line")
        for replay in range(1000)
        for number in (1, 2)
    )
    world.await_final()
    world.check()
    assert len(world.links(0)[-1].marks) == 1000


@pytest.mark.parametrize("instant", INSTANTS)
def test_killed_at_each_instant(world: World, instant: str) -> None:
    first = world.agent(f"{instant}:halt:2")
    world.send(numbered("r1", 1, 6000))
    world.ask_to_finish()
    more = itertools.count(6001)

    def has_died():  # what is finished before it was flushed twice is not flushed again
        if first.is_running:
            number = next(more)
            world.send(numbered("r1", number, number))
        return not first.is_running

    wait_until(has_died, 60, f"the agent to die at {instant}")
    assert first.kill() == 99, first.log.read_text()[-2000:]
    world.agent()
    number = next(more)
    world.send(numbered("r1", number, number + 2000))
    world.await_final()
    world.check()


@pytest.mark.parametrize(
    "instant", [pytest.param(name, marks=pytest.mark.slow) if name in SLOW else name for name in INSTANTS]
)
def test_one_that_slept_finds_that_others_went_on(world: World, instant: str) -> None:
    sleeper = world.agent(f"{instant}:stop:2")
    world.send(numbered("r1", 1, 6000))
    world.ask_to_finish()
    wait_until(lambda: sleeper.state() == "T", 60, f"the agent to stop at {instant}")
    successor = world.agent()
    world.send(numbered("r1", 6001, 8000))
    world.await_final()
    sleeper.send_signal(signal.SIGCONT)
    world.send(numbered("r1", 8001, 12000))
    wait_until(
        lambda: "assigned" in sleeper.log.read_text().rpartition("lost")[2], 60, "the sleeper to be back"
    )
    world.await_final()
    successor.kill(signal.SIGTERM)
    sleeper.kill(signal.SIGTERM)
    world.check()


def test_partitions_go_from_agent_to_agent_and_new_ones_come(world: World) -> None:
    world.agent()
    world.send(numbered("r1", 1, 6000))
    second = world.agent()
    world.send(numbered("r1", 6001, 9000))
    world.kafka.add_partitions(world.name, 5)
    world.partitions = 5
    world.send(numbered("r2", 1, 10_000, partitions=5))
    world.await_final()
    second.kill(signal.SIGTERM)
    world.send(numbered("r2", 10_001, 12_000, partitions=5))
    world.await_final()
    world.check()
    assert world.links(4)[0].first == 0


def test_what_retention_took_is_said(world: World) -> None:
    world.send(numbered("r1", 1, 6000))
    world.kafka.forget_before(world.name, 1, 400)
    world.agent()
    world.await_final()
    expired, lines = world.links(1)[:2]
    assert (expired.kind, expired.first, expired.next) == ("expired", 0, 400)
    assert (lines.first, lines.totals.expired) == (400, 400)


def test_a_topic_made_anew_begins_an_epoch(world: World) -> None:
    agent = world.agent()
    world.send(numbered("r1", 1, 6000))
    world.await_final()
    world.kafka.delete_topic(world.name)
    world.make_topic()
    world.send(numbered("r2", 1, 9000))
    wait_until(lambda: world.links(0)[-1].epoch == 2, 90, "a second epoch")
    world.await_final()
    links = world.check()
    assert {link.kind for link in links} == {"lines", "ended"}
    agent.kill(signal.SIGTERM)


def test_a_clock_that_steps_moves_no_day_of_a_chain_back(world: World) -> None:
    """The broker's clock runs ahead over midnight, is set back, and the agent is killed in between."""
    evening = datetime(2026, 3, 10, 23, 50, tzinfo=UTC)
    world.take_times_of_senders()
    agent = world.agent()
    for part, minutes in enumerate((0, 20, 1, 21, 2)):
        time_ms = int((evening + timedelta(minutes=minutes)).timestamp() * 1000)
        world.send(
            replace(record, timestamp_ms=time_ms)
            for record in numbered("r1", 1 + part * 1000, 1000 + part * 1000, 1)
        )
        if part == 2:
            wait_until(lambda: world.reached(0, flushed=True) == 3000, 60, "the step back to be flushed")
            agent.kill(signal.SIGKILL)
            world.agent()
    world.await_final()
    days = [link.day for link in world.check() if link.partition == 0]
    assert days == sorted(days)
    assert {link.day: link.digest.lines for link in world.links(0)}.keys() == {"26-03-10", "26-03-11"}
    assert sum(link.digest.lines for link in world.links(0) if link.day == "26-03-10") == 1000


def test_what_profile_memory_read_is_counted_and_not_written(world: World) -> None:
    world.send(numbered("r1", 1, 3000))
    world.commit_as_profile_memory({0: 1000, 1: 600})
    world.agent()
    world.send(numbered("r1", 3001, 6000))
    world.await_final()
    memory, lines = world.links(1)[:2]
    assert (memory.kind, memory.first, memory.next, memory.digest.lines) == ("memory", 0, 600, 600)
    assert (lines.kind, lines.first) == ("lines", 600)
    assert lines.totals.memory == memory.digest
    assert lines.marks["r1"].digest.lines == 2000


@pytest.mark.slow
def test_many_kills_in_a_row(world: World) -> None:
    seed = random.SystemRandom().randrange(1 << 32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    agent = world.agent()
    for step in range(10):
        world.send(numbered("r1", step * 4000 + 1, step * 4000 + 4000))
        wait_until(
            lambda: chance.random() < 0.3 or world.reached(0, flushed=True) >= world.ends()[0],
            60,
            "some progress",
        )
        agent.kill(chance.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
        agent = world.agent()
    world.await_final(120)
    world.check()


def test_a_chain_of_another_topic_is_refused(world: World) -> None:
    agent = world.agent()
    world.send(numbered("r1", 1, 10))
    world.await_final()
    agent.kill(signal.SIGTERM)
    name, world.name = world.name, f"{world.name}-other"
    world.make_topic()
    other = world.agent()
    wait_until(lambda: "set LOGPIPE_HDFS_LOGS_DIR" in other.log.read_text(), 60, "the refusal")
    world.name = name
    assert [link.topic for link in world.links(0)] == [name]


def test_it_ends_by_sigterm_with_everything_final(world: World) -> None:
    agent = world.agent(roll_interval_s=300)
    world.send(numbered("r1", 1, 5000))
    wait_until(
        lambda: all(world.reached(p, flushed=True) == e for p, e in world.ends().items()), 30, "the flush"
    )
    agent.kill(signal.SIGTERM)
    assert [world.reached(partition) for partition in range(3)] == list(world.ends().values())
    world.check()
