"""The replayer as a whole against real Kafka and Flume: what the topic holds is what the source holds."""

import base64
import bz2
import gzip
import json
import lzma
import os
import random
import re
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from itertools import count
from pathlib import Path
from struct import pack

import pytest

from logpipe.accounting.source import SourceGoneError, ledger, sent_lines
from logpipe.clients.formats import FormatRegistry
from logpipe.clients.hdfs import Hdfs as HdfsClient
from logpipe.contracts.formats import Entry
from logpipe.digest import Digest
from logpipe.identity import Identities, Verdict, partition_of
from logpipe.replayer.addresses import Treatment, treated
from logpipe.replayer.feed import BATCH_LINES, Batch, Place
from logpipe.replayer.halt import Halt
from logpipe.replayer.thrift_sink import ThriftSink
from logpipe.settings import parse
from tests.machine import Hdfs, Record
from tests.ports import free_port
from tests.waiting import wait_until

from .process import ReplayerProcess, Stack
from .servers import LOGIN, Faults, ftp_server, web_server

pytestmark = pytest.mark.integration

MAX_LINE_BYTES = 1 << 20
StartReplayer = Callable[..., ReplayerProcess]


def split(content: bytes) -> list[bytes]:
    lines = content.split(b"\n")
    return lines[:-1] if lines[-1] == b"" else lines


def log_lines(count: int) -> list[bytes]:
    return [
        b'host%d - - [01/Aug/1995:00:00:01 -0400] "GET /%d HTTP/1.0" 200 %d' % (n % 7, n, n)
        for n in range(count)
    ]


def without_repeats(records: list[Record]) -> list[Record]:
    """Records that the product's own rule takes for lines."""
    identities = Identities()
    return [
        record
        for record in records
        if identities.judge(record.partition, record.key.encode() if record.key else None) is Verdict.NEW
    ]


def assert_exact(
    records: list[Record],
    replay_id: str,
    lines: list[bytes],
    partitions: int = 3,
    numbers: Iterable[int] | None = None,
) -> None:
    """Every line is there under its own key, where it belongs, and once when repeats are left out."""
    kept = without_repeats(records)
    assert len(kept) == len(lines)
    for record in records:
        number = int(str(record.key).rpartition(":")[2])
        assert record.partition == partition_of(number, partitions), record.key
    assert {record.key: record.value for record in kept} == {
        f"{replay_id}:{number}": line for number, line in zip(numbers or count(1), lines, strict=False)
    }


def assert_counts(record: dict[str, object], lines: list[bytes]) -> None:
    assert {name: record[name] for name in ("lines", "bytes", "hash_sum")} == Digest.of(lines).to_json()


def odd_content() -> bytes:
    noise = random.Random(4)
    kinds = [
        b"",
        *(b"x" * size for size in (511, 512, 513, 65536, MAX_LINE_BYTES - 1, MAX_LINE_BYTES)),
        b"a\x00b\x00",
        b"\x00",
        b"\r",
        b"carriage\rreturn",
        b"dos line\r",
        b"caf\xe9 \xa0\xff",
        b"\xff\xfe\xc3\x28",
        b"\xef\xbb\xbfbom",
        b"\x1b[31mred\x1b[0m\x07",
        b'one - - [x] "GET / HTTP/1.0" 200 1 two - - [x] "GET / HTTP/1.0" 200 1',
        b"OK",
        b"FAILED",
        bytes(range(10)) + bytes(range(11, 256)),
        *(noise.randbytes(200).replace(b"\n", b"") for _ in range(50)),
        b"",
        b"",
    ]
    return b"\n".join([*kinds, *[b"the same"] * 3000, *[b""] * 20, b"no newline at the end"])


