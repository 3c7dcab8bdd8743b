"""Agent 2 while what it reads from or writes to is away, hangs, or comes back with less than it had."""

import shutil
import signal
from pathlib import Path

import pytest

from tests.chain.harness import World, numbered
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(400)]


@pytest.mark.parametrize(
    "is_restored_whole", [False, True], ids=["lost the page cache", "restored from a copy"]
)
def test_a_broker_that_lost_its_tail_is_noticed_though_its_log_is_longer_again(
    world: World, tmp_path: Path, is_restored_whole: bool
) -> None:
    """What a broker decided about its partitions is on the disk at once; what it was sent may not be."""
    kafka = world.kafka
    agent = world.agent()
    world.send(numbered("r1", 1, 3000))
    world.await_final()
    kafka.service.kill(signal.SIGTERM)
    data, kept = kafka.data_dir, tmp_path / "kept"
    shutil.copytree(data, kept)
    kafka.service.start()
    world.send(numbered("r1", 3001, 6000))  # written by the agent, then lost by the broker
    world.await_final()
    agent.kill(signal.SIGKILL)
    kafka.service.kill(signal.SIGKILL)
    for partition in data.glob("*" if is_restored_whole else f"{world.name}-*"):
        shutil.rmtree(partition) if partition.is_dir() else partition.unlink()
    for partition in kept.glob("*" if is_restored_whole else f"{world.name}-*"):
        shutil.move(partition, data)
    kafka.service.start()
    world.send(numbered("r1", 6001, 15_000))  # the same offsets again, and more than there were
    world.agent()
    wait_until(lambda: world.links(0)[-1].epoch == 2, 90, "the epoch after the loss")
    world.await_final()
    links = world.check()
    ended = [link for link in links if link.kind == "ended"]
    assert [(link.partition, link.next) for link in ended] == [(0, 1000), (1, 1000), (2, 1000)]
    assert "lost records" in ended[0].reason


@pytest.mark.parametrize("name", ["SIGKILL", pytest.param("SIGSTOP", marks=pytest.mark.slow)])
@pytest.mark.parametrize("part", ["namenode", "datanode", "kafka"])
def test_a_part_that_is_away_is_waited_for(world: World, part: str, name: str) -> None:
    service = world.kafka.service if part == "kafka" else getattr(world.hdfs_service, part)
    world.agent()
    world.send(numbered("r1", 1, 6000))
    wait_until(lambda: world.reached(0, flushed=True) > 0, 60, "the first flush")
    service.send_signal(getattr(signal, name))
    if name == "SIGSTOP":
        if part != "kafka":
            world.send(numbered("r1", 6001, 9000))
            log = world.agents[-1].log
            wait_until(
                lambda: "begins again at the newest links" in log.read_text(), 120, "the agent to notice"
            )
        service.send_signal(signal.SIGCONT)
    else:
        service.kill()
        if part != "kafka":
            world.send(numbered("r1", 6001, 9000))
        service.start()
    world.send(numbered("r1", 9001, 12_000))
    world.await_final(120)
    world.check()
