"""Growing pauses between attempts, within a limit of time or without one."""

import math
import time
from collections.abc import Callable


class Backoff:
    """Pauses double from ``first_s`` to ``longest_s`` until ``patience_s`` have passed without progress."""

    def __init__(
        self,
        patience_s: float = math.inf,
        *,
        first_s: float = 0.1,
        longest_s: float = 10.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.patience_s = patience_s
        self._first_s = first_s
        self._longest_s = longest_s
        self._clock = clock
        self._pause_s = first_s
        self._failing_since: float | None = None

    def reset(self) -> None:
        """Forget the failures: there was progress."""
        self._pause_s = self._first_s
        self._failing_since = None

    def next_pause_s(self) -> float | None:
        """Seconds to wait before the next attempt; None when patience is used up."""
        now = self._clock()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self.patience_s:
            return None
        pause_s = self._pause_s
        self._pause_s = min(self._longest_s, self._pause_s * 2)
        return pause_s