@pytest.mark.parametrize("mode", ["shorten", "hash"])
def test_addresses_are_treated_before_a_line_is_sent_and_a_resume_sends_the_same(
    stack: Stack, start_replayer: StartReplayer, hdfs: Hdfs, tmp_path: Path, mode: str
) -> None:
    line = b'203.0.113.%d - - [01/Aug/1995:00:00:01 -0400] "GET /%d HTTP/1.0" 200 1'
    lines = [line % (n % 200, n) for n in range(20_000)]
    lines[3] = b"malformed, of 203.0.113.3"
    lines[6] = grown = b"::1 - - [01/Aug/1995:00:00:01 -0400] ".ljust(1000, b"y")  # as a hash it is longer
    long = b"203.0.113.9 - - [01/Aug/1995:00:00:01 -0400] " + b"x" * 2000
    content = b"\n".join([*lines, long])
    log = tmp_path / "people.log"
    log.write_bytes(content)
    settings = stack.settings | {"webhdfs_url": hdfs.webhdfs_url, "max_line_bytes": 1000}
    replayer, replay_id = start_replayer(**settings), f"people-{mode}"
    since = stack.kafka.end_offsets(stack.topic("durable"))
    replayer.submit(replay_id, log.as_uri(), addresses=mode, pace="delay:0.0001", format="auto")
    replayer.wait_lines(replay_id, 1000)
    replayer.kill()
    replayer = start_replayer(**settings)
    record = replayer.wait_state(replay_id, "done", 60)
    own = parse(**settings, state_dir=replayer.state_dir)
    treatment = Treatment.from_json(record["treatment"])
    assert treatment == Treatment(mode, "common", "k1" if mode == "hash" else "")
    sent = treated(treatment, own)(lines)
    aside = [7, 20_001] if mode == "hash" else [20_001]
    if mode == "hash":
        assert len(sent.pop(6)) > len(grown)
    assert_counts(record, sent)
    assert record["set_aside"] == len(aside)
    records = [
        one for one in stack.kafka.read(stack.topic("durable"), since) if str(one.key).startswith(replay_id)
    ]
    assert_exact(records, replay_id, sent, numbers=(n for n in count(1) if n not in aside))
    assert not any(b"203.0.113." in one.value.replace(b"203.0.113.0", b"") for one in records)
    text = (replayer.state_dir / "dead_letters" / f"{replay_id}.jsonl").read_text()
    letters = [json.loads(letter) for letter in text.splitlines()]
    assert [letter["line_number"] for letter in letters] == aside
    assert b"203.0.113.9" not in base64.b64decode(letters[-1]["prefix_base64"])
    if mode == "hash":
        assert letters[0]["reason"] == "longer than 1000 bytes once its addresses are treated"
        assert base64.b64decode(letters[0]["prefix_base64"]).startswith(b"h-")
    ((kept,), _) = ledger(own)
    assert [again for _, again in sent_lines(kept, own)] == sent, (
        "the audit makes the same lines of the source"
    )
    entry = FormatRegistry(HdfsClient.of(own), own.hdfs_ledger_dir).get(replay_id)
    assert entry == Entry("people.log", "common", str(treatment))
    if mode == "hash":
        (replayer.state_dir / "address_keys.json").unlink()
        with pytest.raises(SourceGoneError, match="has no key k1"):
            next(sent_lines(kept, own))


@pytest.mark.parametrize("profile", ["durable", "memory"])
def test_odd_lines_arrive_as_they_are(
    stack: Stack, replayer: ReplayerProcess, tmp_path: Path, profile: str
) -> None:
    content = odd_content()
    (tmp_path / "odd.log.gz").write_bytes(gzip.compress(content))
    since = stack.kafka.end_offsets(stack.topic(profile))
    replayer.submit(f"odd-{profile}", f"file://{tmp_path}/odd.log.gz", profile=profile)
    record = replayer.wait_state(f"odd-{profile}", "done")
    lines = split(content)
    assert_counts(record, lines)
    records = wait_until(
        lambda: found if len(found := stack.kafka.read(stack.topic(profile), since)) >= len(lines) else None,
        30,
        "all lines in the topic",
    )
    if profile == "durable":
        assert Counter(one.value for one in records) == Counter(lines)
        assert_exact(records, "odd-durable", lines)
    else:
        assert Counter(one.value for one in records) == Counter(lines)
        assert {one.key for one in records} == {None}


@pytest.mark.parametrize("profile", ["durable", "memory"])
def test_too_long_lines_are_set_aside_and_found_again(
    stack: Stack, replayer: ReplayerProcess, tmp_path: Path, profile: str
) -> None:
    too_long = b"y" * (MAX_LINE_BYTES + 1)
    content = b"\n".join([b"first", too_long, b"", b"third", too_long * 3])
    (tmp_path / "long.log").write_bytes(content)
    since = stack.kafka.end_offsets(stack.topic(profile))
    replay_id = f"long-{profile}"
    replayer.submit(replay_id, f"file://{tmp_path}/long.log", profile=profile)
    record = replayer.wait_state(replay_id, "done")
    assert (record["lines"], record["set_aside"], record["last_line"]) == (3, 2, 5)
    assert_counts(record, [b"first", b"", b"third"])
    wait_until(lambda: len(stack.kafka.read(stack.topic(profile), since)) == 3, 30, "three lines")
    text = (replayer.state_dir / "dead_letters" / f"{replay_id}.jsonl").read_text()
    entries = [json.loads(line) for line in text.splitlines()]
    assert [(entry["line_number"], entry["length_bytes"]) for entry in entries] == [
        (2, MAX_LINE_BYTES + 1),
        (5, 3 * (MAX_LINE_BYTES + 1)),
    ]


