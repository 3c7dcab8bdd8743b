"""Seals one day: ``python -m logpipe.sealing 2026-11-23``; without a date standard input's first line is it.

The last line of output is a JSON object; ``status`` in it is ``sealed``, ``empty`` (the pipeline has no line
of the day), ``forgotten``, ``not_over`` (exit status 3) or ``error`` (1), and ``reason`` says more. The
process host runs it for `SealOperator`.
"""

import os
import signal
import sys
from datetime import date
from typing import Any

from logpipe.accounting.chain import ChainError
from logpipe.accounting.lines import DamagedError
from logpipe.clients.hdfs import HdfsError
from logpipe.clients.kafka import TopicError
from logpipe.contracts.formats import EntryError
from logpipe.sealing.day_program import tell
from logpipe.sealing.forget import forget_old
from logpipe.sealing.lock import LOCK_WAIT_S, LockedError, alone
from logpipe.sealing.over import NotOverError
from logpipe.sealing.parquet import write_parquet
from logpipe.sealing.rewrite import LinesGoneError
from logpipe.sealing.seal import seal
from logpipe.settings import Settings, SettingsError

SEALED, ERROR, NOT_OVER = 0, 1, 3
DIE_AT = "LOGPIPE_SEALING_DIE_AT"  # a step: proves that a killed sealing is harmless
ERRORS = (
    ChainError,
    DamagedError,
    EntryError,
    HdfsError,
    LinesGoneError,
    LockedError,
    SettingsError,
    TopicError,
    ValueError,
    KeyError,
)


def report_of(settings: Settings, day: date) -> dict[str, Any]:
    """Seal a day, forget what is older than it is to be kept, and say so.

    Raises:
        NotOverError: lines of it may still come.
        one of `ERRORS`: it is not sealed for another reason.
    """
    with alone(settings, f"the sealing of {day}", LOCK_WAIT_S):
        sealed = seal(settings, day, reached=_reached)
        if settings.sealed_parquet and sealed is not None and not sealed.forgotten_at:
            write_parquet(settings, day, sealed, reached=_reached)
        forgotten = [each.isoformat() for each in forget_old(settings)]
    report: dict[str, Any] = {"date": day.isoformat(), "status": "empty", "lines": 0, "forgotten": forgotten}
    if sealed is not None:
        report |= {
            "status": "forgotten" if sealed.forgotten_at else "sealed",
            "lines": sealed.lines,
            "bytes": sealed.size_bytes,
            "digest": sealed.digest.to_json(),
            "files": len(sealed.files),
            "unconfirmed": sealed.unconfirmed,
        }
    return report


def _reached(step: str) -> None:
    if os.environ.get(DIE_AT) == step:
        os.kill(os.getpid(), signal.SIGKILL)


def _told(settings: Settings, day: date) -> dict[str, Any]:
    try:
        return report_of(settings, day)
    except NotOverError as error:
        return {"status": "not_over", "reason": str(error)}


def main() -> int:
    """Run; returns the exit status."""
    return {"error": ERROR, "not_over": NOT_OVER}.get(tell(_told, ERRORS), SEALED)


if __name__ == "__main__":
    sys.exit(main())
