"""Waiting for a condition, with a deadline; the error says what was last seen."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(condition: Callable[[], T], deadline_s: float, poll_s: float = 0.2) -> T:
    """Return the first true value of the condition."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        assert time.monotonic() < end, f"{condition.__name__} not true after {deadline_s} s, last: {value!r}"
        time.sleep(poll_s)
    return value
