"""Lines that a source has and the topic has not are sent again, once."""

import signal
import threading
from collections import Counter
from pathlib import Path

import pytest

from logpipe.accounting import chain
from logpipe.accounting.topic import end_offsets
from logpipe.contracts.chain import Layout
from logpipe.sealing import lost
from logpipe.sealing.lost import NotSentError
from logpipe.sealing.repair import Outcome, repair
from tests.sealing.chain_writer import Pipeline
from tests.sealing.test_seal import numbered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = [*numbered(30), b"twice", b"twice"]


class Replayer:
    """Sends a file of lost lines with identities, as the real one does, and says so in the ledger."""

    def __init__(self, pipeline: Pipeline) -> None:
        self.pipeline = pipeline
        self.sent: list[tuple[str, list[bytes]]] = []

    def __call__(self, replay_id: str, path: Path) -> None:
        lines = path.read_bytes().split(b"\n")[:-1]
        self.pipeline.send(lines, replay=replay_id)
        self.pipeline.record(replay_id, lines)
        self.sent.append((replay_id, lines))


@pytest.fixture
def replayer(pipeline, monkeypatch):
    monkeypatch.setattr(lost, "PASS_WAIT_S", 1)
    return Replayer(pipeline)


def test_lines_that_never_reached_kafka_are_sent_again_once(pipeline, replayer):
    pipeline.record("a", LINES)
    pipeline.send(LINES[:10], replay="a")
    pipeline.send(LINES[15:31], replay="a", first_number=16)
    pipeline.link(26)
    outcome = repair(pipeline.settings, None, replayer)
    assert outcome.failed == []
    assert [(name, Counter(lines)) for name, lines in replayer.sent] == [
        ("repair-1+a", Counter([*LINES[10:15], b"twice"]))
    ]
    assert repair(pipeline.settings, None, replayer).done == [], "on their way to HDFS they are not lost"
    pipeline.link(32)
    assert pipeline.hdfs.status(f"{pipeline.root}/_chain/_finish") is not None, "agent 2 was asked to hurry"
    assert repair(pipeline.settings, None, replayer).done == []
    assert len(replayer.sent) == 1
    assert pipeline.lines() == Counter(LINES)


def test_what_is_in_flight_is_not_sent_again(pipeline, replayer):
    pipeline.record("a", LINES)
    pipeline.send(LINES, replay="a")
    pipeline.link(5)
    outcome = repair(pipeline.settings, None, replayer)
    assert "agent 2 has not made all final" in outcome.failed[0]
    assert replayer.sent == []
    pipeline.link(32)
    assert repair(pipeline.settings, None, replayer) == Outcome()
    assert replayer.sent == []


class Agent2(threading.Thread):
    """Makes all final when it is asked, but heeds no mark that is there already; lines come meanwhile."""

    def __init__(self, pipeline: Pipeline) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.live: list[bytes] = []
        self.stopping = threading.Event()

    def run(self) -> None:
        """Send a few lines of a replay that runs, look for the mark, and again."""
        seen: int | None = None
        while not self.stopping.wait(0.1):
            some = [b"live %d" % number for number in range(len(self.live), len(self.live) + 20)]
            self.pipeline.send(some, replay="live", first_number=len(self.live) + 1)
            self.live += some
            mark = self.pipeline.hdfs.status(Layout(self.pipeline.root).finish)
            if mark is not None and mark.modified_ms != seen:
                if seen is not None:
                    self.link_all()
                seen = mark.modified_ms

    def link_all(self) -> None:
        """Link what the topic holds."""
        self.pipeline.link(end_offsets(self.pipeline.settings)[0][1])


def test_a_repair_beside_lines_in_flight_sends_only_what_is_lost(pipeline, replayer, monkeypatch):
    """Agent 2 was started after it had been asked to hurry: it is asked again, as a replay's end does."""
    monkeypatch.setattr(lost, "PASS_WAIT_S", 60)
    monkeypatch.setattr(chain, "ASK_AGAIN_S", 1)
    pipeline.record("a", LINES)
    pipeline.send(LINES[:10], replay="a")
    pipeline.link(10)
    pipeline.send(LINES[15:], replay="a", first_number=16)
    agent = Agent2(pipeline)
    agent.start()
    try:
        outcome = repair(pipeline.settings, None, replayer)
        assert outcome.failed == []
        assert replayer.sent == [("repair-1+a", LINES[10:15])]
        assert repair(pipeline.settings, None, replayer) == Outcome(), "on their way they are not lost"
    finally:
        agent.stopping.set()
        agent.join()
    agent.link_all()
    assert pipeline.lines() == Counter(LINES) + Counter(agent.live)
    assert len(replayer.sent) == 1


def test_a_replay_that_is_not_done_is_left_alone(pipeline, replayer):
    pipeline.record("a", LINES)
    path = pipeline.settings.state_dir / "replays" / "a.json"
    path.write_text(path.read_text().replace('"done"', '"stopped"'))
    assert repair(pipeline.settings, None, replayer).done == []


