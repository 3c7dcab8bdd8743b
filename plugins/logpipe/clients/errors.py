"""One family of errors: what an outside system did not do, at which address, and the way out."""


class ClientError(Exception):
    """An outside system did not do what was asked; the message names it, the request and its own words."""


class UnreachableError(ClientError, ConnectionError):
    """It gave no answer in time, or one that says that it cannot work now: ask again later."""


class NobodyListensError(UnreachableError):
    """Nothing listens at its address: it does not run."""


class HungError(UnreachableError):
    """It has shown no life for so long that waiting on is no use."""


class RefusedError(ClientError):
    """It answered, and will not do it: asking again is no use."""