MIB = 1 << 20
HUGE = 0x7FFFFFFF
CALL = b"\x80\x01\x00\x01" + pack(">I", 11) + b"appendBatch" + pack(">I", 1)
EVENTS = CALL + pack(">bhb", 15, 1, 12)  # the first argument is a list of structs
EVENT = EVENTS + pack(">I", 1)
ANNOUNCED = {
    "a frame": pack(">I", 100 * MIB),
    "events": EVENTS + pack(">I", HUGE),
    "some events": EVENTS + pack(">I", 60 * MIB),
    "headers": EVENT + pack(">bhbbI", 13, 1, 11, 11, 60 * MIB) + pack(">I", 0) * 2,
    "a header": EVENT + pack(">bhbbII", 13, 1, 11, 11, 1, 90 * MIB),
    "a line": EVENT + pack(">bhI", 11, 2, 90 * MIB),
}


def test_what_is_announced_to_agent_1_does_not_take_its_memory(stack: Stack, tmp_path: Path) -> None:
    """Each is a few bytes; the agent lives, ends that connection, and takes batches as before."""
    port = free_port()
    agent = stack.agent("durable", tmp_path, thrift_port=port, flume_heap_mb=128)
    agent.start()
    sink = ThriftSink("localhost", port, "beside", Halt())
    try:
        assert agent.process is not None
        sink.begin(Batch(1, [b"before"], Place(1)))
        sink.finish()
        for number, (what, message) in enumerate(ANNOUNCED.items(), 2):
            frame = message if what == "a frame" else pack(">I", len(message)) + message
            hostile = [socket.create_connection(("localhost", port), 20) for _ in range(4)]
            try:
                for each in hostile:
                    each.sendall(frame)
                if what == "a frame":
                    assert [each.recv(1) for each in hostile] == [b""] * 4, "the connection ends"
                sink.begin(Batch(number, [what.encode()], Place(number)))
                sink.finish()
                assert agent.process.poll() is None, what
            finally:
                for each in hostile:
                    each.close()
        many = [socket.create_connection(("localhost", port), 20) for _ in range(40)]
        for each in many:  # each may be a batch, and all of them are more than there is memory
            each.sendall(pack(">I", 8 * MIB) + b"x")
        for each in many:
            each.close()
        sink.begin(Batch(number + 1, [b"behind"], Place(number + 1)))
        sink.finish()
        assert agent.process.poll() is None
    finally:
        sink.close()
        agent.end()


@pytest.mark.parametrize("suffix", ["log", "log.gz"])
def test_a_killed_replayer_goes_on_by_itself_and_nothing_is_missing(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path, suffix: str
) -> None:
    lines = log_lines(60_000)
    content = b"\n".join(lines) + b"\n"
    (tmp_path / f"a.{suffix}").write_bytes(gzip.compress(content, 1) if suffix == "log.gz" else content)
    topic = stack.topic("durable")
    since = stack.kafka.end_offsets(topic)
    replay_id = f"killed-{suffix}"
    with ftp_server(tmp_path, Faults()) as port:
        process = start_replayer(**stack.settings)
        process.submit(replay_id, f"ftp://localhost:{port}/a.{suffix}", login=asdict(LOGIN))
        for lines_before_kill in (1, 20_000):
            process.wait_lines(replay_id, lines_before_kill)
            process.kill()
            process = start_replayer(**stack.settings)
        record = process.wait_state(replay_id, "done")
    assert_counts(record, lines)
    assert record["source_bytes_read"] == record["source_size_bytes"]
    records = stack.kafka.read(topic, since)
    assert_exact(records, replay_id, lines)
    assert len(records) - len(lines) <= 2 * 2 * BATCH_LINES, "a kill repeats two batches at most"
    assert "s@cret" not in process.log_path.read_text() + json.dumps(record)
    kept = process.state_dir / "replays" / f"{replay_id}.login"
    assert ("s@cret" in kept.read_text(), kept.stat().st_mode & 0o777) == (True, 0o600)


