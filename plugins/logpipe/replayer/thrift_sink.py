"""Profile durable: batches to Flume's Thrift source, which answers OK when its channel has committed.

Each line carries its identity in the header ``key``: replay id, colon, line number; and the partition that
it belongs to in the header ``partition``. The source speaks the binary protocol in frames (a length of four
bytes before each message).
"""

import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path
from struct import Struct, pack

import thriftpy2
from thriftpy2.thrift import TMessageType

from logpipe.identity import CHUNK_LINES, partition_of
from logpipe.replayer.errors import SinkUnavailableError
from logpipe.replayer.feed import Batch
from logpipe.replayer.halt import Halt
from logpipe.replayer.link import LinkedSink

KEY_HEADER = "key"
PARTITION_HEADER = "partition"
MAX_ANSWER_BYTES = 1 << 20
MAX_SHOWN_BYTES = 500
_LENGTH = Struct(">I")

# The binary protocol: a field is its type and number; lengths stand before texts and lists; 0 ends a struct.
_I32, _TEXT, _STRUCT, _MAP, _LIST = 8, 11, 12, 13, 15
_VERSION = 0x8001
_BEGIN = Struct(">II")  # version and kind of the message, length of the method's name
_NUMBER = Struct(">i")
_FIELD = Struct(">bhi")  # type, number, value or length
_METHOD = b"appendBatch"
_CALL = b"\x80\x01\0" + bytes([TMessageType.CALL])
_EVENTS = bytes([_LIST, 0, 1, _STRUCT])
_HEADERS = bytes([_MAP, 0, 1, _TEXT, _TEXT])
_BODY = bytes([_TEXT, 0, 2])

_KNOWN = 1024
_LENGTHS = [pack(">I", length) for length in range(_KNOWN)]
_PLAIN = [b"%d" % number for number in range(1000)]
_PADDED = [b"%03d" % number for number in range(1000)]

_flume = thriftpy2.load(
    str(Path(__file__).with_name("flume_source.thrift")), module_name="flume_source_thrift"
)


def encode(replay_id: str, batch: Batch, sequence: int, partitions: int = 0) -> bytes:
    """The frame of a call of ``appendBatch``, as thriftpy2 would write it, several times faster.

    Args:
        replay_id: begins the lines' keys.
        batch: its lines.
        sequence: number of the call.
        partitions: of the topic, by the replay's record; 0: Kafka's partitioner chooses.
    """
    pieces: list[bytes] = []
    number, lines = batch.first_line, batch.lines
    while lines:
        last = _last_alike(number)
        pieces += _events(f"{replay_id}:".encode(), number, lines[: last - number + 1], partitions)
        number, lines = last + 1, lines[last - number + 1 :]
    call = _CALL + _text(_METHOD) + pack(">I", sequence) + _EVENTS + pack(">I", len(batch.lines))
    message = b"".join((call, *pieces, b"\0"))
    return pack(">I", len(message)) + message


def _last_alike(number: int) -> int:
    """The last line from this one on with the same partition and, but for three digits, the same number."""
    thousand_ends = number - number % 1000 + 999
    digits_end = thousand_ends if number >= 1000 else 10 ** len(str(number)) - 1
    return min(digits_end, number + (CHUNK_LINES - number) % CHUNK_LINES)


def _events(prefix: bytes, number: int, lines: list[bytes], partitions: int) -> list[bytes]:
    """Pieces of the events of lines that are alike but for text and last digits of their numbers."""
    thousands, first = divmod(number, 1000)
    digits = (_PADDED if thousands else _PLAIN)[first : first + len(lines)]
    if thousands:
        prefix += str(thousands).encode()
    headers, behind_key = 1, b""
    if partitions:
        headers = 2
        partition = str(partition_of(number, partitions)).encode()
        behind_key = _text(PARTITION_HEADER.encode()) + _text(partition)
    before = _HEADERS + pack(">I", headers) + _text(KEY_HEADER.encode())
    before += pack(">I", len(prefix) + len(digits[0])) + prefix
    pieces = [before, b"", behind_key + _BODY, b"", b"", b"\0"] * len(lines)
    pieces[1::6] = digits
    pieces[3::6] = [_LENGTHS[length] if length < _KNOWN else pack(">I", length) for length in map(len, lines)]
    pieces[4::6] = lines
    return pieces


