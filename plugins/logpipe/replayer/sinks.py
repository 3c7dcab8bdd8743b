"""What every way of sending offers, and the patience that all of them share."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, TypeVar

from logpipe.replayer.backoff import Backoff
from logpipe.replayer.errors import InterruptedReplayError, SinkUnavailableError
from logpipe.replayer.feed import Batch
from logpipe.replayer.halt import Halt

_DISK_PAUSE_S = 2.0
T = TypeVar("T")

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
    """Brings batches through a sink, however often and however long it is away."""

    def __init__(
        self,
        sink: Sink,
        halt: Halt,
        *,
        on_trouble: Callable[[str | None], None] = lambda _: None,
    ) -> None:
        self._sink = sink
        self._halt = halt
        self._backoff = Backoff()
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
            SinkError: it can't be delivered.
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
        wait_out(trouble, self._backoff, self._halt, self._on_trouble)


def insist(attempt: Callable[[], T], halt: Halt, on_trouble: Callable[[str | None], None]) -> T:
    """Do what only works once something is there, however long it is away.

    Raises:
        InterruptedReplayError: a halt was asked for meanwhile.
    """
    backoff = Backoff()
    while True:
        try:
            result = attempt()
        except SinkUnavailableError as error:
            wait_out(error, backoff, halt, on_trouble)
        else:
            on_trouble(None)
            return result


def insist_on_disk(
    write: Callable[[], object], folder: Path, halt: Halt, on_trouble: Callable[[str | None], None]
) -> None:
    """Write below a folder, however long its disk is full.

    Raises:
        InterruptedReplayError: a halt was asked for before the disk took it.
    """
    while True:
        try:
            write()
        except OSError as error:
            text = f"{folder} cannot be written: {error.strerror}; trying again"
            log.error(text)
            on_trouble(text)
            if halt.wait(_DISK_PAUSE_S):
                raise InterruptedReplayError from error
        else:
            on_trouble(None)
            return


def wait_out(
    trouble: SinkUnavailableError, backoff: Backoff, halt: Halt, on_trouble: Callable[[str | None], None]
) -> None:
    """Say what is waited for, and wait a little.

    Raises:
        InterruptedReplayError: a halt was asked for meanwhile.
    """
    pause_s = backoff.next_pause_s()
    assert pause_s is not None
    log.warning("%s; trying again in %.1f s", trouble, pause_s)
    on_trouble(f"{trouble}; trying again")
    if halt.wait(pause_s):
        raise InterruptedReplayError
