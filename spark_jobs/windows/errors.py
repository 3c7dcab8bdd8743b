"""What stops the job for good, a `WindowsError` of any kind; everything else is waited for."""

from logpipe.windows.commit import WindowsError as WindowsError


class JvmGoneError(WindowsError):
    """The JVM that Spark runs in has ended."""


class FencedError(WindowsError):
    """Another driver has taken over the checkpoint; nothing of this one was or will be committed."""


class OccupiedError(WindowsError):
    """Another driver is alive on the checkpoint."""


class CutError(Exception):
    """The broker lost records that are counted, and gives their offsets to others: read again from there."""
