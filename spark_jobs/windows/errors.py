"""What stops the job for good; everything else is waited for."""


class WindowsError(Exception):
    """The job can't go on by itself; the message names the thing, the value and the way out."""


class JvmGoneError(WindowsError):
    """The JVM that Spark runs in has ended."""


class FencedError(WindowsError):
    """Another driver has taken over the checkpoint; nothing of this one was or will be committed."""


class OccupiedError(WindowsError):
    """Another driver is alive on the checkpoint."""


class CutError(Exception):
    """The broker lost records that are counted, and gives their offsets to others: read again from there."""
