"""Dies at a named step when the environment says so: proves that a killed reconciliation is harmless."""

import os
import signal
from typing import Any

DIE_AT = "LOGPIPE_RECONCILE_DIE_AT"

STEPS = (
    "lease-recovered",
    "in-use-renamed",
    "staged",
    "verified",
    "journalled",
    "old-moved",
    "new-moved",
    "rescued",
    "old-deleted",
    "succeeded",
    "manifest-written",
)


def reached(step: str, jvm: Any) -> None:
    """End this process and its JVM with SIGKILL when the environment names this step."""
    assert step in STEPS, step
    if os.environ.get(DIE_AT) == step:
        os.kill(int(jvm.java.lang.ProcessHandle.current().pid()), signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)
