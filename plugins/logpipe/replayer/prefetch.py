"""Reads ahead of the sender in a thread of its own, a bounded number of blocks."""

import logging
import queue
import threading
from collections.abc import Iterator

from logpipe.replayer.errors import InterruptedReplayError, SourceError
from logpipe.replayer.gunzip import PlainBlock

_BLOCKS_AHEAD = 4
_LOOK_AROUND_S = 0.5  # how often a full queue looks whether it was closed

log = logging.getLogger(__name__)


class EndOfSource:
    """What stands after the last block: nothing went wrong, or what did."""

    def __init__(self, error: SourceError | InterruptedReplayError | None) -> None:
        self.error = error


class Prefetch:
    """Runs an iterator of blocks ahead of its consumer; overlaps download and gunzip with sending."""

    def __init__(self, blocks: Iterator[PlainBlock], name: str) -> None:
        self._blocks = blocks
        self._queue: queue.Queue[PlainBlock | EndOfSource] = queue.Queue(_BLOCKS_AHEAD)
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"read-{name}", daemon=True)
        self._thread.start()

    def get(self, timeout_s: float) -> PlainBlock | EndOfSource | None:
        """The next block, or None if none arrives in time (at once for 0)."""
        try:
            return self._queue.get(block=timeout_s > 0, timeout=timeout_s or None)
        except queue.Empty:
            return None

    def close(self) -> None:
        """Stop reading ahead; the thread ends after the read that it is in."""
        self._closed.set()

    def _run(self) -> None:
        end = EndOfSource(None)
        try:
            for block in self._blocks:
                self._put(block)
                if self._closed.is_set():
                    return
        except (SourceError, InterruptedReplayError) as error:
            end = EndOfSource(error)
        except Exception as error:
            log.exception("Reading failed in an unforeseen way")
            end = EndOfSource(SourceError(f"reading failed in an unforeseen way: {type(error).__name__}"))
        self._put(end)

    def _put(self, item: PlainBlock | EndOfSource) -> None:
        while not self._closed.is_set():
            try:
                self._queue.put(item, timeout=_LOOK_AROUND_S)
            except queue.Full:
                continue
            return
