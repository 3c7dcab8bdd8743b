"""Triggers and events that survive the trip through the metadata database unchanged."""

import asyncio
import contextvars
import time
from abc import abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, TypeVar

from airflow.triggers.base import BaseTrigger, TriggerEvent

_LONGEST_HOLD_S = 10.0
# The loop's own pool has few threads where there are few cores, and a service that hangs holds one.
_THREADS = ThreadPoolExecutor(32, "logpipe-trigger")

T = TypeVar("T")


async def off_loop(call: Callable[[], T]) -> T:
    """Run a call that blocks in a thread, which goes on to its end when the trigger is cancelled."""
    context = contextvars.copy_context()
    return await asyncio.get_running_loop().run_in_executor(_THREADS, context.run, call)


@dataclass(kw_only=True, eq=False)
class SerializableTrigger(BaseTrigger):
    """A trigger that fires once; its children are dataclasses, so `serialize` equals the constructor.

    Attributes:
        not_before_epoch_s: it fires no earlier. Airflow 3.3 fails a task whose trigger fires before the
            scheduler has heard that the worker which deferred it is gone.
    """

    not_before_epoch_s: float = 0

    def __post_init__(self) -> None:
        super().__init__()

    @staticmethod
    def deadline_s(epoch_s: float) -> float:
        """The deadline on the monotonic clock, which a clock that is set meanwhile does not move."""
        return time.monotonic() + epoch_s - time.time()

    @abstractmethod
    async def event(self) -> "Event":
        """Wait for what this trigger is about, and return it."""

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Yield the payload of one event."""
        event = await self.event()
        # Seconds at most: a clock that was set back meanwhile is not waited for.
        await asyncio.sleep(min(self.not_before_epoch_s - time.time(), _LONGEST_HOLD_S))
        yield TriggerEvent(event.to_payload())

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and every constructor argument."""
        kind = type(self)
        arguments = {field.name: getattr(self, field.name) for field in fields(self)}
        return f"{kind.__module__}.{kind.__qualname__}", arguments


@dataclass(frozen=True, slots=True)
class Event:
    """What a trigger tells the task that waits for it."""

    def to_payload(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    @classmethod
    def from_payload(cls, payload: Mapping[str, Any]) -> Self:
        """Rebuild what `to_payload` gave, also after JSON made lists of tuples."""
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in payload.items()})
