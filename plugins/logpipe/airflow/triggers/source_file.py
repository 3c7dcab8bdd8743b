"""Waiting until a log can be read."""

import asyncio
import time
from dataclasses import dataclass

from logpipe.airflow.hooks.source_login import SourceLoginError, source_login
from logpipe.airflow.triggers.serializable import Event, SerializableTrigger


@dataclass(frozen=True, slots=True)
class SourceFileEvent(Event):
    """Whether a source can be read, and its size and time, or the reason why not; no password in it.

    Attributes:
        refused: it may not be read, however long it is waited for.
    """

    readable: bool
    told: str
    refused: bool = False


@dataclass(kw_only=True, eq=False)
class SourceFileTrigger(SerializableTrigger):
    """Fires once a source can be opened and holds a byte, when it is refused, or when time is over."""

    url: str
    source_conn_id: str | None = None
    deadline_epoch_s: float
    poll_interval_s: float = 5

    async def event(self) -> SourceFileEvent:
        """Look until the source can be read, or time is over."""
        deadline_s = self.deadline_s(self.deadline_epoch_s)
        try:
            login = await source_login(self.source_conn_id, self.url)
        except SourceLoginError as error:
            return SourceFileEvent(False, str(error), refused=True)
        while True:
            event = await asyncio.to_thread(_look, self.url, login)
            if event.readable or event.refused or time.monotonic() + self.poll_interval_s > deadline_s:
                return event
            await asyncio.sleep(self.poll_interval_s)


def _look(url: str, login: dict[str, str] | None) -> SourceFileEvent:
    """Open the source as the replayer does."""
    from logpipe import settings
    from logpipe.replayer.errors import SourceError, SourceRefusedError
    from logpipe.replayer.front_door import FrontDoor
    from logpipe.replayer.raw_reader import source_of
    from logpipe.replayer.urls import Login, SourceUrl

    try:
        source = source_of(
            SourceUrl.parse(url), FrontDoor.of(settings.load()), Login(**login) if login else None
        )
        stream = source.open(0)
        try:
            empty = not stream.read(1)
        finally:
            stream.close()
    except (SourceRefusedError, ValueError) as error:
        return SourceFileEvent(False, str(error), refused=True)
    except SourceError as error:
        return SourceFileEvent(False, error.reason)
    return SourceFileEvent(not empty, "it is empty" if empty else str(stream.version))
