"""What the traffic does, asked of the windows: series, totals and top tables of a range, by DuckDB.

A window's rows hold one dimension each: how many requests a host made, and how many failed, but not how
many of a host's failed. What a filter does not reach is told as such (``crossed``); the lines themselves
can be asked for it (`logpipe.page.lines`).
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Any

from logpipe.page.store import Mirror, Snapshot, utc_date
from logpipe.windows.latency import RELATIVE_ERROR, SHARES, percentiles_us

CLASSES = ("2xx", "3xx", "4xx", "5xx", "1xx", "malformed")
PLAIN = ("host", "endpoint", "error", "status", "method")  # what stands in a line as it is
TABLES = ("host", "endpoint", "error", "log", "vhost", "referrer", "agent", "os", "bot", "content", "tls")
KEYED = (*dict.fromkeys((*PLAIN, *TABLES)), "latency")
TOP = 12
YEAR_S = 366 * 86400
MAX_POINTS = 800
_LATEST_S = 250_000_000_000  # of the year 9892
_WANTED_POINTS = 240
_NICE_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 21600, 43200, 86400)
_MEMORY = "128MB"
_KEPT_ANSWERS = 32


class QuestionError(ValueError):
    """A parameter that cannot work; the message names it, its value and what was expected."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        first_s, last_s: the range ``[first, last)``, Unix time.
        step_s: of the series.
        shift_s: seconds that the reader's clock is ahead of UTC; days and hours begin by it.
        status_class: only requests with a status such as ``4xx``; empty: all.
        dimension, key: only requests with this key; empty: all.
    """

    first_s: int
    last_s: int
    step_s: int
    shift_s: int = 0
    status_class: str = ""
    dimension: str = ""
    key: str = ""

    @classmethod
    def of(cls, values: Mapping[str, str], window_s: int, newest_s: int | None, now_s: float) -> "Question":
        """Read a request's parameters.

        Args:
            values: ``last`` (seconds up to now, or up to the newest window where that is long ago), or
                ``from`` and ``to``; ``shift``, ``class``, ``dimension``, ``key``.
            window_s: length of a window.
            newest_s: end of the newest window, Unix time; None when there is none.
            now_s: Unix time.

        Raises:
            QuestionError: a parameter cannot work.
        """
        shift_s = number(values, "shift", 0, -86400, 86400)
        if "from" in values:
            first_s = number(values, "from", 0, 0, _LATEST_S)
            last_s = number(values, "to", 0, 0, _LATEST_S)
        else:
            span_s = number(values, "last", 3600, 60, YEAR_S)
            end_s = now_s if newest_s is None or newest_s > now_s - span_s else newest_s
            step_s = step_of(span_s, window_s)
            last_s = _up(int(end_s) + 1, step_s, shift_s)
            first_s = last_s - _up(span_s, step_s)
        if not 0 < last_s - first_s <= YEAR_S + 86400:
            raise QuestionError(f"from {first_s} to {last_s} is no range, expected one of up to a year")
        step_s = step_of(last_s - first_s, window_s)
        first_s, last_s = _up(first_s - step_s + 1, step_s, shift_s), _up(last_s, step_s, shift_s)
        question = cls(
            first_s, last_s, step_s, shift_s, values.get("class", ""),
            values.get("dimension", ""), values.get("key", ""),
        )  # fmt: skip
        if question.status_class not in ("", *CLASSES):
            raise QuestionError(f"class is {question.status_class!r}, expected one of {', '.join(CLASSES)}")
        if question.dimension not in ("", *KEYED):
            raise QuestionError(f"dimension is {question.dimension!r}, expected one of {', '.join(KEYED)}")
        return question


def number(values: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A whole number among a request's parameters.

    Raises:
        QuestionError: it is none, or beyond what may be.
    """
    text = values.get(name, str(default))
    try:
        value = int(float(text))
    except (ValueError, OverflowError):
        value = low - 1
    if not low <= value <= high:
        raise QuestionError(f"{name} is {text!r}, expected a number from {low} to {high}")
    return value


