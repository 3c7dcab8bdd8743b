"""Waiting until a day is over in every chain."""

import asyncio
import time
from dataclasses import dataclass
from datetime import date

from logpipe.airflow.triggers.serializable import Event, SerializableTrigger


@dataclass(frozen=True, slots=True)
class PartitionClosedEvent(Event):
    """Whether the day was over, and what was missing when time was over."""

    closed: bool
    still_open: str
    waited_s: float


@dataclass(kw_only=True, eq=False)
class PartitionClosedTrigger(SerializableTrigger):
    """Fires once agent 2 has made final all records of a day; Kafka and HDFS are those of the settings.

    Attributes:
        day: ISO date.
    """

    day: str
    deadline_epoch_s: float
    poll_interval_s: float = 5

    async def event(self) -> PartitionClosedEvent:
        """Look until the day is over, or until time is over."""
        started = time.monotonic()
        told = ""
        while True:
            still_open = await asyncio.to_thread(self.look)
            waited_s = round(time.monotonic() - started, 1)
            if not still_open or time.time() + self.poll_interval_s > self.deadline_epoch_s:
                return PartitionClosedEvent(not still_open, still_open, waited_s)
            if still_open != told:
                told = still_open
                self.log.info("Still open: %s", still_open)
            await asyncio.sleep(self.poll_interval_s)

    def look(self) -> str:
        """Say what is still open, or what could not be asked; empty when the day is over. Blocks."""
        from logpipe.accounting.topic import TopicError
        from logpipe.clients.hdfs import Hdfs, HdfsError
        from logpipe.sealing.over import still_missing
        from logpipe.settings import load

        hdfs = Hdfs.of(load())
        try:
            return still_missing(hdfs, load(), date.fromisoformat(self.day))
        except (TopicError, HdfsError) as error:
            return str(error)
        finally:
            hdfs.close()
