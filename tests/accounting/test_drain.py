"""Waiting until what was sent has arrived: on a busy topic, with agents that do not answer, from Airflow."""

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from confluent_kafka import Consumer, TopicPartition

from logpipe import settings as project_settings
from logpipe.accounting import chain, drain
from logpipe.accounting.drain import Drain
from logpipe.clients.flume import FlumeAgent, held_events
from logpipe.contracts.chain import Layout
from tests.accounting.pipeline import DAY, Pipeline, nasa_lines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = nasa_lines(3_000)
METRICS = """\
flume_channel_ChannelCapacity{component="memory"} 100000.0
flume_channel_ChannelFillPercentage{component="memory"} 0.0
flume_channel_EventPutSuccessCount{component="memory"} 10.0
flume_channel_EventTakeSuccessCount{component="memory"} %d.0
"""


@contextmanager
def agent(port: int, taken: int = 10) -> Iterator[None]:
    """An agent's metrics: it was given ten lines, and has passed on so many."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write((METRICS % taken).encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", port), Answer)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def commit(pipeline: Pipeline, ends: list[int]) -> None:
    """What agent 2's group has taken."""
    places = [TopicPartition(pipeline.name, partition, end) for partition, end in enumerate(ends)]
    consumer = Consumer(
        {"bootstrap.servers": pipeline.kafka.bootstrap, "group.id": pipeline.settings.consumer_group}
    )
    consumer.commit(offsets=places, asynchronous=False)
    consumer.close()


def finish_was_asked(pipeline: Pipeline) -> bool:
    return pipeline.hdfs.status(f"{pipeline.logs}/_chain/_finish") is not None


def test_the_end_of_a_wait_does_not_move_with_the_topic(pipeline: Pipeline) -> None:
    pipeline.send("a", LINES)
    waiting = Drain(pipeline.settings)
    assert waiting.undrained() == "agent 2 is 3000 records behind where the topic ended"
    pipeline.send("b", LINES)  # while it waits
    pipeline.write(until=[1_000, 1_000, 1_000], is_open=True)
    assert not finish_was_asked(pipeline)
    assert waiting.undrained() == "the windows are 3000 records behind where the topic ended"
    assert finish_was_asked(pipeline)  # and need not be waited for afterwards
    pipeline.count(until=[1_000, 1_000, 1_000])
    assert waiting.undrained() == "3000 records are flushed to HDFS, and their files not yet final"
    pipeline.hdfs.delete(f"{pipeline.logs}/_chain/_finish")
    assert waiting.undrained() != ""
    assert not finish_was_asked(pipeline)  # once is enough
    pipeline.write(until=[1_000, 1_000, 1_000])
    assert waiting.undrained() == ""
    assert Drain(pipeline.settings).undrained() != ""
    assert drain.unread(pipeline.settings) == 3_000


def test_profile_memory_is_drained_when_its_channel_is_empty(pipeline: Pipeline) -> None:
    pipeline.send("a", LINES)
    pipeline.count()
    commit(pipeline, [1_000, 1_000, 999])
    waiting = Drain(pipeline.settings)
    assert waiting.undrained() == "agent 2 is 1 records behind where the topic ended"
    commit(pipeline, [1_000, 1_000, 1_000])
    with agent(pipeline.settings.agent2_metrics_port, taken=7):
        assert waiting.undrained() == "agent 2 holds 3 lines"
    with agent(pipeline.settings.agent2_metrics_port):
        assert waiting.undrained() == ""
    assert not finish_was_asked(pipeline)
    assert drain.unread(pipeline.settings) == 0


def test_an_agent_that_runs_and_does_not_answer_may_hold_lines(pipeline: Pipeline) -> None:
    assert held_events([FlumeAgent.of(pipeline.settings, 1)]) == 0  # none runs
    with agent(pipeline.settings.agent1_metrics_port, taken=6):
        assert held_events([FlumeAgent.of(pipeline.settings, 1)]) == 4
    with socket.create_server(("127.0.0.1", pipeline.settings.agent1_metrics_port)):
        assert held_events([FlumeAgent.of(pipeline.settings, 1)]) is None
        assert Drain(pipeline.settings).undrained() == "agent 1 runs and does not say what it holds"


def test_the_wait_of_a_replays_end_and_of_a_stop(pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch) -> None:
    from logpipe.airflow.services.kinds import FlumeAgent
    from logpipe.airflow.triggers.wait import PartitionTrigger
    from tests.airflow.real_parts import connect, connect_stores

    settings = pipeline.settings
    monkeypatch.setattr(project_settings, "load", lambda: settings)
    connect_stores(monkeypatch, settings)
    connect(monkeypatch, "flume_agent1_default", host="localhost", port=settings.agent1_metrics_port)
    connect(monkeypatch, "flume_agent2_default", host="localhost", port=settings.agent2_metrics_port)
    day = datetime.strptime(DAY, "%y-%m-%d").date().isoformat()
    trigger = PartitionTrigger(
        days=[day], deadline_epoch_s=time.time() + 60, poll_interval_s=0.1,
        filling_conn_ids=["flume_agent1_default"], emptying_conn_ids=["flume_agent2_default"],
    )  # fmt: skip
    stopping = FlumeAgent(
        service="flume-agent2", flume_agent_conn_id="flume_agent1_default", empties_topic=True
    )
    pipeline.send("a", LINES)
    with agent(settings.agent1_metrics_port):
        assert "behind where the topic ended" in trigger.look().told
        assert "3000 records of the topic are not in HDFS" in stopping.undrained()
        pipeline.write(is_open=True)
        assert stopping.undrained() == ""  # it need not wait for the roll
        pipeline.count()
        pipeline.send("b", LINES)
        assert "not yet final" in trigger.look().told
        assert finish_was_asked(pipeline)
        pipeline.write(until=[1_000, 1_000, 1_000])
        event = asyncio.run(trigger.event())
        assert event.complete, event
        assert len([name for name in event.found if name.endswith(".log")]) == 3


def test_an_agent_that_was_killed_when_it_had_been_asked_is_asked_again(
    pipeline: Pipeline, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = nasa_lines(900)
    pipeline.send("a", lines)
    pipeline.record("a", lines)
    pipeline.write(is_open=True)
    pipeline.count()
    waiting = Drain(pipeline.settings)
    asked = Layout(pipeline.settings.hdfs_logs_dir).finish
    assert "not yet final" in waiting.undrained()
    pipeline.hdfs.delete(asked)
    assert waiting.undrained()
    assert pipeline.hdfs.status(asked) is None
    monkeypatch.setattr(chain, "ASK_AGAIN_S", 0)
    assert waiting.undrained()
    assert pipeline.hdfs.status(asked) is not None
    pipeline.write()
    assert waiting.undrained() == ""
