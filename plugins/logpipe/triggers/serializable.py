"""Triggers and events that survive the trip through the metadata database unchanged."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self

from airflow.triggers.base import BaseTrigger


class SerializableTrigger(BaseTrigger):
    """A trigger whose children are dataclasses, so `serialize` equals the constructor."""

    def __post_init__(self) -> None:
        super().__init__()

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
