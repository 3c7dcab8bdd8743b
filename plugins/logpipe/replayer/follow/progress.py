"""How far a followed log is: lines, rates, and what is not known of it."""

import time
from collections import deque
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from logpipe.digest import Digest
from logpipe.replayer.follow.generation import number_of
from logpipe.replayer.record import ReplayRecord

_RATE_S = 10.0


class Progress:
    """Counts of one log; whoever calls has its lock.

    Args:
        folded: of generations whose records are gone.

    Attributes:
        ended: of all generations that are over.
        unknown: what could not be read any more, as others see it.
        behind_since: since when lines wait, of the monotonic clock; None: none does.
    """

    def __init__(self, folded: Digest) -> None:
        self.ended = folded
        self.unknown: list[dict[str, Any]] = []
        self.behind_since: float | None = None
        self._sent = 0
        self._rates: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def sent(self, lines: int, *, is_behind: bool) -> None:
        """Lines were acknowledged."""
        self._sent += lines
        now_s = time.monotonic()
        self._rates.append((now_s, self._sent))
        while len(self._rates) > 2 and now_s - self._rates[1][0] > _RATE_S:
            self._rates.popleft()
        if not is_behind:
            self.behind_since = None

    def fall_behind(self, now_s: float) -> None:
        """Lines wait."""
        if self.behind_since is None:
            self.behind_since = now_s

    @property
    def behind_s(self) -> float:
        """For how long lines wait."""
        return 0.0 if self.behind_since is None else time.monotonic() - self.behind_since

    @property
    def lines_per_s(self) -> float:
        """Of the last seconds."""
        now_s = time.monotonic()
        if now_s - self._rates[-1][0] > _RATE_S:
            return 0.0
        (since_s, before) = self._rates[0]
        return round((self._sent - before) / max(1.0, now_s - since_s), 1)

    def end(self, record: ReplayRecord) -> None:
        """A generation is over."""
        self.ended += record.digest
        unknown = record.generation.unknown if record.generation else None
        if unknown is not None:
            self.unknown.append({"generation": number_of(record.spec.replay_id)} | asdict(unknown))

    def forget(self, records: Iterable[ReplayRecord]) -> None:
        """Records of generations are gone, and what was unknown of them with it."""
        gone = {number_of(record.spec.replay_id) for record in records}
        self.unknown = [one for one in self.unknown if one["generation"] not in gone]
