"""What the programs have in common that a process host runs for one day: which day, and how it went."""

import json
import logging
import select
import sys
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

from logpipe.settings import Settings, load

INPUT_WAIT_S = 20.0  # whoever started this may have died before it said which day


def tell(
    work: Callable[[Settings, date], dict[str, Any]],
    errors: tuple[type[Exception], ...],
    untold: Mapping[str, Any] | None = None,
) -> str:
    """Do the work for the day that is asked for, and print what it told as the last line, a JSON object.

    Args:
        work: returns what is told, ``status`` among it; ``date`` is added where it is lacking.
        errors: that it may raise; then ``status`` is ``error``, and ``reason`` says why.
        untold: what is told beside an error.

    Returns:
        The status.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    asked = ""
    try:
        asked = _asked_day()
        told = work(load(), date.fromisoformat(asked))
    except errors as error:
        told = {"status": "error", **(untold or {}), "reason": str(error) or repr(error)}
    print(json.dumps({"date": asked} | told), flush=True)
    return str(told["status"])


def _asked_day() -> str:
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
