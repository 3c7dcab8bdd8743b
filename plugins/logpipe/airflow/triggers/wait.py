"""Waiting until a look at something says that it is so."""

import asyncio
import time
from abc import abstractmethod
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from logpipe.airflow.triggers.serializable import Event, SerializableTrigger, off_loop

if TYPE_CHECKING:
    from logpipe.accounting.drain import Drain


@dataclass(frozen=True, slots=True)
class WaitEvent(Event):
    """How a wait ended.

    Attributes:
        complete: whether it came in time.
        told: what was found, or what was missing when time was over, for a person.
        found: paths of the files, where files are waited for.
        refused: it will not come, however long it is waited for.
    """

    complete: bool
    told: str
    found: tuple[str, ...] = ()
    refused: bool = False
    waited_s: float = 0


@dataclass(kw_only=True, eq=False)
class WaitTrigger(SerializableTrigger):
    """Looks again and again; fires once a look is content, or when time is over."""

    deadline_epoch_s: float
    poll_interval_s: float = 5
    log_interval_s: float = 10

    @abstractmethod
    def look(self) -> WaitEvent:
        """Say whether the wait is over, and what was found or is missing. Blocks."""

    async def event(self) -> WaitEvent:
        """Wait until a look is content, or until time is over."""
        started = time.monotonic()
        deadline_s = self.deadline_s(self.deadline_epoch_s)
        logged_at, logged = started - self.log_interval_s, ""
        while True:
            event = await off_loop(self.look)
            now = time.monotonic()
            if event.complete or event.refused or now + self.poll_interval_s > deadline_s:
                return replace(event, waited_s=round(now - started, 1))
            if event.told != logged and now - logged_at >= self.log_interval_s:
                logged_at, logged = now, event.told
                self.log.info("Waiting: %s", event.told)
            await asyncio.sleep(self.poll_interval_s)


@dataclass(kw_only=True, eq=False)
class SourceFileTrigger(WaitTrigger):
    """Fires once a source can be opened and holds a byte, or is refused; no password is told."""

    url: str
    source_conn_id: str | None = None

    def look(self) -> WaitEvent:
        """Open the source as the replayer does."""
        from logpipe import settings
        from logpipe.airflow.hooks.source_login import SourceLoginError, source_login
        from logpipe.replayer.errors import SourceError, SourceRefusedError
        from logpipe.replayer.front_door import FrontDoor, check_source
        from logpipe.replayer.raw_reader import source_of
        from logpipe.replayer.urls import Login, SourceUrl
        from logpipe.settings.redaction import redacted

        try:
            check_source(self.url, settings.load())
            login = source_login(self.source_conn_id, self.url)
            door = FrontDoor.of(settings.load())
            source = source_of(SourceUrl.parse(self.url), door, Login(**login) if login else None)
            with closing(source.open(0)) as stream:
                if stream.read(1):
                    return WaitEvent(True, str(stream.version))
                reason = "it is empty"
        except (SourceRefusedError, SourceLoginError, ValueError) as error:
            return WaitEvent(False, str(error), refused=True)
        except SourceError as error:
            reason = error.reason
        return WaitEvent(False, f"{redacted(self.url)} cannot be read: {reason}")


@dataclass(kw_only=True, eq=False)
class PartitionTrigger(WaitTrigger):
    """Fires once days stand in HDFS: drained of what was sent when the wait began, or over for good.

    Drained: the agents, the topic, HDFS and the windows are looked at in the direction of the flow, and one
    of the days' directories holds a file. Over: the chain of each partition has passed the day's midnight.

    Attributes:
        days: ISO dates.
        is_over: wait for the end of the days, not for what was sent.
        filling_conn_ids: connections to the metrics of the agents that fill the topic.
        emptying_conn_ids: and of those that empty it.
    """

    days: Sequence[str]
    is_over: bool = False
    filling_conn_ids: Sequence[str] = ()
    emptying_conn_ids: Sequence[str] = ()
    kafka_conn_id: str = "kafka_default"
    webhdfs_conn_id: str = "webhdfs_default"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._drain: Drain | None = None

    def look(self) -> WaitEvent:
        """Say what is still missing, or what could not be asked."""
        from logpipe.clients.errors import ClientError
        from logpipe.windows.commit import WindowsError

        try:
            return self._missing_to_the_end() if self.is_over else self._undrained()
        except (ClientError, WindowsError) as error:
            return WaitEvent(False, str(error))

    def _missing_to_the_end(self) -> WaitEvent:
        from logpipe.airflow.hooks.stores import HdfsHook, pipeline_at
        from logpipe.sealing.over import still_missing

        pipeline = pipeline_at(self.kafka_conn_id, self.webhdfs_conn_id)
        with closing(HdfsHook(self.webhdfs_conn_id).hdfs()) as hdfs:
            missing = [still_missing(hdfs, pipeline, date.fromisoformat(day)) for day in self.days]
        told = "; ".join(text for text in missing if text)
        return WaitEvent(not told, told or "over")

    def _undrained(self) -> WaitEvent:
        from logpipe.accounting.drain import Drain
        from logpipe.airflow.hooks.services import agents_at
        from logpipe.airflow.hooks.stores import HdfsHook, pipeline_at

        pipeline = pipeline_at(self.kafka_conn_id, self.webhdfs_conn_id)
        if self._drain is None:
            self._drain = Drain(pipeline, agents_at(self.filling_conn_ids, self.emptying_conn_ids))
        if missing := self._drain.undrained():
            return WaitEvent(False, missing)
        folders = [f"{pipeline.hdfs_logs_dir}/{date.fromisoformat(day):%y-%m-%d}" for day in self.days]
        with closing(HdfsHook(self.webhdfs_conn_id).hdfs()) as hdfs:
            files = tuple(
                f"{folder}/{entry.name}"
                for folder in folders
                for entry in hdfs.list(folder)
                if not entry.is_folder
            )
        return WaitEvent(bool(files), ", ".join(files) or f"no file in {' or '.join(folders)}", files)
