"""Who is due, and the threads that see to it: each log at one thread at a time, none held up by another."""

import heapq
import logging
import threading
import time
from collections.abc import Callable

log = logging.getLogger(__name__)

_HUNG_S = 5.0


class Rounds:
    """Keys that are due at some time; one that somebody works on is not given to anybody else."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}
        self._not_before: dict[str, float] = {}
        self._busy: set[str] = set()
        self._asked: set[str] = set()
        self._is_over = False

    def ask(self, key: str) -> None:
        """Have a key dealt with, as soon as it may be."""
        with self._condition:
            if key in self._busy:
                self._asked.add(key)
            else:
                self._schedule(key, self._not_before.get(key, 0.0))

    def _schedule(self, key: str, at_s: float) -> None:
        if at_s < self._due.get(key, float("inf")):
            self._due[key] = at_s
            heapq.heappush(self._heap, (at_s, key))
            self._condition.notify()

    def take(self, patience_s: float) -> str | None:
        """The next key that is due, within so many seconds; it is busy until it is given back."""
        until_s = time.monotonic() + patience_s
        with self._condition:
            while not self._is_over:
                now_s = time.monotonic()
                while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
                    heapq.heappop(self._heap)
                if self._heap and self._heap[0][0] <= now_s:
                    key = heapq.heappop(self._heap)[1]
                    del self._due[key]
                    self._busy.add(key)
                    return key
                if now_s >= until_s:
                    return None
                next_s = min(until_s, self._heap[0][0]) if self._heap else until_s
                self._condition.wait(next_s - now_s)
        return None

    def give_back(self, key: str, wait_s: float | None, *, at_least_s: float = 0.0) -> None:
        """Let others take a key again.

        Args:
            key: that was taken.
            wait_s: it is due again after that time; None: when it is asked for.
            at_least_s: not earlier, whoever asks.
        """
        with self._condition:
            now_s = time.monotonic()
            self._busy.discard(key)
            self._not_before[key] = now_s + at_least_s
            is_asked = key in self._asked
            self._asked.discard(key)
            if is_asked:
                wait_s = 0.0
            if wait_s is not None:
                self._schedule(key, now_s + max(wait_s, at_least_s))

    def forget(self, key: str) -> None:
        """A key is gone."""
        with self._condition:
            self._due.pop(key, None)
            self._not_before.pop(key, None)
            self._asked.discard(key)

    def end(self) -> None:
        """Nobody gets anything any more."""
        with self._condition:
            self._is_over = True
            self._condition.notify_all()


class Crew:
    """Threads that take turns; where all hang on files that do not answer, others take their place.

    Args:
        name: of the threads.
        rounds: says what is due.
        work: deals with one key.
        size: threads, while none hangs.
        most: threads at all.
        may_wait: tells whether a key's turn waits for something else than its file, which is no hanging.
    """

    def __init__(
        self,
        name: str,
        rounds: Rounds,
        work: Callable[[str], None],
        *,
        size: int,
        most: int,
        may_wait: Callable[[str], bool] = lambda _: False,
    ) -> None:
        self._name = name
        self._rounds = rounds
        self._work = work
        self._size = size
        self._most = most
        self._may_wait = may_wait
        self._busy: dict[threading.Thread, tuple[str, float]] = {}
        self._threads: set[threading.Thread] = set()
        self._lock = threading.Lock()
        self._is_over = False

    def start(self) -> None:
        """Start the threads."""
        for _ in range(self._size):
            self._add()

    def _add(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        with self._lock:
            self._threads.add(thread)
        thread.start()

    def _run(self) -> None:
        me = threading.current_thread()
        while not self._is_over:
            key = self._rounds.take(1.0)
            if key is None:
                if self._is_surplus(me):
                    return
                continue
            self._busy[me] = key, time.monotonic()
            try:
                self._work(key)
            except Exception:
                log.exception("%s: the turn of %s failed in an unforeseen way", self._name, key)
                self._rounds.give_back(key, 10.0)
            finally:
                del self._busy[me]
        with self._lock:
            self._threads.discard(me)

    def _is_surplus(self, me: threading.Thread) -> bool:
        with self._lock:
            if len(self._threads) - len(self.hung()) <= self._size:
                return False
            self._threads.discard(me)
            return True

    def hung(self) -> list[str]:
        """The keys whose files do not answer."""
        before_s = time.monotonic() - _HUNG_S
        busy = list(self._busy.values())
        return [key for key, since_s in busy if since_s < before_s and not self._may_wait(key)]

    def look_after(self) -> None:
        """Replace threads that hang; called every now and then."""
        missing = self._size - (len(self._threads) - len(self.hung()))
        for _ in range(min(missing, self._most - len(self._threads))):
            self._add()

    def end(self, patience_s: float) -> None:
        """Wait for what is under way."""
        self._is_over = True
        until_s = time.monotonic() + patience_s
        for thread in list(self._threads):
            thread.join(max(0.0, until_s - time.monotonic()))
