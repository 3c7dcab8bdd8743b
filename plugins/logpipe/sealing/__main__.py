"""Seals one day: ``python -m logpipe.sealing 2026-11-23``; without a date standard input's first line is it.

The last line of output is a JSON object; ``status`` in it is ``sealed``, ``empty`` (the pipeline has no line
of the day), ``forgotten``, ``not_over`` (exit status 3) or ``error`` (1), and ``reason`` says more. The
process host runs it for `SealOperator`.
"""

import json
import logging
import os
import select
import signal
import sys
from datetime import date
from typing import Any

from logpipe.accounting.chain import ChainError
from logpipe.clients.hdfs import HdfsError
from logpipe.clients.kafka import TopicError
from logpipe.sealing.forget import forget_old
from logpipe.sealing.lock import LockedError, alone
from logpipe.sealing.over import NotOverError
from logpipe.sealing.rewrite import LinesGoneError
from logpipe.sealing.seal import seal
from logpipe.settings import Settings, SettingsError, load

SEALED, ERROR, NOT_OVER = 0, 1, 3
DIE_AT = "LOGPIPE_SEALING_DIE_AT"  # a step: proves that a killed sealing is harmless
INPUT_WAIT_S = 20.0  # whoever started this may have died before it said which day
LOCK_WAIT_S = 600.0
ERRORS = (ChainError, HdfsError, LinesGoneError, LockedError, SettingsError, TopicError, ValueError, KeyError)


def report_of(settings: Settings, day: date) -> dict[str, Any]:
    """Seal a day, forget what is older than it is to be kept, and say so.

    Raises:
        NotOverError: lines of it may still come.
        one of `ERRORS`: it is not sealed for another reason.
    """
    with alone(settings, f"the sealing of {day}", LOCK_WAIT_S):
        sealed = seal(settings, day, reached=_reached)
        forgotten = [each.isoformat() for each in forget_old(settings)]
    report: dict[str, Any] = {"date": day.isoformat(), "status": "empty", "lines": 0, "forgotten": forgotten}
    if sealed is not None:
        report |= {
            "status": "forgotten" if sealed.forgotten_at else "sealed",
            "lines": sealed.lines,
            "bytes": sealed.size_bytes,
            "files": len(sealed.files),
            "unconfirmed": sealed.unconfirmed,
        }
    return report


def _reached(step: str) -> None:
    if os.environ.get(DIE_AT) == step:
        os.kill(os.getpid(), signal.SIGKILL)


def asked_day() -> str:
    """The day that was named, as it was typed: by the argument, else by a line from standard input.

    Raises:
        ValueError: no line came in time.
    """
    if len(sys.argv) > 1:
        return sys.argv[1]
    ready, _, _ = select.select([sys.stdin], [], [], INPUT_WAIT_S)
    line = sys.stdin.readline().strip() if ready else ""
    if not line:
        raise ValueError(f"no date came from standard input within {INPUT_WAIT_S:.0f} s: start it again")
    return line


def main() -> int:
    """Run; returns the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asked = ""
    try:
        asked = asked_day()
        report = report_of(load(), date.fromisoformat(asked))
        status = SEALED
    except NotOverError as error:
        status, report = NOT_OVER, {"date": asked, "status": "not_over", "reason": str(error)}
    except ERRORS as error:
        status, report = ERROR, {"date": asked, "status": "error", "reason": str(error) or repr(error)}
    print(json.dumps(report), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
