"""One sealing or repair at a time on this machine."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from logpipe.settings import Settings

LOCK_WAIT_S = 600.0  # of a program or command, for another one's end
_POLL_S = 0.2


class LockedError(Exception):
    """Another process seals or repairs; the message names it."""


@contextmanager
def alone(settings: Settings, what: str, wait_s: float = 0) -> Iterator[None]:
    """Hold the lock; it goes with the process, however that ends.

    Args:
        settings: whose state folder.
        what: is done, for whoever has to wait.
        wait_s: for the other one's end.

    Raises:
        LockedError: the other one has not ended by then.
    """
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + wait_s
    with (settings.state_dir / "sealing.lock").open("a+") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= deadline:
                    file.seek(0)
                    raise LockedError(f"Wait for its end: {file.read().strip()}") from None
                time.sleep(_POLL_S)
        file.truncate(0)
        file.write(f"process {os.getpid()} does {what} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC\n")
        file.flush()
        yield
