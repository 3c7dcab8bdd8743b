"""The page's questions to the windows, held against DuckDB over the very lines that these count."""

import math
import random
import re
from collections import Counter
from datetime import UTC, datetime

import duckdb
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from logpipe.alerts.rules import load
from logpipe.page.alerts import read_windows
from logpipe.page.store import Mirror, Snapshot
from logpipe.page.traffic import KEYED, TABLES, Question, QuestionError, Traffic, step_of
from logpipe.settings import PROJECT_DIR, parse
from logpipe.windows.commit import Commit, WindowsError
from logpipe.windows.latency import SHARES, buckets
from windows.dimensions import DIMENSIONS

BEGIN_S = 1_773_100_800  # 2026-03-10 00:00 UTC
DAYS = 3
LINES = 6000
ERROR = "status >= '400'"


def lines():
    chance = random.Random(7)
    for _ in range(LINES):
        at = BEGIN_S + int(chance.triangular(0, DAYS * 86400, 86400))
        if chance.random() < 0.02:
            yield at, None, None, None, None, 0
            continue
        status = chance.choices(("200", "304", "404", "403", "500"), (70, 12, 10, 3, 5))[0]
        yield (
            at, f"h{int(chance.expovariate(0.1))}", chance.choice(("GET", "GET", "POST")),
            f"/{int(chance.expovariate(0.2))} a'b", status, chance.randrange(9000),
        )  # fmt: skip


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """The lines as a table, and a service's view of their windows in files by date, each row in two parts."""
    folder = tmp_path_factory.mktemp("windows")
    over = duckdb.connect()
    columns = "came BIGINT, host TEXT, method TEXT, endpoint TEXT, status TEXT, sent BIGINT"
    over.execute(f"CREATE TABLE lines ({columns})")
    names = [column.split()[0] for column in columns.split(", ")]
    table = pa.table(dict(zip(names, zip(*lines(), strict=True), strict=True)))
    over.register("drawn", table)
    over.execute("INSERT INTO lines SELECT * FROM drawn")
    keys = {
        "total": "''", "host": "host", "method": "method", "endpoint": "endpoint", "status": "status",
        "error": f"CASE WHEN {ERROR} THEN status || ' ' || endpoint END",
        "malformed": "CASE WHEN host IS NULL THEN 'format' END",
    }  # fmt: skip
    rows = " UNION ALL ".join(
        f"SELECT to_timestamp(came // 60 * 60) AS window_start, '{name}' AS dimension, {key} AS key, "
        "count(*) AS lines, sum(sent)::BIGINT AS sent_bytes FROM parts "
        f"WHERE {key} IS NOT NULL GROUP BY ALL"
        for name, key in keys.items()
    )
    copies = {}
    for day in range(DAYS):
        for part in (0, 1):
            first = BEGIN_S + day * 86400
            date = datetime.fromtimestamp(first, UTC).date().isoformat()
            path = folder / f"{date}-{part}.parquet"
            over.execute(
                f"""COPY (WITH parts AS (SELECT * FROM lines
                    WHERE came >= {first} AND came < {first + 86400} AND rowid % 2 = {part}) {rows})
                    TO '{path}' (FORMAT parquet)"""
            )
            copies[f"/windows/date={date}/{part}.parquet"] = path
    mirror = Mirror(parse(state_dir=folder / "state"), folder)
    open_from_s = BEGIN_S + DAYS * 86400 - 600
    commit = Commit(5, "batch", {"window_s": 60}, "t", watermark_ms=open_from_s * 1000)
    mirror.take(Snapshot(commit, {name: name for name in copies}), copies)
    return over, Traffic(mirror)


NOW_S = BEGIN_S + DAYS * 86400
RANGES = [
    {"last": "900"}, {"last": "86400"}, {"last": "604800"}, {"last": "31536000"},
    {"from": str(BEGIN_S + 80_000), "to": str(BEGIN_S + 95_000)},
]  # fmt: skip
FILTERS = [
    ({}, "true"),
    ({"class": "4xx"}, "status[1] = '4'"),
    ({"class": "malformed"}, "host IS NULL"),
    ({"dimension": "host", "key": "h3"}, "host = 'h3'"),
    ({"dimension": "endpoint", "key": "/1 a'b"}, "endpoint = '/1 a''b'"),
    ({"dimension": "error", "key": "404 /1 a'b"}, "status = '404' AND endpoint = '/1 a''b'"),
    ({"dimension": "method", "key": "POST"}, "method = 'POST'"),
    ({"dimension": "host", "key": "'; DROP TABLE rows; --"}, "false"),
]