def test_lines_that_profile_memory_lost_are_sent_again(pipeline, replayer):
    pipeline.record("m", LINES, profile="memory")
    pipeline.record("n", LINES[:4], profile="memory")
    pipeline.send(LINES[3:])
    pipeline.send(LINES[:2])
    repair(pipeline.settings, None, replayer)
    sent = Counter(line for _, lines in replayer.sent for line in lines)
    assert sent == Counter(LINES + LINES[:4]) - Counter(LINES[3:] + LINES[:2])
    assert repair(pipeline.settings, None, replayer).done == []


@pytest.mark.parametrize("step", ["lost-written", "lost-sent"])
def test_an_unfinished_repair_is_finished_and_never_a_second_one_made(pipeline, replayer, step):
    pipeline.record("a", LINES)
    pipeline.send(LINES[:10], replay="a")
    pipeline.link(10)
    assert pipeline.repair_and_die(step) == -signal.SIGKILL
    repair(pipeline.settings, None, replayer)
    assert [(name, Counter(lines)) for name, lines in replayer.sent] == [("repair-1+a", Counter(LINES[10:]))]
    assert repair(pipeline.settings, None, replayer).done == []


def test_a_second_loss_has_a_repair_of_its_own(pipeline, replayer):
    pipeline.record("a", LINES)
    pipeline.send(LINES[:30], replay="a")
    pipeline.link(30)
    repair(pipeline.settings, None, lambda name, _: pipeline.record(name, [b"twice"] * 2))  # lost again
    repair(pipeline.settings, None, replayer)
    assert replayer.sent == [("repair-2+a", [b"twice", b"twice"])]


def test_hdfs_tells_which_where_retention_took_the_records(pipeline, replayer):
    pipeline.record("a", LINES)
    pipeline.send(LINES[:20], replay="a")
    pipeline.link(20)
    pipeline.forget_before(0, 8)
    assert repair(pipeline.settings, None, replayer).failed == []
    assert [(name, Counter(lines)) for name, lines in replayer.sent] == [("repair-1+a", Counter(LINES[20:]))]


def test_nothing_is_sent_where_nobody_can_tell_which(pipeline, replayer):
    """Another client's line of the same bytes stands in for a lost one."""
    pipeline.record("a", LINES)
    pipeline.send(LINES[:20], replay="a")
    pipeline.send([LINES[25]], hour=13)
    pipeline.link(21)
    pipeline.forget_before(0, 8)
    outcome = repair(pipeline.settings, None, replayer)
    assert "12 lines are lost, and which cannot be told" in outcome.failed[0]
    assert replayer.sent == []
    assert list((pipeline.settings.state_dir / "repairs").iterdir()) == []


def test_lines_that_a_record_in_the_replays_name_has_swallowed_are_sent_again(pipeline, replayer):
    """Its number is that of a line to come: that one and those before it are taken for repeats."""
    pipeline.record("a", LINES)
    pipeline.send(LINES[:10], replay="a")
    pipeline.send([b"forged"], replay="a", first_number=15)
    pipeline.send(LINES[10:], replay="a", first_number=11)
    pipeline.link(33)
    assert repair(pipeline.settings, None, replayer).failed == []
    assert [(name, Counter(lines)) for name, lines in replayer.sent] == [
        ("repair-1+a", Counter(LINES[10:15]))
    ]
    pipeline.link(38)
    assert pipeline.lines() == Counter([*LINES, b"forged"])
    assert repair(pipeline.settings, None, replayer) == Outcome()


def test_a_replay_of_which_the_chain_says_nothing_is_not_judged_by_it(pipeline, replayer):
    """Its marks have left the links; its lines stand in the topic and in HDFS."""
    pipeline.record("a", LINES)
    pipeline.send(LINES)
    pipeline.link(32)
    pipeline.forget_before(0, 8)
    assert repair(pipeline.settings, None, replayer) == Outcome()
    assert replayer.sent == []


def test_what_the_topic_lacks_and_the_chain_does_not_is_not_sent(pipeline, replayer):
    """A clock that was hours wrong hides records of the replay's time."""
    pipeline.record("a", LINES)
    pipeline.send(LINES[:10], replay="a", hour=3)
    pipeline.send(LINES[10:20], replay="a", first_number=11)
    pipeline.link(20)
    assert (
        "12 lines are lost, and which cannot be told" in repair(pipeline.settings, None, replayer).failed[0]
    )
    assert replayer.sent == []


def test_what_could_not_be_sent_is_told_and_sent_by_the_next(pipeline, replayer):
    def away(replay_id: str, path: Path) -> None:
        raise NotSentError(f"{path} was not sent again: the replayer is away")

    pipeline.record("a", LINES)
    pipeline.send(LINES[:10], replay="a")
    pipeline.link(10)
    assert "the replayer is away" in repair(pipeline.settings, None, away).failed[0]
    repair(pipeline.settings, None, replayer)
    assert [name for name, _ in replayer.sent] == ["repair-1+a"]


def test_without_a_way_to_send_they_are_told(pipeline):
    pipeline.record("a", LINES)
    pipeline.send(LINES[:20], replay="a")
    pipeline.link(20)
    assert "never reached Kafka" in repair(pipeline.settings).failed[0]
