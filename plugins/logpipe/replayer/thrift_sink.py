"""Profile durable: batches to Flume's Thrift source, which answers OK when its channel has committed.

Each line carries its identity in the header ``key``: replay id, colon, line number. The source speaks the
binary protocol in frames (a length of four bytes before each message).
"""

from itertools import count
from pathlib import Path
from struct import Struct

import thriftpy2
from thriftpy2.protocol.cybin import ProtocolError, TCyBinaryProtocol
from thriftpy2.thrift import TApplicationException, TMessageType
from thriftpy2.transport.memory import TCyMemoryBuffer

from logpipe.replayer.errors import SinkUnavailableError
from logpipe.replayer.feed import Batch
from logpipe.replayer.halt import Halt
from logpipe.replayer.link import Link

KEY_HEADER = "key"
_SILENCE_S = 150.0  # Kafka's producer gives up after 120 s; only then does the source answer FAILED
_LENGTH = Struct(">I")
_METHOD = "appendBatch"

_flume = thriftpy2.load(
    str(Path(__file__).with_name("flume_source.thrift")), module_name="flume_source_thrift"
)


def encode(replay_id: str, batch: Batch, sequence: int) -> bytes:
    """The frame of a call of ``appendBatch``."""
    event = _flume.ThriftFlumeEvent
    events = [
        event({KEY_HEADER: f"{replay_id}:{number}"}, line)
        for number, line in enumerate(batch.lines, batch.first_line)
    ]
    buffer = TCyMemoryBuffer()
    protocol = TCyBinaryProtocol(buffer)
    protocol.write_message_begin(_METHOD, TMessageType.CALL, sequence)
    protocol.write_struct(_flume.ThriftSourceProtocol.appendBatch_args(events=events))
    protocol.write_message_end()
    message: bytes = buffer.getvalue()
    return _LENGTH.pack(len(message)) + message


def decode(message: bytes) -> tuple[int, int]:
    """Sequence number and status of an answer.

    Raises:
        SinkUnavailableError: it is no answer, or tells of an exception in the source.
    """
    protocol = TCyBinaryProtocol(TCyMemoryBuffer(message))
    try:
        _, kind, sequence = protocol.read_message_begin()
        if kind == TMessageType.EXCEPTION:
            failure = TApplicationException()
            protocol.read_struct(failure)
            raise SinkUnavailableError(f"the Thrift source failed: {failure.message}")
        result = _flume.ThriftSourceProtocol.appendBatch_result()
        protocol.read_struct(result)
    except (ProtocolError, EOFError) as error:
        raise SinkUnavailableError(f"the Thrift source's answer makes no sense: {error}") from error
    return sequence, result.success


class ThriftSink:
    """A Thrift source at host and port."""

    def __init__(self, host: str, port: int, replay_id: str, halt: Halt) -> None:
        self._address = (host, port)
        self._replay_id = replay_id
        self._halt = halt
        self._link: Link | None = None
        self._sequences = count(1)
        self._sequence = 0
        self._batch: Batch | None = None
        self._received = b""

    def begin(self, batch: Batch) -> None:
        """Begin to send the batch."""
        self._batch = batch
        self.retry()

    def retry(self) -> None:
        """Send the batch again, with the same keys."""
        assert self._batch is not None
        self._sequence = next(self._sequences) & 0x7FFFFFFF
        if self._link is None:
            self._received = b""
            self._link = Link(*self._address, self._halt, _SILENCE_S)
        try:
            self._link.send(encode(self._replay_id, self._batch, self._sequence))
        except SinkUnavailableError:
            self.close()
            raise

    def finish(self) -> None:
        """Wait for OK."""
        try:
            sequence, status = decode(self._receive_frame())
        except SinkUnavailableError:
            self.close()
            raise
        if sequence != self._sequence:
            self.close()
            raise SinkUnavailableError(f"{self._name} answered call {sequence} instead of {self._sequence}")
        if status != _flume.Status.OK:
            name = _flume.Status._VALUES_TO_NAMES.get(status, status)
            raise SinkUnavailableError(f"{self._name} answered {name}: its channel took no batch")

    def close(self) -> None:
        """Drop the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None

    @property
    def _name(self) -> str:
        return "Thrift source {}:{}".format(*self._address)

    def _receive_frame(self) -> bytes:
        if self._link is None:
            raise SinkUnavailableError(f"no connection to {self._name}")
        while len(self._received) < _LENGTH.size:
            self._received += self._link.receive()
        (length,) = _LENGTH.unpack_from(self._received)
        end = _LENGTH.size + length
        while len(self._received) < end:
            self._received += self._link.receive()
        message, self._received = self._received[_LENGTH.size : end], self._received[end:]
        return message
