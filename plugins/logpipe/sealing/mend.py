"""Repairs one day: ``python -m logpipe.sealing.mend 2026-11-23``; without a date it is read from stdin.

The last line of output is a JSON object; ``status`` in it is ``mended`` (all that had to be, maybe nothing),
``failed`` (exit status 1: something cannot be mended, ``reason`` names it) or ``error`` (1). The process host
runs it for `RepairOperator`. Lines lost on their way to Kafka are no day's: ``make repair`` sends them again.
"""

import json
import logging
import sys
from datetime import date
from typing import Any

from logpipe.accounting.source import SourceGoneError
from logpipe.sealing.__main__ import ERRORS as SEALING_ERRORS
from logpipe.sealing.__main__ import asked_day
from logpipe.sealing.repair import repair
from logpipe.settings import load

MENDED, FAILED = 0, 1
ERRORS = (SourceGoneError, *SEALING_ERRORS)


def main() -> int:
    """Run; returns the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asked = ""
    try:
        asked = asked_day()
        outcome = repair(load(), date.fromisoformat(asked))
        told: dict[str, Any] = {"status": "failed" if outcome.failed else "mended", "done": outcome.done}
        told["reason"] = "; ".join(outcome.failed)
    except ERRORS as error:
        told = {"status": "error", "done": [], "reason": str(error) or repr(error)}
    print(json.dumps({"date": asked} | told), flush=True)
    return MENDED if told["status"] == "mended" else FAILED


if __name__ == "__main__":
    sys.exit(main())
