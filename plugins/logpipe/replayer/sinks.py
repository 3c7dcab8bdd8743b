"""What every way of sending offers, and the patience that all of them share."""

import logging
from collections.abc import Callable
from typing import Protocol

from logpipe.replayer.backoff import Backoff
from logpipe.replayer.errors import InterruptedReplayError, SinkError, SinkUnavailableError
from logpipe.replayer.feed import Batch
from logpipe.replayer.halt import Halt

SINK_PATIENCE_S = 900.0  # without an acknowledgement, before a replay fails

log = logging.getLogger(__name__)


class Sink(Protocol):
    """Sends one batch at a time.

    One and not more, since a batch that is taken while the one before it is refused would stand in the topic
    before it: whoever tells repeats by their line numbers would take the refused lines, sent again, for
    repeats.
    """

    def begin(self, batch: Batch) -> None:
        """Begin to send a batch. Raises as `retry`."""

    def finish(self) -> None:
        """Wait until the whole batch is acknowledged. Raises as `retry`."""

    def retry(self) -> None:
        """Send again what is not acknowledged, on a new connection if need be.

        Raises:
            SinkUnavailableError: not now; try again later.
            SinkError: never.
            InterruptedReplayError: a halt's grace period ended.
        """

    def close(self) -> None:
        """Drop the connection."""


class Delivery:
    """Brings batches through a sink, however often it is away within its patience."""

    def __init__(
        self,
        sink: Sink,
        halt: Halt,
        *,
        patience_s: float = SINK_PATIENCE_S,
        on_trouble: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._sink = sink
        self._halt = halt
        self._backoff = Backoff(patience_s)
        self._on_trouble = on_trouble
        self._trouble: SinkUnavailableError | None = None

    def begin(self, batch: Batch) -> None:
        """Begin to send; trouble is dealt with by `finish`."""
        try:
            self._sink.begin(batch)
        except SinkUnavailableError as error:
            self._trouble = error

    def finish(self) -> None:
        """Return when the batch is acknowledged.

        Raises:
            SinkError: it can't be delivered, or the sink was away for longer than patience lasts.
            InterruptedReplayError: a halt's grace period ended.
        """
        while True:
            try:
                if self._trouble is not None:
                    self._pause(self._trouble)
                    self._trouble = None
                    self._sink.retry()
                self._sink.finish()
            except SinkUnavailableError as error:
                self._trouble = error
            else:
                self._backoff.reset()
                self._on_trouble(None)
                return

    def close(self) -> None:
        """Drop the connection."""
        self._sink.close()

    def _pause(self, trouble: SinkUnavailableError) -> None:
        pause_s = self._backoff.next_pause_s()
        if pause_s is None:
            raise SinkError(f"{trouble}; gave up after trying again for {self._backoff.patience_s:.0f} s")
        log.warning("%s; trying again in %.1f s", trouble, pause_s)
        self._on_trouble(f"{trouble}; trying again")
        if self._halt.wait(pause_s):
            raise InterruptedReplayError
