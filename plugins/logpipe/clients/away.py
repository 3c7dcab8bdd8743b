"""Waiting for what is away and comes back in minutes: a broker, a host or an API server that restarts."""

import time
from collections.abc import Callable
from logging import Logger
from typing import TypeVar

from logpipe.clients.errors import UnreachableError

T = TypeVar("T")

_ASK_AGAIN_S = 2.0


def once_it_answers(ask: Callable[[], T], patience_s: float, log: Logger | None = None) -> T:
    """Ask again and again until there is an answer; an error other than not to be reached is one.

    Args:
        ask: may be called several times.
        patience_s: no further time after so long; 0: once.
        log: told of each time that it was away.

    Raises:
        UnreachableError: it was away for longer than that; the last one's.
    """
    deadline = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except UnreachableError as error:
            if time.monotonic() >= deadline:
                raise
            if log is not None:
                log.warning("Waiting: %s", error)
        time.sleep(_ASK_AGAIN_S)
