"""Rates and delays from counters that are read now and then."""

import time
from collections import deque
from itertools import pairwise

SPAN_S = 12.0  # a rate is that of about the last so many seconds
_SAMPLES = 720


class Meter:
    """A counter's rate.

    A counter that steps back (a process began anew) begins anew here as well.
    """

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=64)

    def add(self, count: int, now_s: float | None = None) -> None:
        """Take note of the counter's value."""
        now_s = time.monotonic() if now_s is None else now_s
        if self._samples and count < self._samples[-1][1]:
            self._samples.clear()
        self._samples.append((now_s, count))
        while len(self._samples) > 2 and now_s - self._samples[1][0] > SPAN_S:
            self._samples.popleft()

    @property
    def per_s(self) -> float | None:
        """Counts a second; None before the second sample."""
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / max(1e-3, last_s - first_s)


class Arrivals:
    """When a counter came past which value: tells how old what follows a place is."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)

    def add(self, count: int, now_s: float | None = None) -> None:
        """Take note of the counter's value; only where it has moved is it worth a sample."""
        now_s = time.time() if now_s is None else now_s
        if self._samples and count < self._samples[-1][1]:
            self._samples.clear()
        if len(self._samples) > 1 and self._samples[-1][1] == self._samples[-2][1] == count:
            self._samples.pop()
        self._samples.append((now_s, count))

    def behind_at_least_s(self, reached: int, now_s: float) -> float:
        """As `behind_s`, and for as long as this has watched where it is longer."""
        behind_s = self.behind_s(reached, now_s)
        return (
            max(0.0, now_s - self._samples[0][0]) if behind_s is None and self._samples else behind_s or 0.0
        )

    def behind_s(self, reached: int, now_s: float | None = None) -> float | None:
        """For how long what stands behind a place has waited; None when that is longer than is known.

        Args:
            reached: a value of the counter.
            now_s: Unix time.
        """
        now_s = time.time() if now_s is None else now_s
        if not self._samples:
            return None
        if reached >= self._samples[-1][1]:
            return 0.0
        if reached < self._samples[0][1]:
            return None
        for (before_s, before), (after_s, after) in pairwise(self._samples):
            if before <= reached < after:
                share = (reached - before) / (after - before)
                return max(0.0, now_s - (before_s + share * (after_s - before_s)))
        return 0.0
