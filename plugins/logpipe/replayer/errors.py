"""What can go wrong with a source or a sink, told apart by what to do about it."""

from logpipe.settings.redaction import redacted

MAX_REASON = 1000  # characters


class SourceError(Exception):
    """A source can't be read.

    Attributes:
        reason: what happened, without the URL (the replay adds it) and without what is secret in others; one
            line of bounded length, whatever words of a server are in it.
        transient: whether trying again by itself may help.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        plain = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in reason[:MAX_REASON])
        self.reason = redacted(plain + "…" * (len(reason) > MAX_REASON))
        super().__init__(self.reason)
        self.transient = transient


class SourceRefusedError(SourceError, ValueError):
    """A source that may not be read, whatever it holds; the reason names the way out."""


class SourceDamagedError(SourceError):
    """The bytes themselves are cut short or broken: what stands before the damage is still sent."""


class SourceChangedError(SourceError):
    """The source is not the one this replay began with."""


class SinkUnavailableError(Exception):
    """The agent is away, slow or refuses for now: the same lines are to be sent again."""


class SinkError(Exception):
    """The agent can't take these lines, however often they are sent."""


class InterruptedReplayError(Exception):
    """The replay was asked to halt and its grace period is over."""
