"""How a running replay is asked to halt."""

import threading
import time


class Halt:
    """A request to halt, with a grace period in which what is in flight may still be acknowledged."""

    def __init__(self, grace_s: float = 4.0) -> None:
        self._asked = threading.Event()
        self._grace_s = grace_s
        self._deadline = float("inf")

    def ask(self) -> None:
        """Ask to halt; the grace period begins with the first call."""
        if not self._asked.is_set():
            self._deadline = time.monotonic() + self._grace_s
            self._asked.set()

    @property
    def asked(self) -> bool:
        """Whether a halt was asked for."""
        return self._asked.is_set()

    @property
    def grace_is_over(self) -> bool:
        """Whether what is in flight is to be given up too."""
        return self._asked.is_set() and time.monotonic() >= self._deadline

    def wait(self, seconds: float) -> bool:
        """Sleep, but no longer than until a halt is asked for; tells whether it was."""
        return self._asked.wait(seconds)
