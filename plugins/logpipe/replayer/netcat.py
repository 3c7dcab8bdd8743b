"""Profile memory: lines to Flume's netcat source, each answered by OK or FAILED.

The window of unread answers is one batch. Answers come in the order of the lines, so a lost connection leaves
no doubt about which lines were answered; the others are sent again and may then be there twice.
"""

from collections.abc import Callable

from logpipe.replayer.errors import SinkError, SinkUnavailableError
from logpipe.replayer.feed import Batch
from logpipe.replayer.halt import Halt
from logpipe.replayer.link import LinkedSink

_OK = b"OK"
_FAILED = b"FAILED"
_TOO_LONG = b"exceeds the maximum length"


class NetcatSink(LinkedSink):
    """A netcat source at host and port."""

    what = "netcat source"
    silence_s = 60.0  # a full channel answers FAILED after 3 s

    def __init__(
        self,
        host: str,
        port: int,
        halt: Halt,
        on_trouble: Callable[[str], None],
        before: Callable[[], None],
    ) -> None:
        super().__init__(host, port, halt, on_trouble, before)
        self._waiting: list[bytes] = []
        self._answered = 0
        self._failed: list[bytes] = []

    def begin(self, batch: Batch) -> None:
        """Begin to send the lines."""
        self._waiting = batch.lines
        self._send()

    def retry(self) -> None:
        """Send the lines that failed and those that were not answered."""
        self._waiting = self._failed + self._waiting[self._answered :]
        self._send()

    def finish(self) -> None:
        """Read an answer for each line."""
        assert self._link is not None
        try:
            while self._answered < len(self._waiting):
                self._take_answers(self._link.receive())
        except SinkUnavailableError:
            self.close()
            raise
        if self._failed:
            raise SinkUnavailableError(
                f"{len(self._failed)} of {len(self._waiting)} lines FAILED at {self._name}: "
                "its channel is full"
            )

    def _send(self) -> None:
        self._answered = 0
        self._failed = []
        self._send_bytes(b"\n".join(self._waiting) + b"\n")

    def _take_answers(self, received: bytes) -> None:
        *answers, self._received = (self._received + received).split(b"\n")
        for answer in answers:
            if answer.startswith(_OK):
                self._answered += 1
            elif answer.startswith(_FAILED):
                if _TOO_LONG in answer:
                    raise SinkError(
                        f"{self._name} takes no line of {len(self._waiting[self._answered])} bytes: "
                        "its max-line-length is to be above LOGPIPE_MAX_LINE_BYTES"
                    )
                if not self._failed:
                    self._on_trouble(f"{self._name} answers FAILED: its channel is full")
                self._failed.append(self._waiting[self._answered])
                self._answered += 1
