"""What a followed log needs of the replayer; the engine is it."""

from typing import Protocol

from logpipe.replayer.feed import Batch, SetAside
from logpipe.replayer.follow.store import Follow
from logpipe.replayer.front_door import FrontDoor
from logpipe.replayer.record import ReplayRecord
from logpipe.settings import Settings


class Office(Protocol):
    """What a log needs of the replayer."""

    settings: Settings
    door: FrontDoor
    trouble: str  # why nothing can be recorded; empty while it can

    def save(self, record: ReplayRecord, *, is_new: bool = False) -> None:
        """Record on the disk, however long that takes, and let others see it."""

    def save_follow(self, follow: Follow) -> None:
        """Record what is followed."""

    def fasten(self, record: ReplayRecord) -> ReplayRecord:
        """Fix the partitions and let other hosts know of them, before the first line is sent."""

    def format_of(self, follow: Follow, lines: list[bytes]) -> tuple[str, str]:
        """The format of a log by its first lines, registered; and what is wrong with it."""

    def begun(self, follow: Follow, record: ReplayRecord) -> ReplayRecord:
        """The record, and what becomes of addresses in its lines."""

    def treated(self, record: ReplayRecord, lines: list[bytes]) -> list[bytes]:
        """The lines as they are sent."""

    def must_be_open(self) -> None:
        """Raise SinkUnavailableError while the agent is away."""

    def send(self, record: ReplayRecord, batch: Batch, *, is_repeat: bool) -> None:
        """Return once it is acknowledged."""

    def set_aside(self, record: ReplayRecord, item: SetAside) -> None:
        """Keep a line that is too long."""

    def owner(self, identity: tuple[int, int], follow_id: str) -> str | None:
        """Another followed log that reads this file already."""

    def records(self, follow_id: str) -> list[ReplayRecord]:
        """Records of a log's generations that are kept, in their order."""
