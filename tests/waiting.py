"""Waiting for a condition, with a deadline; the error says what was last seen."""

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T | None], deadline_s: float, what: str = "", poll_s: float = 0.1
) -> T:
    """Return the first true value of the condition; ``what`` says what is waited for."""
    end = time.monotonic() + deadline_s
    while not (value := condition()):
        what = what or condition.__name__
        assert time.monotonic() < end, f"waited {deadline_s} s for {what}; last seen: {value!r}"
        time.sleep(poll_s)
    return value
