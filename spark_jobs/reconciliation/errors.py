"""How a reconciliation ends when it can't end well."""


class ReconcileError(Exception):
    """The job can't go on; the message names the thing, the value and the way out."""


class LockedError(ReconcileError):
    """Another reconciliation runs on the same directory of logs."""


class StillOpenError(Exception):
    """A partition is being written: nothing of it was changed. ``reasons`` say by what."""

    def __init__(self, partition: str, reasons: list[str]) -> None:
        super().__init__(f"{partition} is still open: {'; '.join(reasons)}")
        self.partition = partition
        self.reasons = reasons
