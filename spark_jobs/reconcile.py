"""Reconciles a dated directory of log lines on HDFS with the topic: `reconcile.py --help` tells how.

The last line of stdout is a JSON object; `status` in it is `reconciled`, `still_open`, `unconfirmable` or
`error`, and `reason` says more.
"""

import json
import logging
import sys
import time
from typing import Any

from py4j.protocol import Py4JError
from pyspark.errors import PySparkException

from logpipe.settings import SettingsError, load
from reconciliation import session
from reconciliation.errors import ReconcileError, StillOpenError
from reconciliation.options import Options, from_arguments
from reconciliation.run import reconcile
from windows import versions
from windows.errors import WindowsError

RECONCILED, ERROR, STILL_OPEN, UNCONFIRMABLE = 0, 1, 3, 4


def _run(options: Options) -> tuple[int, dict[str, Any]]:
    jars = versions.check(options.jars_dir)
    spark = session.start(options, jars)
    try:
        report = reconcile(spark, options)
    except StillOpenError as error:
        return STILL_OPEN, {
            "status": "still_open",
            "open": error.partition,
            "reason": "; ".join(error.reasons),
        }
    finally:
        spark.stop()
    if report.rescued_files:
        reason = f"an agent wrote {report.rescued_files} files during the switch: run again to compare them"
        return STILL_OPEN, {"status": "still_open", "reason": reason, **report.to_json()}
    if report.unconfirmable:
        return UNCONFIRMABLE, {"status": "unconfirmable", **report.to_json()}
    return RECONCILED, {"status": "reconciled", **report.to_json()}


def _first_lines(error: Exception) -> str:
    """What went wrong, without Java's stack."""
    lines = [line for line in str(error).splitlines() if line and not line.startswith(("\tat ", "JVM stack"))]
    return " ".join(lines[:3])[:600]


def main() -> int:
    """Run; returns the exit status."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("py4j").setLevel(logging.WARNING)
    started = time.monotonic()
    asked: dict[str, Any] = {}
    try:
        options = from_arguments(sys.argv[1:], load())
        asked = {"date": options.date.isoformat(), "partition": options.day.partition}
        status, report = _run(options)
    except (ReconcileError, WindowsError, SettingsError, OSError, PySparkException, Py4JError) as error:
        status, report = ERROR, {"status": "error", "reason": _first_lines(error)}
        logging.getLogger("reconcile").error("%s", error)
    print(json.dumps(asked | report | {"seconds": round(time.monotonic() - started, 1)}), flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main())
