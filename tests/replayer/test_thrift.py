"""The bytes of a call are what thriftpy2 would write."""

from itertools import cycle, islice

import pytest
import thriftpy2
from hypothesis import given
from hypothesis import strategies as st
from thriftpy2.protocol.cybin import TCyBinaryProtocol
from thriftpy2.thrift import TMessageType
from thriftpy2.transport.memory import TCyMemoryBuffer

from logpipe.identity import partition_of
from logpipe.replayer import thrift_sink
from logpipe.replayer.feed import Batch, Place
from logpipe.replayer.thrift_sink import encode

_flume = thriftpy2.load(
    thrift_sink.__file__.replace("thrift_sink.py", "flume_source.thrift"), module_name="test_flume_thrift"
)


def by_thriftpy2(replay_id: str, batch: Batch, sequence: int, partitions: int) -> bytes:
    events = []
    for number, line in enumerate(batch.lines, batch.first_line):
        headers = {"key": f"{replay_id}:{number}"}
        if partitions:
            headers["partition"] = str(partition_of(number, partitions))
        events.append(_flume.ThriftFlumeEvent(headers, line))
    buffer = TCyMemoryBuffer()
    protocol = TCyBinaryProtocol(buffer)
    protocol.write_message_begin("appendBatch", TMessageType.CALL, sequence)
    protocol.write_struct(_flume.ThriftSourceProtocol.appendBatch_args(events=events))
    protocol.write_message_end()
    message: bytes = buffer.getvalue()
    return len(message).to_bytes(4, "big") + message


@pytest.mark.parametrize("partitions", [0, 1, 3, 10_000])
@pytest.mark.parametrize("first_line", [1, 998, 9_001, 10**17])
def test_a_call_is_encoded_as_thriftpy2_does(first_line: int, partitions: int) -> None:
    lines = [b"", b"one", b"%s %d %%", bytes(range(256)), b"x" * 70_000]
    batch = Batch(first_line, lines, Place())
    assert encode("a+b", batch, 7, partitions) == by_thriftpy2("a+b", batch, 7, partitions)


@given(
    lines=st.lists(st.binary(max_size=300), min_size=1, max_size=30),
    count=st.integers(1, 3000),
    first_line=st.one_of(st.integers(1, 10**4), st.integers(1, 10**15)),
    partitions=st.integers(0, 50),
    sequence=st.integers(0, 2**31 - 1),
)
def test_any_call_is(lines: list[bytes], count: int, first_line: int, partitions: int, sequence: int) -> None:
    batch = Batch(first_line, list(islice(cycle(lines), count)), Place())
    assert encode("r-1", batch, sequence, partitions) == by_thriftpy2("r-1", batch, sequence, partitions)
