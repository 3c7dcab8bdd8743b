"""Sources that are asked again and again, each in a thread of its own; the last good answer stays.

They are asked often while somebody looks at the page, and seldom otherwise: an idle service costs next to
nothing, and the first look after a while has figures that are at most so old.
"""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

log = logging.getLogger(__name__)

T = TypeVar("T")
LOOKING_S = 20.0  # somebody who asked so lately still looks
HANGS_S = 8.0  # a source that has said nothing for so long does not answer


class Interest:
    """Whether somebody looks at the page."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._asked_at_s = float("-inf")
        self._round = 0
        self._is_over = False

    @property
    def is_there(self) -> bool:
        """Whether somebody has asked lately."""
        return time.monotonic() - self._asked_at_s < LOOKING_S

    def show(self) -> None:
        """Somebody asks: sources that waited long are asked at once."""
        was_there, self._asked_at_s = self.is_there, time.monotonic()
        if not was_there:
            self.wake()

    def wake(self) -> None:
        """Have every source asked at once."""
        with self._changed:
            self._round += 1
            self._changed.notify_all()

    def end(self) -> None:
        """Have every source stop."""
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def pause(self, busy_s: float, idle_s: float) -> bool:
        """Wait until it is time to ask again; False when it is over."""
        with self._changed:
            known = self._round
            self._changed.wait_for(
                lambda: self._is_over or self._round != known, busy_s if self.is_there else idle_s
            )
            return not self._is_over


@dataclass(frozen=True, slots=True)
class Heard(Generic[T]):
    """What a source last said.

    Attributes:
        value: its last good answer; None before the first.
        at_s: when that was, Unix time; 0 before.
        error: why the last question had no answer; empty when it had one.
    """

    value: T | None = None
    at_s: float = 0.0
    error: str = ""


class Watched(Generic[T]):
    """One source.

    Args:
        name: as the page calls it.
        ask: gets an answer, or raises; what it takes is bounded by its client's timeouts.
        busy_s: between two questions while somebody looks.
        idle_s: the same while nobody does.
    """

    def __init__(self, name: str, ask: Callable[[], T], busy_s: float, idle_s: float) -> None:
        self.name = name
        self._ask = ask
        self._busy_s, self._idle_s = busy_s, idle_s
        self._heard: Heard[T] = Heard()
        self._asking_since_s: float | None = None

    def start(self, interest: Interest) -> None:
        """Begin to ask."""
        threading.Thread(target=self._run, args=(interest,), name=f"page-{self.name}", daemon=True).start()

    def _run(self, interest: Interest) -> None:
        self.ask()
        while interest.pause(self._busy_s, self._idle_s):
            self.ask()

    def ask(self) -> None:
        """Ask once."""
        self._asking_since_s = time.monotonic()
        try:
            self._heard = Heard(self._ask(), time.time())
        # Whatever a source does, its thread asks again: the page says what it was.
        except Exception as error:  # noqa: BLE001
            if str(error) != self._heard.error:
                log.warning("%s: %s", self.name, error)
            self._heard = Heard(self._heard.value, self._heard.at_s, str(error) or repr(error))
        finally:
            self._asking_since_s = None

    @property
    def heard(self) -> Heard[T]:
        """Its last good answer, and why there is no newer one."""
        since_s = self._asking_since_s
        waited_s = 0.0 if since_s is None else time.monotonic() - since_s
        if waited_s > HANGS_S and not self._heard.error:
            return Heard(self._heard.value, self._heard.at_s, "does not answer")
        return self._heard

    def state(self) -> dict[str, Any]:
        """For the page: when it was last heard, and why not since."""
        heard = self.heard
        # While all is well the time is left out: it would make each answer another one.
        return {"error": heard.error[:300], "at": round(heard.at_s)} if heard.error else {}