def test_sigterm_ends_it_clean_and_repeats_nothing(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    lines = log_lines(400_000)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    topic = stack.topic("durable")
    since = stack.kafka.end_offsets(topic)
    process = start_replayer(**stack.settings)
    process.submit("terminated", f"file://{tmp_path}/a.log")
    process.wait_lines("terminated", 5000)
    assert process.terminate() == 0
    saved = json.loads((process.state_dir / "replays" / "terminated.json").read_text())
    assert saved["state"] == "running"
    process = start_replayer(**stack.settings)
    assert_counts(process.wait_state("terminated", "done"), lines)
    records = stack.kafka.read(topic, since)
    assert len(records) == len(lines)
    assert_exact(records, "terminated", lines)


def test_an_agent_that_is_away_is_waited_for(stack: Stack, replayer: ReplayerProcess, tmp_path: Path) -> None:
    lines = log_lines(100_000)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    topic = stack.topic("durable")
    since = stack.kafka.end_offsets(topic)
    replayer.submit("agent-away", f"file://{tmp_path}/a.log")
    replayer.wait_lines("agent-away", 10_000)
    stack.durable.kill()
    record = wait_until(
        lambda: one if (one := replayer.record("agent-away"))["reason"] else None,
        30,
        "a reason while the agent is away",
    )
    assert record["state"] == "running"
    assert str(stack.settings["thrift_port"]) in record["reason"]
    stack.durable.start()
    replayer.wait_lines("agent-away", 30_000)
    replayer.process.send_signal(signal.SIGSTOP)  # and its connection dies while it sleeps
    stack.durable.kill()
    stack.durable.start()
    replayer.process.send_signal(signal.SIGCONT)
    record = replayer.wait_state("agent-away", "done")
    assert record["reason"] is None
    assert_counts(record, lines)
    assert_exact(stack.kafka.read(topic, since), "agent-away", lines)


@pytest.fixture
def own(stack: Stack, tmp_path: Path) -> Iterator[Stack]:
    """The same broker, with a topic of three partitions and an agent of its own."""
    made = Stack(stack.kafka, tmp_path, f"own_{tmp_path.name}")
    try:
        made.durable.start()
        yield made
    finally:
        stack.kafka.service.send_signal(signal.SIGCONT)
        made.durable.end()


def reason_of(process: ReplayerProcess, replay_id: str, told: str, deadline_s: float = 15.0) -> str:
    """The record's reason, once it tells so."""
    return wait_until(
        lambda: text if told in (text := process.record(replay_id)["reason"] or "") else None,
        deadline_s,
        f"{told!r} as the reason of {replay_id}",
    )


def test_a_kill_before_the_acknowledgement_moves_no_line_though_the_topic_grows(
    own: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    lines = log_lines(200_000)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    since = dict.fromkeys(range(5), 0)
    process = start_replayer(**own.settings)
    process.submit("grown", f"file://{tmp_path}/a.log")
    process.wait_lines("grown", 5000)
    own.kafka.service.send_signal(signal.SIGSTOP)
    reason_of(process, "grown", "has not answered for")  # what agent 1 has taken in is not acknowledged
    process.kill()
    acknowledged = json.loads((process.state_dir / "replays" / "grown.json").read_text())["lines"]
    assert acknowledged < len(lines)
    own.kafka.service.send_signal(signal.SIGCONT)
    own.kafka.add_partitions(own.topic("durable"), 5)
    sent = wait_until(
        lambda: found if len(found := own.kafka.read(own.topic("durable"), since)) > acknowledged else None,
        30,
        "what was not acknowledged in the topic",
    )
    process = start_replayer(**own.settings)
    record = process.wait_state("grown", "done", 60.0)
    assert_counts(record, lines)
    assert record["partitions"] == 3
    records = own.kafka.read(own.topic("durable"), since)
    assert len(records) - len(lines) >= len(sent) - acknowledged > 0, "it was killed in between"
    assert_exact(records, "grown", lines, partitions=3)


def test_kafka_may_be_away_for_as_long_as_it_takes(
    own: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    lines = log_lines(100)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    process = start_replayer(**own.settings)
    own.kafka.service.send_signal(signal.SIGSTOP)
    process.submit("early", f"file://{tmp_path}/a.log")
    assert "Kafka at" in reason_of(process, "early", "does not answer")
    assert process.record("early")["partitions"] is None
    own.kafka.service.send_signal(signal.SIGCONT)
    record = process.wait_state("early", "done", 60.0)
    assert (record["partitions"], record["reason"]) == (3, None)
    assert_exact(own.kafka.read(own.topic("durable"), {0: 0, 1: 0, 2: 0}), "early", lines)


def test_a_topic_with_fewer_partitions_than_before_is_refused(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(log_lines(1000)))
    process = start_replayer(**stack.settings)
    process.submit("shrunk", f"file://{tmp_path}/a.log", pace="delay:0.01")
    process.wait_lines("shrunk", 3)
    process.terminate()
    stack.kafka.create_topic("shrunk", 2)
    process = start_replayer(**{**stack.settings, "topic": "shrunk"})
    reason = process.wait_state("shrunk", "failed")["reason"]
    assert "topic shrunk has 2 partitions, expected 3" in reason


def test_a_replay_of_an_earlier_version_keeps_kafkas_partitioner(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    lines = log_lines(3000)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    topic = stack.topic("durable")
    since = stack.kafka.end_offsets(topic)
    process = start_replayer(**stack.settings)
    process.submit("earlier", f"file://{tmp_path}/a.log", pace="delay:0.01")
    process.wait_lines("earlier", 3)
    process.terminate()
    path = process.state_dir / "replays" / "earlier.json"
    values = json.loads(path.read_text())
    done = values["lines"]
    del values["partitions"], values["sealed_at"], values["given_up_at"]
    path.write_text(json.dumps({**values, "pace": "max"}))
    process = start_replayer(**stack.settings)
    assert_counts(process.wait_state("earlier", "done"), lines)
    later = stack.kafka.read(topic, since)
    places = {one.key: one.partition for one in later if int(str(one.key).rpartition(":")[2]) > done}
    assert {places[f"earlier:{number}"] for number in range(done + 1, 1001)} == {0, 1, 2}


def test_the_agents_threads_do_not_grow_with_calls(
    own: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(log_lines(320_000)))
    process = start_replayer(**own.settings)
    assert own.durable.process is not None
    threads = Path(f"/proc/{own.durable.process.pid}/task")
    process.submit("warm", f"file://{tmp_path}/a.log", limit=20_000)
    process.wait_state("warm", "done")
    before = len(list(threads.iterdir()))
    process.submit("calls", f"file://{tmp_path}/a.log")  # 54 calls
    process.wait_state("calls", "done", 60.0)
    assert len(list(threads.iterdir())) <= before + 5


def test_a_full_memory_channel_is_tried_again_until_every_line_is_taken(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    """With the broker stopped, the channel of 100 lines fills and lines are answered FAILED."""
    lines = log_lines(2000)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    topic = stack.topic("memory")
    since = stack.kafka.end_offsets(topic)
    port = free_port()
    agent = stack.agent("memory", tmp_path, netcat_port=port)
    conf = Path(next(part for part in agent.command if part.endswith("agent1.properties")))
    small = tmp_path / "small.properties"
    text, numbers = re.subn(r"(?i)(capacity|BatchSize) = 1000+$", r"\1 = 100", conf.read_text(), flags=re.M)
    assert numbers == 3
    small.write_text(text)
    agent.command = tuple(str(small) if part == str(conf) else part for part in agent.command)
    try:
        agent.start()
        process = start_replayer(netcat_port=port)
        process.submit("warm", f"file://{tmp_path}/a.log", profile="memory", limit=10)
        process.wait_state("warm", "done")
        wait_until(lambda: len(stack.kafka.read(topic, since)) == 10, 30, "the first lines")
        stack.kafka.service.send_signal(signal.SIGSTOP)
        process.submit("full", f"file://{tmp_path}/a.log", profile="memory")
        wait_until(lambda: "FAILED" in (process.record("full")["reason"] or ""), 30, "a refused line")
        stack.kafka.service.send_signal(signal.SIGCONT)
        assert_counts(process.wait_state("full", "done", 60.0), lines)
        found = wait_until(
            lambda: found if len(found := stack.kafka.read(topic, since)) >= 2010 else None,
            30,
            "all lines in the topic",
        )
        missing = Counter(lines) - Counter(one.value for one in found)
        assert not missing
    finally:
        stack.kafka.service.send_signal(signal.SIGCONT)
        agent.end()


def test_stop_and_go_on(stack: Stack, replayer: ReplayerProcess, tmp_path: Path) -> None:
    lines = log_lines(100)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    topic = stack.topic("durable")
    since = stack.kafka.end_offsets(topic)
    url = f"file://{tmp_path}/a.log"
    replayer.submit("stopped", url, pace="delay:0.02")
    replayer.wait_lines("stopped", 3)
    status, record = replayer.request("POST", "/replays/stopped/stop")
    assert (status, record["state"]) == (200, "stopped")
    assert 3 <= record["lines"] < 100
    again = replayer.submit("stopped", url, pace="delay:0.02")
    assert (again["state"], again["lines"]) == ("running", record["lines"])
    assert_counts(replayer.wait_state("stopped", "done"), lines)
    assert_exact(stack.kafka.read(topic, since), "stopped", lines)


def test_a_cut_gzip_file_is_sent_up_to_the_cut_and_named(
    stack: Stack, replayer: ReplayerProcess, tmp_path: Path
) -> None:
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"\n".join(log_lines(50_000)))[:-5000])
    topic = stack.topic("durable")
    since = stack.kafka.end_offsets(topic)
    for _ in range(2):  # a retry fails again, and sends nothing twice
        replayer.submit("cut", f"file://{tmp_path}/cut.gz")
        record = replayer.wait_state("cut", "failed")
        assert f"file://{tmp_path}/cut.gz" in record["reason"]
        assert "cut short" in record["reason"]
        assert f"{record['lines']} lines" in record["reason"]
    sent = log_lines(50_000)[: record["lines"]]
    records = stack.kafka.read(topic, since)
    assert len(records) == len(sent) > 40_000
    *whole, last = sorted(without_repeats(records), key=lambda one: int(str(one.key).rpartition(":")[2]))
    assert [one.value for one in whole] == sent[:-1]
    assert sent[-1].startswith(last.value)


def test_a_replaced_file_is_refused(stack: Stack, replayer: ReplayerProcess, tmp_path: Path) -> None:
    path = tmp_path / "a.log"
    path.write_bytes(b"\n".join(log_lines(1000)))
    replayer.submit("replaced", f"file://{path}", pace="delay:0.01")
    replayer.wait_lines("replaced", 5)
    replayer.request("POST", "/replays/replaced/stop")
    kept_time = path.stat()
    path.write_bytes(path.read_bytes().replace(b"host1", b"HOST1"))
    os.utime(path, ns=(kept_time.st_atime_ns, kept_time.st_mtime_ns))
    replayer.submit("replaced", f"file://{path}", pace="delay:0.01")
    assert "digest" in replayer.wait_state("replaced", "failed")["reason"]
    path.write_bytes(b"shorter\n")
    replayer.submit("replaced", f"file://{path}", pace="delay:0.01")
    reason = wait_until(
        lambda: (
            text if "it is now 8 bytes" in (text := replayer.record("replaced")["reason"] or "") else None
        ),
        30,
        "both versions in the reason",
    )
    assert f"it was {kept_time.st_size} bytes" in reason


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("missing.log", None, "no such file"),
        ("empty.log", b"", "empty"),
        ("plain.gz", b"plain text\n", "not gzip although its name ends in .gz"),
        ("a.log.bz2", bz2.compress(b"plain text\n"), "packed with bzip2"),
        ("a.log.xz", lzma.compress(b"plain text\n"), "packed with xz"),
    ],
)
def test_bad_input_fails_with_url_and_reason(
    replayer: ReplayerProcess, tmp_path: Path, name: str, content: bytes | None, told: str
) -> None:
    served = tmp_path / "served"
    served.mkdir()
    if content is not None:
        (served / name).write_bytes(content)
    with ftp_server(served, Faults()) as ftp_port, web_server(served, Faults()) as web_port:
        for number, address in enumerate((f"ftp://localhost:{ftp_port}", f"http://localhost:{web_port}")):
            replay_id = f"bad-{number}-{name}"
            replayer.submit(replay_id, f"{address}/{name}", login=asdict(LOGIN))
            reason = replayer.wait_state(replay_id, "failed")["reason"]
            assert told in reason
            assert f"{address}/{name}" in reason


def test_a_corrected_password_lets_a_failed_replay_go_on(
    stack: Stack, replayer: ReplayerProcess, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    with ftp_server(tmp_path, Faults()) as port:
        url = f"ftp://localhost:{port}/a.log"
        replayer.submit("password", url, login={"user": "reader", "password": "wrong"})
        record = replayer.wait_state("password", "failed")
        assert "refused user or password" in record["reason"]
        assert "wrong" not in json.dumps(record)
        replayer.submit("password", url, login=asdict(LOGIN))
        assert replayer.wait_state("password", "done")["lines"] == 2


def test_the_interface(stack: Stack, replayer: ReplayerProcess, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\nthree\n")
    spec = {
        "replay_id": "i",
        "url": f"file://{tmp_path}/a.log",
        "pace": "max",
        "profile": "durable",
        "limit": 2,
    }
    status, health = replayer.request("GET", "/health", login="")
    assert (status, health["status"]) == (200, "ok")
    for login in ("", "logpipe:other", f"other:{replayer.password}"):
        assert replayer.request("GET", "/replays", login=login)[0] == 401
    assert replayer.request("POST", "/replays", spec)[0] == 201
    record = replayer.wait_state("i", "done")
    assert (record["lines"], record["last_line"]) == (2, 2)
    assert replayer.request("POST", "/replays", spec) == (200, record)
    status, conflict = replayer.request("POST", "/replays", {**spec, "limit": 3})
    assert (status, "limit" in conflict["error"]) == (409, True)
    status, invalid = replayer.request("POST", "/replays", {**spec, "pace": "quick"})
    assert (status, "pace is 'quick', expected" in invalid["error"]) == (422, True)
    assert replayer.request("POST", "/replays", ["no object"])[0] == 422
    assert replayer.request("GET", "/replays/none")[0] == 404
    assert replayer.request("POST", "/replays/none/stop")[0] == 404
    replayer.submit("j", f"file://{tmp_path}/a.log")
    replayer.wait_state("j", "done")
    for replay_id, told in (
        ("repair-1+i", "kept for repairs"),
        ("sums", "sums.json"),
        ("x" * 181, "at most 180"),
    ):
        status, refused = replayer.request("POST", "/replays", {**spec, "replay_id": replay_id})
        assert (status, told in refused["error"]) == (422, True)
    listed = [one["replay_id"] for one in replayer.request("GET", "/replays")[1]["replays"]]
    assert listed.index("i") < listed.index("j")


def test_a_repair_sends_what_stands_below_the_repairs(
    stack: Stack, replayer: ReplayerProcess, tmp_path: Path
) -> None:
    folder = replayer.state_dir / "repairs"
    folder.mkdir()
    (folder / "r.log").write_bytes(b"one\n")
    (tmp_path / "a.log").write_bytes(b"one\n")
    replayer.submit("repair-1+r", f"file://{folder}/r.log")
    replayer.wait_state("repair-1+r", "done")
    spec = {"replay_id": "repair-2+r", "pace": "max", "profile": "durable"}
    outside = f"file://{folder}/../../{tmp_path.name}/a.log"
    assert replayer.request("POST", "/replays", {**spec, "url": outside})[0] == 422


def test_what_may_not_be_read_is_refused(replayer: ReplayerProcess) -> None:
    secrets = replayer.state_dir / "secrets.json"
    spec = {"replay_id": "refused", "pace": "max", "profile": "durable"}
    for url, told in (
        (f"file://{secrets}", "stands in the state folder"),
        ("file:///etc/hostname", "LOGPIPE_FILE_ROOTS"),
        ("ftp://reader:hidden-word@localhost/a.log", "Airflow connection"),
        ("https://localhost/a.log?sig=hidden-word", "Airflow connection"),
        ("http://169.254.169.254/a.log", "LOGPIPE_SOURCE_HOSTS"),
    ):
        status, refused = replayer.request("POST", "/replays", {**spec, "url": url})
        assert (status, told in refused["error"]) == (422, True), refused
        assert "hidden-word" not in refused["error"]
    assert replayer.request("GET", "/replays/refused")[0] == 404


def test_a_seal_is_for_ever_and_only_for_what_is_done(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    process = start_replayer(**stack.settings)
    url = f"file://{tmp_path}/a.log"
    body = {"sealed_at": "2026-01-02T03:04:05+01:00"}
    process.submit("sealed", url, pace="delay:600")
    status, refused = process.request("POST", "/replays/sealed/seal", body)
    assert (status, "is running, expected done" in refused["error"]) == (409, True)
    process.request("POST", "/replays/sealed/stop")
    assert process.request("POST", "/replays/sealed/seal", body)[0] == 409
    process.submit("quick", url)
    process.wait_state("quick", "done")
    for wrong in ({}, [], {"sealed_at": 1}, {"sealed_at": "today"}):
        assert process.request("POST", "/replays/quick/seal", wrong)[0] == 422
    assert process.request("POST", "/replays/none/seal", body)[0] == 404
    status, record = process.request("POST", "/replays/quick/seal", body)
    assert (status, record["sealed_at"]) == (200, "2026-01-02T02:04:05.000+00:00")
    assert process.request("POST", "/replays/quick/seal", {"sealed_at": "2027-01-01"}) == (200, record)
    assert process.submit("quick", url) == record
    assert process.request("POST", "/replays/quick/stop") == (200, record)
    process.kill()
    assert start_replayer(**stack.settings).record("quick") == record


def test_a_folded_replay_is_counted_and_not_begun_again(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    url = f"file://{tmp_path}/a.log"
    process = start_replayer(**stack.settings)
    process.submit("long-ago", url)
    process.wait_state("long-ago", "done")
    process.request("POST", "/replays/long-ago/seal", {"sealed_at": "2026-01-01"})
    process.terminate()
    path = process.state_dir / "replays" / "long-ago.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "finished_at": "2026-01-01T00:00:00+00:00"}))
    process = start_replayer(**stack.settings)
    wait_until(lambda: process.request("GET", "/replays/long-ago")[0] == 404, 30, "the fold")
    assert not path.exists()
    status, refused = process.request(
        "POST", "/replays", {"replay_id": "long-ago", "url": url, "pace": "max", "profile": "durable"}
    )
    assert (status, "take another replay_id" in refused["error"]) == (409, True)
    records, sums = ledger(parse(state_dir=process.state_dir))
    assert (records, sums.digest, sums.replays, sums.given_up) == ([], Digest.of([b"one", b"two"]), 1, 0)


def test_a_replay_that_nobody_went_on_with_is_given_up_half_sent_and_told_for_ever(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(log_lines(500)))
    url = f"file://{tmp_path}/a.log"
    process = start_replayer(**stack.settings)
    process.submit("half", url, pace="delay:0.01")
    process.wait_lines("half", 3)
    process.request("POST", "/replays/half/stop")
    body = {"sealed_at": "2026-01-01"}
    status, refused = process.request("POST", "/replays/half/seal", body)
    assert (status, "stopped or failed for 30 days" in refused["error"]) == (409, True)
    process.terminate()
    path = process.state_dir / "replays" / "half.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "finished_at": "2026-01-01T00:00:00+00:00"}))
    process = start_replayer(**stack.settings)
    status, record = process.request("POST", "/replays/half/seal", body)
    assert (status, record["state"]) == (200, "stopped")
    spec = {"replay_id": "half", "url": url, "pace": "delay:0.01", "profile": "durable"}
    status, refused = process.request("POST", "/replays", spec)
    assert (status, "was given up" in refused["error"]) == (409, True)
    process.terminate()
    process = start_replayer(**stack.settings)
    wait_until(lambda: process.request("GET", "/replays/half")[0] == 404, 30, "the fold")
    assert process.request("POST", "/replays", spec)[0] == 409
    records, sums = ledger(parse(state_dir=process.state_dir))
    assert (records, sums.replays, sums.given_up, sums.given_up_lines) == ([], 1, 1, record["lines"])


def test_a_replay_is_given_up_by_word(stack: Stack, start_replayer: StartReplayer, tmp_path: Path) -> None:
    (tmp_path / "a.log").write_bytes(b"\n".join(log_lines(500)))
    url = f"file://{tmp_path}/a.log"
    process = start_replayer(**stack.settings)
    process.submit("word", url, pace="delay:0.01")
    process.wait_lines("word", 3)
    status, refused = process.request("POST", "/replays/word/give-up")
    assert (status, "is running, expected stopped or failed" in refused["error"]) == (409, True)
    assert process.request("POST", "/replays/nobody/give-up")[0] == 404
    process.request("POST", "/replays/word/stop")
    status, record = process.request("POST", "/replays/word/give-up")
    assert (status, record["state"], record["sealed_at"]) == (200, "stopped", None)
    assert process.request("POST", "/replays/word/give-up") == (200, record)
    process.terminate()
    process = start_replayer(**stack.settings)
    spec = {"replay_id": "word", "url": url, "pace": "delay:0.01", "profile": "durable"}
    status, refused = process.request("POST", "/replays", spec)
    assert (status, "was given up" in refused["error"]) == (409, True)
    status, sealed = process.request("POST", "/replays/word/seal", {"sealed_at": "2026-01-01"})
    assert (status, sealed["given_up_at"], sealed["lines"]) == (200, record["given_up_at"], record["lines"])


def test_two_replays_of_one_file_at_the_same_time_both_count(
    stack: Stack, replayer: ReplayerProcess, tmp_path: Path
) -> None:
    lines = log_lines(20_000)
    (tmp_path / "a.log").write_bytes(b"\n".join(lines))
    topic = stack.topic("durable")
    since = stack.kafka.end_offsets(topic)
    for replay_id in ("twice-1", "twice-2"):
        replayer.submit(replay_id, f"file://{tmp_path}/a.log")
    for replay_id in ("twice-1", "twice-2"):
        assert_counts(replayer.wait_state(replay_id, "done"), lines)
    records = stack.kafka.read(topic, since)
    for replay_id in ("twice-1", "twice-2"):
        assert_exact([one for one in records if str(one.key).startswith(replay_id)], replay_id, lines)


def test_memory_stays_below_100_mb_for_a_line_of_any_length(
    stack: Stack, start_replayer: StartReplayer, tmp_path: Path
) -> None:
    replayer = start_replayer(**stack.settings)
    with gzip.open(tmp_path / "endless.gz", "wb", 1) as file:
        file.write(b"before\n")
        for _ in range(200):
            file.write(b"z" * (1 << 20))
        file.write(b"\nafter")
    replayer.submit("endless", f"file://{tmp_path}/endless.gz")
    record = replayer.wait_state("endless", "done")
    assert (record["lines"], record["set_aside"]) == (2, 1)
    assert replayer.rss_bytes() < 100_000_000


def test_without_a_password_it_says_what_is_missing(start_replayer: StartReplayer, tmp_path: Path) -> None:
    environment = os.environ | {"LOGPIPE_STATE_DIR": str(tmp_path)}
    command = [sys.executable, "-m", "logpipe.replayer"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 2
    assert str(tmp_path / "secrets.json") in ended.stderr
    taught = subprocess.run([*command, "--help"], env=environment, capture_output=True, text=True, check=True)
    assert "delay:0.1" in taught.stdout