def _text(text: bytes) -> bytes:
    return pack(">I", len(text)) + text


def decode(message: bytes) -> tuple[int, int]:
    """Sequence number and status of an answer, a few bytes: no length in it is believed.

    Raises:
        SinkUnavailableError: it is no answer, or tells of an exception in the source.
    """
    try:
        version, name_bytes = _BEGIN.unpack_from(message)
        at = _BEGIN.size + name_bytes
        (sequence,) = _NUMBER.unpack_from(message, at)
        kind, field_type, field_id, value = version & 0xFF, *_FIELD.unpack_from(message, at + _NUMBER.size)
    except struct.error:
        raise SinkUnavailableError(f"the Thrift source's answer is cut short: {message[:40]!r}") from None
    at += _NUMBER.size + _FIELD.size
    if version >> 16 == _VERSION and (kind, field_type, field_id) == (TMessageType.EXCEPTION, _TEXT, 1):
        text = message[at : at + min(value, MAX_SHOWN_BYTES)].decode("utf-8", "backslashreplace")
        raise SinkUnavailableError(f"the Thrift source failed: {text}")
    if version >> 16 != _VERSION or (kind, field_type, field_id) != (TMessageType.REPLY, _I32, 0):
        raise SinkUnavailableError(f"the Thrift source's answer makes no sense: {message[:40]!r}")
    return sequence, value


class ThriftSink(LinkedSink):
    """A Thrift source at host and port.

    Args:
        partitions: see `encode`.
        check: called before a batch is sent again; raises as `retry`.
        on_trouble, before: as `LinkedSink`'s.
    """

    what = "Thrift source"
    silence_s = 900.0  # agent 1 keeps a batch as long as Kafka is away; each one sent again meanwhile as well

    def __init__(
        self,
        host: str,
        port: int,
        replay_id: str,
        halt: Halt,
        *,
        partitions: int = 0,
        check: Callable[[], None] = lambda: None,
        on_trouble: Callable[[str], None] = lambda _: None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(host, port, halt, on_trouble, before)
        self._replay_id = replay_id
        self._partitions = partitions
        self._check = check
        self._sequences = count(1)
        self._sequence = 0
        self._batch: Batch | None = None

    def serve(self, replay_id: str, partitions: int, on_trouble: Callable[[str], None]) -> None:
        """Send the lines of another replay from now on; no batch is in flight."""
        self._replay_id, self._partitions, self._on_trouble = replay_id, partitions, on_trouble

    def begin(self, batch: Batch) -> None:
        """Begin to send the batch."""
        self._batch = batch
        self._send()

    def retry(self) -> None:
        """Send the batch again, with the same keys."""
        self._check()
        self._send()

    def _send(self) -> None:
        assert self._batch is not None
        self._sequence = next(self._sequences) & 0x7FFFFFFF
        self._send_bytes(encode(self._replay_id, self._batch, self._sequence, self._partitions))

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

    def _receive_frame(self) -> bytes:
        if self._link is None:
            raise SinkUnavailableError(f"no connection to {self._name}")
        while len(self._received) < _LENGTH.size:
            self._received += self._link.receive()
        (length,) = _LENGTH.unpack_from(self._received)
        if length > MAX_ANSWER_BYTES:
            raise SinkUnavailableError(
                f"{self._name} announces an answer of {length} bytes: is it a Thrift source?"
            )
        end = _LENGTH.size + length
        while len(self._received) < end:
            self._received += self._link.receive()
        message, self._received = self._received[_LENGTH.size : end], self._received[end:]
        return message
