"""Reports on one sealed day: ``python -m logpipe.report 2026-11-23``; without a date it is read from stdin.

The last line of output is a JSON object; ``status`` in it is ``reported``, ``absent`` (the day is not sealed,
or its lines were forgotten) or ``error`` (exit status 1), and ``reason`` says more. The process host runs it
for `ReportOperator`.
"""

import sys
from datetime import date
from typing import Any

from logpipe.report.day import make_report
from logpipe.sealing.__main__ import ERRORS as SEALING_ERRORS
from logpipe.sealing.day_program import tell
from logpipe.sealing.lock import LOCK_WAIT_S, alone
from logpipe.settings import Settings

REPORTED, ERROR = 0, 1
ERRORS = SEALING_ERRORS


def report_of(settings: Settings, day: date) -> dict[str, Any]:
    """Make a day's report, and say so.

    Raises:
        one of `ERRORS`: it is not made.
    """
    with alone(settings, f"the report of {day}", LOCK_WAIT_S):
        made = make_report(settings, day)
    if made is None:
        return {"date": day.isoformat(), "status": "absent", "reason": "it is not sealed, or was forgotten"}
    names = ("requests", "visitors", "sent_bytes", "malformed")
    return {"date": day.isoformat(), "day": made["day"], "status": "reported"} | {
        name: made[name] for name in names
    }


def main() -> int:
    """Run; returns the exit status."""
    return ERROR if tell(report_of, ERRORS) == "error" else REPORTED


if __name__ == "__main__":
    sys.exit(main())