def _up(value_s: int, step_s: int, shift_s: int = 0) -> int:
    return -(-(value_s + shift_s) // step_s) * step_s - shift_s


def step_of(span_s: int, window_s: int) -> int:
    """Of a range's series the step: a multiple of the window, for some 240 points."""
    wanted_s = span_s / _WANTED_POINTS
    for step_s in _NICE_STEPS_S:
        if step_s >= wanted_s and step_s % window_s == 0:
            return step_s
    least = _NICE_STEPS_S[-1]
    return max(-(-least // window_s) * window_s, window_s) if window_s <= least else window_s


class Traffic:
    """Answers questions about the windows of a mirror; one at a time, with bounded memory."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._lock = threading.Lock()
        self._connection: Any = None
        self._answers: OrderedDict[tuple[int, str, Question], dict[str, Any]] = OrderedDict()
        self._newest: tuple[int, int | None] = (-1, None)

    def answer(self, values: Mapping[str, str], now_s: float | None = None) -> dict[str, Any]:
        """Answer a request; `Question.of` has its parameters.

        Raises:
            QuestionError: a parameter cannot work.
            WindowsError: nothing is known of the windows yet.
        """
        with self._lock:
            newest_s = self._newest_s()
            with self._mirror.files() as (snapshot, _):
                window_s = snapshot.window_s
            question = Question.of(values, window_s, newest_s, time.time() if now_s is None else now_s)
            known = (snapshot.commit.step, snapshot.commit.committed_at, question)
            if known not in self._answers:
                self._answers[known] = self._ask(question) | {"newest": newest_s}
                while len(self._answers) > _KEPT_ANSWERS:
                    self._answers.popitem(last=False)
            return self._answers[known]

    def between(self, first_s: int, last_s: int, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """Ask about the windows that begin in ``[first_s, last_s)``; of overlapping ones each line's once.

        Args:
            first_s: Unix time.
            last_s: the same.
            query: of ``all_rows``.
            values: its parameters.

        Raises:
            WindowsError: nothing is known of the windows yet.
        """
        with self._lock, self._mirror.files(utc_date(first_s), utc_date(last_s)) as (snapshot, files):
            chosen = (
                f", all_rows AS (SELECT * FROM rows WHERE {_once(snapshot)} "  # noqa: S608
                f"AND window_start >= to_timestamp({first_s:d}) AND window_start < to_timestamp({last_s:d})) "
            )
            return self._rows(files, chosen + query, *values)

    def reaches_back(self) -> tuple[int, date | None]:
        """The step that is answered from, and the first UTC date that the windows hold."""
        with self._mirror.files() as (snapshot, _):
            return snapshot.commit.step, snapshot.first_date

    def _newest_s(self) -> int | None:
        """End of the newest window; asked once a commit."""
        with self._mirror.files() as (snapshot, files):
            if self._newest[0] != snapshot.commit.step:
                found = None
                for some in _newest_files_first(files):
                    rows = self._rows(
                        some, "SELECT max(epoch(window_start)) FROM rows WHERE dimension = 'total'"
                    )
                    if rows[0][0] is not None:
                        found = int(rows[0][0]) + snapshot.window_s
                        break
                self._newest = (snapshot.commit.step, found)
            return self._newest[1]

    def _rows(self, files: list[str], query: str, *values: Any) -> list[tuple[Any, ...]]:
        if self._connection is None:
            import duckdb  # 60 MB that a start need not wait for

            settings = {"threads": 1, "memory_limit": _MEMORY, "autoinstall_known_extensions": False}
            self._connection = duckdb.connect(":memory:", config=settings)
        if not files:
            return []
        names = ", ".join("'" + name.replace("'", "''") + "'" for name in files)
        view = f"WITH rows AS (SELECT * FROM read_parquet([{names}], union_by_name = true)) "  # noqa: S608
        found: list[tuple[Any, ...]] = self._connection.execute(view + query, list(values)).fetchall()
        return found

    def _ask(self, question: Question) -> dict[str, Any]:
        span_s = question.last_s - question.first_s
        before_s = question.first_s - span_s
        with self._mirror.files(utc_date(before_s), utc_date(question.last_s)) as (snapshot, files):
            series = self._series(question, snapshot, files)
            has = self._dimensions(question, snapshot, files)
            tables = {
                name: self._table(question, snapshot, files, name)
                for name in TABLES
                if name in PLAIN or name in has
            }
            return {
                "commit": {"step": snapshot.commit.step, "committed_at": snapshot.commit.committed_at},
                "from": question.first_s,
                "to": question.last_s,
                "step_s": question.step_s,
                "window_s": snapshot.window_s,
                "open_from": snapshot.open_from_s,
                "is_filtered": bool(question.status_class or question.dimension),
                "series": series,
                "totals": self._totals(question, snapshot, files),
                "methods": self._table(question, snapshot, files, "method"),
                "tables": tables,
                "latency": self._latency(question, snapshot, files) if "latency" in has else None,
            }

    # ------------------------------------------------------------------ parts

    def _series(self, question: Question, snapshot: Snapshot, files: list[str]) -> dict[str, Any]:
        """Lines by status class and bytes sent, in steps; of a filter on a key, its own lines and bytes."""
        kept, values = _of_filter(question)
        rows = self._rows(
            files,
            f"""
            SELECT ((epoch(window_start)::BIGINT + ?) // ? * ? - ?)::BIGINT AS began, {_CLASS} AS class,
                   sum(lines)::BIGINT, sum(sent_bytes)::BIGINT
            FROM rows WHERE {kept} AND {_once(snapshot)}
              AND window_start >= to_timestamp(?) AND window_start < to_timestamp(?)
            GROUP BY ALL ORDER BY began
            """,  # noqa: S608 - parts of ours
            question.shift_s, question.step_s, question.step_s, question.shift_s,
            *values, question.first_s, question.last_s,
        )  # fmt: skip
        times = list(range(question.first_s, question.last_s, question.step_s))[:MAX_POINTS]
        place = {at: number for number, at in enumerate(times)}
        lines: dict[str, list[int]] = {}
        sent = [0] * len(times)
        for at, name, count, size in rows:
            if at in place:
                lines.setdefault(name, [0] * len(times))[place[at]] += count
                sent[place[at]] += size or 0
        order = [name for name in (*CLASSES, "lines") if name in lines]
        return {"t": times, "lines": {name: lines[name] for name in order}, "bytes": sent}

    def _dimensions(self, question: Question, snapshot: Snapshot, files: list[str]) -> set[str]:
        """What the range has rows of: formats differ in what they have."""
        rows = self._rows(
            files,
            f"SELECT DISTINCT dimension FROM rows WHERE {_once(snapshot)} "  # noqa: S608
            "AND window_start >= to_timestamp(?) AND window_start < to_timestamp(?)",
            question.first_s, question.last_s,
        )  # fmt: skip
        return {name for (name,) in rows}

    def _latency(self, question: Question, snapshot: Snapshot, files: list[str]) -> dict[str, Any]:
        """Percentiles of all requests with a latency, in ms, in steps and of the range; None: no request."""
        rows = self._rows(
            files,
            f"""
            SELECT ((epoch(window_start)::BIGINT + ?) // ? * ? - ?)::BIGINT AS began, key::BIGINT AS least_us,
                   sum(lines)::BIGINT
            FROM rows WHERE dimension = 'latency' AND {_once(snapshot)}
              AND window_start >= to_timestamp(?) AND window_start < to_timestamp(?) GROUP BY ALL
            """,  # noqa: S608
            question.shift_s, question.step_s, question.step_s, question.shift_s,
            question.first_s, question.last_s,
        )  # fmt: skip
        by_step: dict[int, list[tuple[int, int]]] = {}
        for began, least_us, lines in rows:
            by_step.setdefault(began, []).append((least_us, lines))
        found = {began: percentiles_us(counts) for began, counts in by_step.items()}
        steps = range(question.first_s, question.last_s, question.step_s)[:MAX_POINTS]
        whole = percentiles_us((least_us, lines) for _, least_us, lines in rows)
        return {
            "ms": {
                name: [None if at not in found else found[at][name] / 1000 for at in steps] for name in SHARES
            },
            "in_all_ms": {name: value / 1000 for name, value in whole.items()},
            "lines": sum(lines for _, _, lines in rows),
            "relative_error": RELATIVE_ERROR,
        }

    def _totals(self, question: Question, snapshot: Snapshot, files: list[str]) -> dict[str, Any]:
        """Sums of the range and of the one before it, of all requests or of the filter's.

        None: of the filter's requests the windows do not say with which status they ended.
        """
        kept, values = _of_filter(question)
        span_s = question.last_s - question.first_s
        rows = self._rows(
            files,
            f"""
            SELECT window_start >= to_timestamp(?) AS is_now, sum(lines)::BIGINT, sum(sent_bytes)::BIGINT,
                   coalesce(sum(lines) FILTER (dimension IN {_ENDED} AND key[1] = '4'), 0)::BIGINT,
                   coalesce(sum(lines) FILTER (dimension IN {_ENDED} AND key[1] = '5'), 0)::BIGINT,
                   coalesce(sum(lines) FILTER (dimension = 'malformed'), 0)::BIGINT
            FROM rows WHERE {kept} AND {_once(snapshot)}
              AND window_start >= to_timestamp(?) AND window_start < to_timestamp(?) GROUP BY is_now
            """,  # noqa: S608
            question.first_s, *values, question.first_s - span_s, question.last_s,
        )  # fmt: skip
        names = ("lines", "bytes", "errors_4xx", "errors_5xx", "malformed")
        nothing: dict[str, int | None] = dict.fromkeys(names, 0)
        found = {bool(now): nothing | dict(zip(names, sums, strict=True)) for now, *sums in rows}
        if question.dimension not in ("", "status", "error"):
            unknown = dict.fromkeys(("errors_4xx", "errors_5xx"))
            nothing |= unknown
            found = {is_now: sums | unknown for is_now, sums in found.items()}
        return found.get(True, nothing) | {"before": found.get(False, nothing)}

    def _table(self, question: Question, snapshot: Snapshot, files: list[str], name: str) -> dict[str, Any]:
        """The keys of a dimension with the most lines, with those of the range before."""
        source, key, kept, values, is_crossed = _crossed(question, name)
        span_s = question.last_s - question.first_s
        rows = self._rows(
            files,
            f"""
            , sums AS (
              SELECT {key} AS shown,
                     sum(lines) FILTER (window_start >= to_timestamp(?)) AS now,
                     sum(lines) FILTER (window_start < to_timestamp(?)) AS before,
                     sum(sent_bytes) FILTER (window_start >= to_timestamp(?)) AS sent
              FROM rows WHERE dimension = '{source}' AND {kept} AND {_once(snapshot)}
                AND window_start >= to_timestamp(?) AND window_start < to_timestamp(?)
              GROUP BY shown)
            SELECT shown, now::BIGINT, coalesce(before, 0)::BIGINT, coalesce(sent, 0)::BIGINT,
                   count(*) OVER (), (sum(now) OVER ())::BIGINT
            FROM sums WHERE now > 0 ORDER BY now DESC, shown LIMIT {TOP}
            """,  # noqa: S608
            question.first_s, question.first_s, question.first_s,
            *values, question.first_s - span_s, question.last_s,
        )  # fmt: skip
        return {
            "rows": [[shown, now, before, sent] for shown, now, before, sent, _, _ in rows],
            "keys": rows[0][4] if rows else 0,
            "lines": rows[0][5] if rows else 0,
            "crossed": is_crossed,
        }


_ENDED = "('status', 'error')"  # dimensions whose keys begin with a status
_CLASS = "CASE dimension WHEN 'status' THEN key[1] || 'xx' WHEN 'malformed' THEN 'malformed' ELSE 'lines' END"


def _once(snapshot: Snapshot) -> str:
    """Of overlapping windows so few that each line is in one."""
    return f"epoch(window_start)::BIGINT % {snapshot.window_s} = 0"


def _newest_files_first(files: list[str]) -> list[list[str]]:
    """Files by date, those without one (open windows) first, then the newest date."""
    by_date: dict[str, list[str]] = {}
    for name in files:
        _, _, rest = name.partition("date=")
        by_date.setdefault(rest[:10] or "~", []).append(name)
    return [by_date[day] for day in sorted(by_date, reverse=True)]


def _of_filter(question: Question) -> tuple[str, list[Any]]:
    """Which rows hold the lines of a filter, each line once."""
    if question.dimension:
        return "dimension = ? AND key = ?", [question.dimension, question.key]
    if question.status_class == "malformed":
        return "dimension = 'malformed'", []
    if question.status_class:
        return "dimension = 'status' AND key[1] = ?", [question.status_class[0]]
    return "dimension IN ('status', 'malformed')", []


def _crossed(question: Question, name: str) -> tuple[str, str, str, list[Any], bool]:
    """How a table heeds a filter: the dimension whose rows say it, their key, which rows, their values.

    The last is whether it does: where no row holds both, the table is of all requests.
    """
    is_all = not (question.status_class or question.dimension)
    everything: tuple[str, str, str, list[Any], bool] = (name, "key", "true", [], is_all)
    if question.dimension == name:
        return name, "key", "key = ?", [question.key], True
    status, _, endpoint = question.key.partition(" ")
    if question.dimension == "endpoint" and name == "error":
        return "error", "key", "key[5:] = ?", [question.key], True
    if question.dimension == "error" and name == "endpoint":
        return "error", "key[5:]", "key = ?", [f"{status} {endpoint}"], True
    if question.dimension == "status" and status >= "400" and name in ("error", "endpoint"):
        return "error", "key" if name == "error" else "key[5:]", "key[:3] = ?", [status], True
    if question.status_class in ("4xx", "5xx") and name in ("error", "endpoint"):
        shown = "key" if name == "error" else "key[5:]"
        return "error", shown, "key[1] = ?", [question.status_class[0]], True
    if name == "error" and not question.dimension and question.status_class in ("2xx", "3xx", "1xx"):
        return "error", "key", "false", [], True
    return everything
