"""A report as one HTML file: no script, nothing from elsewhere, light and dark, readable without a mouse."""

import base64
import hashlib
from datetime import date, timedelta
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from logpipe.contracts.days import name_of
from logpipe.contracts.sealed import REPORT_FILE, REPORT_PAGE
from logpipe.page.lines import shown
from logpipe.report.figures import CLASSES
from logpipe.windows.latency import RELATIVE_ERROR
from windows.dimensions import DIMENSIONS

HERE = Path(__file__).parent
ROWS = 20  # of a table; the JSON beside it has more
_CHART_WIDTH, _CHART_HEIGHT, _STEP = 960, 180, 40
_UNITS: Final = ("bytes", "kB", "MB", "GB", "TB", "PB")


def page_of(report: dict[str, Any]) -> str:
    """The page; the same report gives the same bytes."""
    style = (HERE / "report.css").read_text()
    allowed = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    day = date.fromisoformat(report["date"])
    hours = report["hours"]
    return _template().render(
        report=report,
        style=Markup(style),  # noqa: S704 - a file of ours
        policy=f"default-src 'none'; style-src 'sha256-{allowed}'; base-uri 'none'; form-action 'none'",
        rows=ROWS,
        classes=[name for name in CLASSES if report["classes"][name]],
        requests_bars=_stacked(hours),
        bytes_bars=_bars([hour["sent_bytes"] for hour in hours]),
        hour_marks=[(number * _STEP + _STEP // 2, f"{number:02}") for number in range(24)],
        failed=report["classes"]["4xx"] + report["classes"]["5xx"],
        days_before={
            "day_before": _Before("the day before", day - timedelta(days=1)),
            "week_before": _Before("the same weekday before", day - timedelta(days=7)),
        },
        titles={one.name: (one.title, one.column) for one in DIMENSIONS},
        latency_error=RELATIVE_ERROR,
        weekday=f"{day:%A}",
        json_name=REPORT_FILE,
    )


class _Before:
    """A day before, and where its report stands as seen from this one."""

    def __init__(self, title: str, day: date) -> None:
        self.title, self.date = title, day.isoformat()
        self.href = f"../{name_of(day)}/{REPORT_PAGE}"


@cache
def _template() -> Template:
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True, keep_trailing_newline=True,
    )  # fmt: skip
    made.filters |= {
        "count": lambda number: f"{number:,}",
        "size": size,
        "pieces": lambda key: shown(key.encode()),
        "change": change,
        "percent": percent,
        "clock": lambda at: "" if at is None else at.removesuffix("+00:00").replace("T", " "),
    }
    return made.get_template("report.html.jinja")


def size(number: int) -> str:
    """Bytes in a unit that leaves at most four digits."""
    value, unit = float(number), 0
    while value >= 1000 and unit < len(_UNITS) - 1:
        value, unit = value / 1000, unit + 1
    return f"{number:,} bytes" if unit == 0 else f"{value:,.1f} {_UNITS[unit]}"


def percent(part: int, whole: int) -> str:
    """A share with two digits after the point where it is small."""
    share = 100 * part / whole if whole else 0.0
    return f"{share:.2f} %" if 0 < share < 1 else f"{share:.1f} %"


def change(now: int, before: int) -> str:
    """How much more or less than before."""
    if now == before:
        return "±0 %"
    if not before:
        return "new"
    ratio = 100 * (now - before) / before
    return f"{ratio:+,.0f} %" if abs(ratio) >= 10 else f"{ratio:+.1f} %"


def _stacked(hours: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Rectangles of the hours' requests, the classes upon each other."""
    most = max(1, *(sum(hour["classes"].values()) for hour in hours))
    made = []
    for hour in hours:
        below = 0
        for name in CLASSES:
            if requests := hour["classes"][name]:
                bottom, top = (round(_CHART_HEIGHT * each / most, 1) for each in (below, below + requests))
                made.append(_rectangle(hour["hour"], bottom, top) | {"class": f"c{name[0]}"})
                below += requests
    return made


def _bars(values: list[int]) -> list[dict[str, Any]]:
    most = max(1, *values)
    tops = [round(_CHART_HEIGHT / 2 * value / most, 1) for value in values]
    return [_rectangle(hour, 0, top, _CHART_HEIGHT // 2) for hour, top in enumerate(tops) if top]


def _rectangle(hour: int, bottom: float, top: float, height: int = _CHART_HEIGHT) -> dict[str, Any]:
    y, high = round(height - top, 1), round(top - bottom, 1)
    return {"x": hour * _STEP + 4, "y": y, "width": _STEP - 8, "height": high}
