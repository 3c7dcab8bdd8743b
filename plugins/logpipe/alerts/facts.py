"""What is known when rules are looked at: exact windows as of a commit, and what the stages say."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple


class Window(NamedTuple):
    """A closed window: its start (Unix time), lines, those with a status of 5xx, and malformed ones."""

    start_s: int
    lines: int
    errors: int
    malformed: int


class Sums(NamedTuple):
    """Lines of a time."""

    lines: int
    errors: int
    malformed: int

    @property
    def requests(self) -> int:
        """Lines that could be parsed."""
        return self.lines - self.malformed

    @property
    def error_share(self) -> float:
        """The share of requests that failed."""
        return self.errors / self.requests if self.requests else 0.0


class Counts:
    """Windows in order, summed up so that any time's sums cost next to nothing.

    Args:
        windows: each start once.
    """

    def __init__(self, windows: Iterable[Window] = ()) -> None:
        ordered = sorted(windows)
        self._starts = [window.start_s for window in ordered]
        self._sums = [
            [0, *accumulate(column)]
            for column in (
                [w.lines for w in ordered],
                [w.errors for w in ordered],
                [w.malformed for w in ordered],
            )
        ]

    def sums(self, first_s: int, last_s: int) -> Sums:
        """Of the windows that begin in ``[first_s, last_s)``."""
        first, last = bisect_left(self._starts, first_s), bisect_left(self._starts, last_s)
        return Sums(*(column[last] - column[first] for column in self._sums))

    def bad_minutes(self, first_s: int, last_s: int, share: float) -> int:
        """Minutes in which at least this share of the requests failed."""
        minutes = {start_s // 60 for start_s in self._starts[bisect_left(self._starts, first_s) :]}
        sums = (self.sums(minute * 60, minute * 60 + 60) for minute in minutes if minute * 60 < last_s)
        return sum(found.errors > 0 and found.error_share >= share for found in sums)


class HostLines(NamedTuple):
    """A host's lines of late, and in the time before."""

    host: str
    lines: int
    before: int


class Latency(NamedTuple):
    """Requests that have a latency, and their percentiles ``p50``, ``p95``, ``p99`` in milliseconds."""

    requests: int
    ms: Mapping[str, float]


@dataclass(frozen=True)
class WindowFacts:
    """The windows at a commit.

    Attributes:
        step: the commit.
        now_s: windows that end by then are complete, Unix time in the windows' own time: no clock of ours.
        since_s: the windows reach back so far.
        counts: those of the times that `Rules.ranges` names.
        hosts: those with the most lines in the time of the rule ``surge``.
        latency: of the time of the rule ``latency``; None: no request has any.
    """

    step: int
    now_s: int
    since_s: int
    counts: Counts
    hosts: tuple[HostLines, ...] = ()
    latency: Latency | None = None


class Heal(NamedTuple):
    """A service was brought back: by which task, when (Unix time), why, and as which heal of that task."""

    task: str
    at_s: float
    reason: str
    number: int


class Added(NamedTuple):
    """What was found when all was added up, and when (Unix time)."""

    lost: int
    doubled: int
    problems: tuple[str, ...]
    at_s: float


class Used(NamedTuple):
    """How much of something is used up: its kind (``disk``, ``retention``), name, share, and in words."""

    kind: str
    name: str
    share: float
    told: str


@dataclass(frozen=True)
class Facts:
    """All that is known at a moment; None: not known, and rules about it change nothing.

    Attributes:
        at_s: the moment, Unix time.
        windows: at a commit.
        behind_s: age of the oldest record that a stage has not taken, by the stage's name.
        heals: those that are still told of.
        added: the accounting.
        used: disks and retention.
        late: days that were not sealed in time and are not sealed yet, and what was said of each.
        unasked_s: for how long nobody has asked for alerts.
    """

    at_s: float
    windows: WindowFacts | None = None
    behind_s: dict[str, float] | None = None
    heals: tuple[Heal, ...] | None = None
    added: Added | None = None
    used: tuple[Used, ...] | None = None
    late: dict[str, str] | None = None
    unasked_s: float | None = None
