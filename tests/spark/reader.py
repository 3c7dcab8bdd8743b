"""A reader of the topic of windows, as plain as `docs/windows.md` has the rule."""

import json
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any


def followed(records: Iterable[tuple[Any, Any]]) -> dict[tuple[int, str, str], int]:
    """The rule of docs/windows.md: newest values of keys, without records within wider ones, added up."""
    newest = dict(records)
    by_window: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for value in newest.values():
        if value is not None:
            record = json.loads(value)
            by_window.setdefault((record["window_start"], record["dimension"]), []).append(record)
    totals: Counter[tuple[int, str, str]] = Counter()
    for (start, dimension), of_window in by_window.items():
        start_s = int(datetime.fromisoformat(start).timestamp())
        steps = {(record["since"], record["step"]) for record in of_window}
        for record in of_window:
            mine = (record["since"], record["step"])
            if not any(wide != mine and wide[0] <= mine[0] and mine[1] <= wide[1] for wide in steps):
                for row in record["rows"]:
                    totals[start_s, dimension, row["key"]] += row["lines"]
    return dict(totals)
