"""A TCP connection that sends and receives at the same time, so that neither side waits for the other."""

import contextlib
import select
import socket
import time
from collections.abc import Callable
from typing import ClassVar

from logpipe.replayer.errors import InterruptedReplayError, SinkUnavailableError
from logpipe.replayer.halt import Halt

CONNECT_TIMEOUT_S = 10.0
QUIET_S = 3.0  # an answer may take so long without a word about it
_LOOK_AROUND_S = 0.25
_RECEIVE_BYTES = 65536


class Link:
    """One connection.

    Args:
        silence_s: after so long without a byte in either direction the connection counts as dead.
        on_silence: called every now and then with the seconds of silence, from `QUIET_S` on.

    Raises:
        SinkUnavailableError: connecting failed; so do the methods when the connection is lost.
    """

    def __init__(
        self, host: str, port: int, halt: Halt, silence_s: float, on_silence: Callable[[float], None]
    ) -> None:
        self._name = f"{host}:{port}"
        self._halt = halt
        self._silence_s = silence_s
        self._on_silence = on_silence
        self._out = memoryview(b"")
        try:
            self._socket = socket.create_connection((host, port), timeout=CONNECT_TIMEOUT_S)
        except OSError as error:
            raise SinkUnavailableError(f"connecting to {self._name} failed: {error}") from error
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._notice_dead_peers()
        self._socket.setblocking(False)

    def _notice_dead_peers(self) -> None:
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 15)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 6)

    def send(self, payload: bytes) -> None:
        """Begin to send; what does not fit into the system's buffers goes out during `receive`."""
        self._out = memoryview(bytes(self._out) + payload if self._out else payload)
        self._send_some()

    def receive(self) -> bytes:
        """Wait for bytes, sending meanwhile.

        Raises:
            SinkUnavailableError: the connection was closed or broke, or was silent for too long.
            InterruptedReplayError: the grace period of a halt ended.
        """
        silent_since_s = time.monotonic()
        while not self._halt.grace_is_over:
            writing = [self._socket] if self._out else []
            readable, writable, _ = select.select([self._socket], writing, [], _LOOK_AROUND_S)
            if readable:
                return self._receive_some()
            now_s = time.monotonic()
            if writable:
                self._send_some()
                silent_since_s = now_s
            elif now_s - silent_since_s > self._silence_s:
                raise SinkUnavailableError(f"{self._name} did not answer for {self._silence_s:.0f} s")
            elif now_s - silent_since_s > QUIET_S:
                self._on_silence(now_s - silent_since_s)
        raise InterruptedReplayError

    def close(self) -> None:
        """Close at once."""
        with contextlib.suppress(OSError):
            self._socket.close()

    def _send_some(self) -> None:
        try:
            while self._out:
                self._out = self._out[self._socket.send(self._out) :]
        except BlockingIOError:
            return
        except OSError as error:
            raise SinkUnavailableError(f"the connection to {self._name} broke: {error}") from error

    def _receive_some(self) -> bytes:
        try:
            # The netcat source flushes each answer alone: a delayed ACK would hold back the next by 40 ms.
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
            received = self._socket.recv(_RECEIVE_BYTES)
        except OSError as error:
            raise SinkUnavailableError(f"the connection to {self._name} broke: {error}") from error
        if not received:
            raise SinkUnavailableError(f"{self._name} closed the connection")
        return received


class LinkedSink:
    """What sinks have in common: a link to an agent's source, which is made when it is needed.

    Args:
        on_trouble: told each time how long an answer has been waited for.
        before: called before bytes are sent; it may raise `SinkUnavailableError`.

    Attributes:
        what: the source, for messages.
        silence_s: as `Link` has it.
    """

    what: ClassVar[str]
    silence_s: ClassVar[float]

    def __init__(
        self,
        host: str,
        port: int,
        halt: Halt,
        on_trouble: Callable[[str], None] = lambda _: None,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        self._before = before
        self._address = (host, port)
        self._halt = halt
        self._on_trouble = on_trouble
        self._link: Link | None = None
        self._received = b""  # and not understood yet

    @property
    def _name(self) -> str:
        return "{} {}:{}".format(self.what, *self._address)

    def _send_bytes(self, payload: bytes) -> None:
        self._before()
        if self._link is None:
            self._received = b""
            self._link = Link(
                *self._address,
                self._halt,
                self.silence_s,
                lambda silent_s: self._on_trouble(f"{self._name} has not answered for {silent_s:.0f} s"),
            )
        try:
            self._link.send(payload)
        except SinkUnavailableError:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connection."""
        if self._link is not None:
            self._link.close()
            self._link = None