@pytest.mark.parametrize("asked", RANGES)
@pytest.mark.parametrize(("chosen", "where"), FILTERS)
def test_figures_are_those_of_the_lines(counted, asked, chosen, where):
    over, traffic = counted
    found = traffic.answer(asked | chosen, NOW_S)
    first, last = found["from"], found["to"]
    span = last - first

    def lines_of(begin, end):
        return over.execute(
            "SELECT count(*), coalesce(sum(sent), 0) FROM lines "
            f"WHERE came >= {begin} AND came < {end} AND {where}"
        ).fetchone()

    totals = found["totals"]
    assert (totals["lines"], totals["bytes"]) == lines_of(first, last)
    assert (totals["before"]["lines"], totals["before"]["bytes"]) == lines_of(first - span, first)
    for name, digit in (("errors_4xx", 4), ("errors_5xx", 5)):
        known = over.execute(
            f"SELECT count(*) FROM lines WHERE came >= {first} AND came < {last} AND {where} "
            f"AND status LIKE '{digit}%'"
        ).fetchone()
        says_status = chosen.get("dimension", "status") in ("status", "error")
        assert totals[name] == (known[0] if says_status else None)
    series = found["series"]
    begun = over.execute(
        f"SELECT (came - {first}) // {found['step_s']} FROM lines "
        f"WHERE came >= {first} AND came < {last} AND {where}"
    ).fetchall()
    steps = Counter(step for (step,) in begun)
    assert [sum(each) for each in zip(*series["lines"].values(), strict=True)] == (
        [steps[number] for number in range(len(series["t"]))] if series["lines"] else []
    )
    assert sum(series["bytes"]) == totals["bytes"]
    for name in ("host", "endpoint", "error"):
        table = found["tables"][name]
        shown = {"error": f"CASE WHEN {ERROR} THEN status || ' ' || endpoint END"}.get(name, name)
        # What the filter does not reach is told to be of all requests, and is.
        kept = where if table["crossed"] else "true"
        expected = over.execute(
            f"""SELECT {shown} AS shown, count(*) FILTER (came >= {first}) AS now,
                count(*) FILTER (came < {first}), sum(sent) FILTER (came >= {first})
                FROM lines
                WHERE came >= {first - span} AND came < {last} AND {kept} AND {shown} IS NOT NULL
                GROUP BY shown HAVING now > 0 ORDER BY now DESC, shown"""
        ).fetchall()
        if chosen.get("class") == "malformed" or chosen.get("dimension") == "method":
            assert not table["crossed"]
        assert [tuple(row) for row in table["rows"]] == expected[: len(table["rows"])]
        assert (table["keys"], len(table["rows"])) == (len(expected), min(12, len(expected)))


def test_steps_begin_with_the_readers_hours_and_days(counted):
    _, traffic = counted
    shift = 19_800  # +05:30
    found = traffic.answer({"last": "2592000", "shift": str(shift)}, NOW_S)
    assert found["step_s"] == 14_400
    assert {(at + shift) % found["step_s"] for at in found["series"]["t"]} == {0}


def test_a_live_range_ends_now_or_where_the_windows_end():
    assert Question.of({"last": "3600"}, 60, NOW_S - 60, NOW_S + 5).last_s == NOW_S + 60
    # A log of long ago, counted by the time in it: what there is of it is shown.
    long_ago = Question.of({"last": "3600"}, 60, BEGIN_S, NOW_S + 10**8)
    assert (long_ago.first_s, long_ago.last_s) == (BEGIN_S - 3540, BEGIN_S + 60)


@pytest.mark.parametrize("window_s", [10, 60, 90, 300, 3600, 86400, 604800])
@pytest.mark.parametrize("span_s", [900, 3600, 86400, 31_536_000])
def test_a_step_holds_whole_windows(window_s, span_s):
    step_s = step_of(span_s, window_s)
    assert step_s % window_s == 0
    assert span_s / step_s <= 800


@pytest.mark.parametrize(
    "values",
    [
        {"last": "x"}, {"last": "1e400"}, {"from": "5", "to": "5"}, {"from": "9", "to": "5"},
        {"from": "0", "to": "99999999999"}, {"class": "6xx"}, {"dimension": "key"}, {"shift": "-999999"},
    ],
)  # fmt: skip
def test_what_cannot_work_is_refused_in_words(counted, values):
    with pytest.raises(QuestionError, match=next(iter(values)) if len(values) == 1 else "range"):
        counted[1].answer(values, NOW_S)


def test_before_the_first_commit_it_is_said_that_nothing_is_known(tmp_path):
    with pytest.raises(WindowsError, match="Nothing is known"):
        Traffic(Mirror(parse(state_dir=tmp_path), tmp_path)).answer({})


