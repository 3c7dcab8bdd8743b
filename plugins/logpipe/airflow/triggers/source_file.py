"""Waiting until a log can be read."""

import asyncio
import time
from dataclasses import dataclass

from logpipe.airflow.triggers.serializable import Event, SerializableTrigger


@dataclass(frozen=True, slots=True)
class SourceFileEvent(Event):
    """Whether a source can be read, and its size and time, or the reason why not; no password in it."""

    readable: bool
    told: str


@dataclass(kw_only=True, eq=False)
class SourceFileTrigger(SerializableTrigger):
    """Fires once a source can be opened and holds a byte, or when time is over."""

    url: str
    deadline_epoch_s: float
    poll_interval_s: float = 5

    async def event(self) -> SourceFileEvent:
        """Look until the source can be read, or time is over."""
        deadline_s = self.deadline_s(self.deadline_epoch_s)
        while True:
            event = await asyncio.to_thread(_look, self.url)
            if event.readable or time.monotonic() + self.poll_interval_s > deadline_s:
                return event
            await asyncio.sleep(self.poll_interval_s)


def _look(url: str) -> SourceFileEvent:
    """Open the source as the replayer does."""
    from logpipe.replayer.errors import SourceError
    from logpipe.replayer.raw_reader import source_of
    from logpipe.replayer.urls import SourceUrl

    try:
        stream = source_of(SourceUrl.parse(url)).open(0)
        try:
            empty = not stream.read(1)
        finally:
            stream.close()
    except SourceError as error:
        return SourceFileEvent(False, error.reason)
    return SourceFileEvent(not empty, "it is empty" if empty else str(stream.version))
