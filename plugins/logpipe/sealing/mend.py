"""Repairs one day: ``python -m logpipe.sealing.mend 2026-11-23``; without a date it is read from stdin.

The last line of output is a JSON object; ``status`` in it is ``mended`` (all that had to be, maybe nothing),
``failed`` (exit status 1: something cannot be mended, ``reason`` names it) or ``error`` (1). The process host
runs it for `RepairOperator`. Lines lost on their way to Kafka are no day's: ``make repair`` sends them again.
"""

import sys
from datetime import date
from typing import Any

from logpipe.accounting.source import SourceGoneError
from logpipe.sealing.__main__ import ERRORS as SEALING_ERRORS
from logpipe.sealing.day_program import tell
from logpipe.sealing.repair import repair
from logpipe.settings import Settings

MENDED, FAILED = 0, 1
ERRORS = (SourceGoneError, *SEALING_ERRORS)


def _told(settings: Settings, day: date) -> dict[str, Any]:
    outcome = repair(settings, day)
    status = "failed" if outcome.failed else "mended"
    return {"status": status, "done": outcome.done, "reason": "; ".join(outcome.failed)}


def main() -> int:
    """Run; returns the exit status."""
    return MENDED if tell(_told, ERRORS, {"done": []}) == "mended" else FAILED


if __name__ == "__main__":
    sys.exit(main())