@pytest.mark.parametrize("ago_s", [0, 86_400 + 1800, 2 * 86_400 + 60])
def test_rules_look_at_the_figures_of_the_lines(counted, ago_s):
    over, traffic = counted
    now_s = NOW_S - ago_s
    rules = load()
    found = read_windows(traffic, rules, now_s)

    def lines_of(first_s, last_s):
        return over.execute(
            f"""SELECT count(*), count(*) FILTER (status[1] = '5'), count(*) FILTER (host IS NULL)
                FROM lines WHERE came >= {first_s} AND came < {last_s}"""
        ).fetchone()

    for burn in rules.errors.burns.values():
        for span_s in (burn.long_s, burn.short_s):
            assert found.counts.sums(now_s - span_s, now_s) == lines_of(now_s - span_s, now_s)
    assert found.counts.sums(0, NOW_S) == lines_of(now_s - 259_200, now_s), "and none that is younger"
    bad = over.execute(
        f"""SELECT count(*) FROM (SELECT avg((status[1] = '5')::INT) AS failed FROM lines
            WHERE host IS NOT NULL AND came >= {now_s - 21_600} AND came < {now_s}
            GROUP BY came // 60) WHERE failed >= 0.5"""
    ).fetchone()[0]
    assert found.counts.bad_minutes(now_s - 21_600, now_s, 0.5) == bad
    assert (found.step, found.since_s) == (5, BEGIN_S)
    late_s = now_s - 300
    hosts = over.execute(
        f"""SELECT host, count(*) FILTER (came >= {late_s}) AS late, count(*) FILTER (came < {late_s})
            FROM lines WHERE came >= {late_s - 3600} AND came < {now_s} AND host IS NOT NULL
            GROUP BY host HAVING late > 0 ORDER BY late DESC, host LIMIT 5"""
    ).fetchall()
    assert list(found.hosts) == hosts


def test_what_formats_have_is_shown_where_there_is_any(tmp_path):
    """Tables of the dimensions that the range has, and percentiles of latencies within their error."""
    chance = random.Random(5)
    took_us = [int(chance.lognormvariate(9, 1.5)) for _ in range(2000)]
    rows = Counter()
    for number, bucket_us in enumerate(buckets(pl.Series(took_us))):
        at = BEGIN_S + number // 500 * 60
        rows[at, "latency", str(bucket_us)] += 1
        rows[at, "total", ""] += 1
        rows[at, "status", "200"] += 1
        rows[at, "log", f"log{number % 2}"] += 1
        rows[at, "vhost", f"v{number % 3}"] += 1
    path = tmp_path / "a.parquet"
    columns = zip(
        *[(datetime.fromtimestamp(at, UTC), *key, count, 1) for (at, *key), count in rows.items()],
        strict=True,
    )
    names = ("window_start", "dimension", "key", "lines", "sent_bytes")
    pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), path)
    name = "/windows/date=2026-03-10/a.parquet"
    mirror = Mirror(parse(state_dir=tmp_path / "state"), tmp_path)
    mirror.take(Snapshot(Commit(1, "batch", {"window_s": 60}, "t"), {name: name}), {name: path})
    traffic = Traffic(mirror)
    asked = {"from": str(BEGIN_S), "to": str(BEGIN_S + 300)}
    found = traffic.answer(asked, NOW_S)
    assert [row[0] for row in found["tables"]["vhost"]["rows"]] == ["v0", "v1", "v2"]
    assert found["tables"].keys() == {"host", "endpoint", "error", "log", "vhost"}
    latency = found["latency"]
    parts = [took_us[at : at + 500] for at in range(0, 2000, 500)]
    for name, share in SHARES.items():
        *shown, last = latency["ms"][name]
        assert last is None
        for value, part in zip([*shown, latency["in_all_ms"][name]], [*parts, took_us], strict=True):
            true = sorted(part)[math.ceil(share * len(part)) - 1] / 1000
            assert value == pytest.approx(true, rel=latency["relative_error"])
    of_log = traffic.answer(asked | {"dimension": "log", "key": "log1"}, NOW_S)
    assert of_log["totals"]["lines"] == 1000
    earlier = traffic.answer({"from": str(BEGIN_S - 300), "to": str(BEGIN_S)}, NOW_S)
    assert (earlier["latency"], earlier["tables"].keys()) == (None, {"host", "endpoint", "error"})


def test_every_dimension_has_its_place_on_the_page():
    names = {dimension.name for dimension in DIMENSIONS}
    assert names - set(KEYED) == {"total", "malformed"}
    titles = (PROJECT_DIR / "plugins/logpipe/airflow/page/www/traffic.js").read_text()
    titles = re.search(r"const TABLES = \{(.*?)\};", titles, re.DOTALL)[1]
    assert set(re.findall(r"(\w+): \"", titles)) == set(TABLES)
