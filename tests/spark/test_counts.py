"""Raw records to partial rows, in tiny frames that read as tables."""

import json
from collections import Counter
from dataclasses import replace

import polars as pl
import pyarrow as pa
import pytest
from crawleruseragents import CRAWLER_USER_AGENTS_DATA, is_crawler

from logpipe.contracts.chain import Mark
from logpipe.contracts.formats import Entry
from logpipe.digest import Digest, line_hash
from logpipe.formats.presets import preset
from windows import counts, derived
from windows.counts import CountPlan, RangeSummary, count_lines, result_of
from windows.dimensions import DIMENSIONS, Dimension

AT_MS = 807249601000  # 01/Aug/1995:00:00:01 -0400
MINUTE_S = AT_MS // 60_000 * 60
SCHEMA = pa.schema(
    [
        ("key", pa.binary()), ("value", pa.binary()), ("partition", pa.int32()), ("offset", pa.int64()),
        ("arrival_ms", pa.int64()), ("hash", pa.int64()),
    ]
)  # fmt: skip


def line(second: int = 1, host: str = "h", path: str = "/a", status: int = 200, size: str = "10") -> bytes:
    return f'{host} - - [01/Aug/1995:00:00:{second:02d} -0400] "GET {path} HTTP/1.0" {status} {size}'.encode()


def plan(time: str = "event", closed_until_ms: int | None = None, **marks: int) -> CountPlan:
    known = {(0, replay): Mark(number, 0, Digest(number, 10, 5)) for replay, number in marks.items()}
    return CountPlan(time, 60, 60, closed_until_ms, known, {}, lambda _: None)  # type: ignore[arg-type]


def batch(
    *lines: bytes, keys: list[bytes | None] | None = None, first: int = 0, arrival_ms: int = AT_MS
) -> pa.RecordBatch:
    size = len(lines)
    signed = (
        pl.Series([line_hash(value) for value in lines], dtype=pl.UInt64).reinterpret(signed=True).to_list()
    )
    return pa.record_batch(
        [
            pa.array(keys or [None] * size, pa.binary()), pa.array(lines, pa.binary()),
            pa.array([0] * size, pa.int32()), pa.array(range(first, first + size), pa.int64()),
            pa.array([arrival_ms] * size, pa.int64()), pa.array(signed, pa.int64()),
        ],
        schema=SCHEMA,
    )  # fmt: skip


def run(
    count_plan: CountPlan, *batches: pa.RecordBatch
) -> tuple[list[tuple[object, ...]], list[tuple[object, ...]]]:
    """Rows (bucket, dimension, key, lines, sent bytes) and dead letters (offset, reason, line)."""
    letters: list[pl.DataFrame] = []
    partials, _ = counted(replace(count_plan, keep=letters.append), *batches)
    rows = partials.select(pl.col("bucket_s") - MINUTE_S, "dimension", "key", "lines", "sent_bytes")
    dead = [row for frame in letters for row in frame.select("offset", "reason", "line").rows()]
    return sorted(rows.rows()), sorted(dead)


def counted(count_plan: CountPlan, *batches: pa.RecordBatch) -> tuple[pl.DataFrame, RangeSummary]:
    """What the task gives to the driver."""
    (result,) = count_lines(iter(batches), count_plan)
    (row,) = result.to_pylist()
    return result_of(**row)


def test_rows_of_two_windows() -> None:
    rows, dead = run(plan(), batch(line(1), line(2, host="i", status=404, size="-"), line(59, path="/b")))
    rows_next, _ = run(plan(), batch(line(1).replace(b"00:00:01", b"00:01:01")))
    assert rows == [
        (0, "endpoint", "/a", 2, 10),
        (0, "endpoint", "/b", 1, 10),
        (0, "error", "404 /a", 1, 0),
        (0, "host", "h", 2, 20),
        (0, "host", "i", 1, 0),
        (0, "method", "GET", 3, 20),
        (0, "status", "200", 2, 20),
        (0, "status", "404", 1, 0),
        (0, "total", "", 3, 20),
    ]
    assert (60, "total", "", 1, 10) in rows_next
    assert dead == []


def test_malformed_lines_count_in_total_and_are_kept() -> None:
    rows, dead = run(plan("arrival"), batch(line(), b"", b"\xff\x00", first=7))
    assert [row for row in rows if row[1] in ("total", "malformed")] == [
        (0, "malformed", "empty", 1, 0),
        (0, "malformed", "format", 1, 0),
        (0, "total", "", 3, 10),
    ]
    assert dead == [(8, "empty", b""), (9, "format", b"\xff\x00")]


def test_a_dead_letter_has_its_place_its_reason_and_its_bytes() -> None:
    letters: list[pl.DataFrame] = []
    counted(replace(plan(), keep=letters.append), batch(line(), b"\xff", first=7))
    (kept,) = letters
    assert kept.rows(named=True) == [{"partition": 0, "offset": 8, "reason": "format", "line": b"\xff"}]


def test_late_lines_count_and_are_kept() -> None:
    next_line = line().replace(b":00:01 ", b":09:01 ")
    rows, dead = run(plan(closed_until_ms=(MINUTE_S + 60) * 1000), batch(line(), next_line))
    assert {row[0] for row in rows} == {0, 540}
    assert dead == [(0, "late", line())]


@pytest.mark.parametrize(("closed_until_s", "late"), [(59, 0), (60, 1), (119, 1), (120, 2)])
def test_a_line_is_late_when_its_window_ended_by_then(closed_until_s: int, late: int) -> None:
    """Whichever batch of the task it comes with."""
    lines = batch(line()), batch(line().replace(b":00:01 ", b":01:01 "), first=1)
    _, seen = counted(plan(closed_until_ms=(MINUTE_S + closed_until_s) * 1000), *lines)
    assert (seen.lines, seen.late) == (2, late)


@pytest.mark.parametrize("value", [line(), line().replace(b"1995", b"2095"), b"garbage"])
def test_by_arrival_a_line_stands_where_it_came_whatever_time_it_tells(value: bytes) -> None:
    later_ms = AT_MS + 3_600_000
    partials, seen = counted(plan("arrival"), batch(value, arrival_ms=later_ms))
    assert set(partials["bucket_s"]) == {MINUTE_S + 3600}
    assert seen.max_time_ms == later_ms


def test_line_without_time_stands_at_its_arrival() -> None:
    later_ms = AT_MS + 3_600_000
    rows, _ = run(plan(), batch(b"garbage", arrival_ms=later_ms))
    assert rows == [(3600, "malformed", "format", 1, 0), (3600, "total", "", 1, 0)]


def test_summary_of_a_range_in_two_batches() -> None:
    _, seen = counted(
        plan(r=1),
        batch(line(1), line(5), keys=[b"r:1", b"r:2"], first=10),
        batch(
            line(3), b"x", line(4), b"", keys=[b"r:3", None, b"r:3", b"r:07"], first=12, arrival_ms=AT_MS + 9
        ),
    )
    assert seen == RangeSummary(
        partition=0, first_offset=10, last_offset=15, lines=4, repeats=2, late=0, malformed=2,
        line_bytes=len(line(5)) + len(line(3)) + 1, hash_sum=seen.hash_sum,
        max_arrival_ms=AT_MS + 9, max_time_ms=AT_MS + 4000, anonymous=Digest.of([b"x", b""]), foreign=1,
        marks={(0, "r"): Mark(3, AT_MS + 9, Digest(1, 10, 5) + Digest.of([line(5), line(3)]))},
    )  # fmt: skip
    assert seen.hash_sum % 2**64 == Digest.of([line(5), line(3), b"x", b""]).hash_sum


def test_marks_are_of_all_replays_that_the_range_has_whichever_batch_has_them() -> None:
    batches = [
        batch(line(1), keys=[b"r:1"]), batch(), batch(line(2), keys=[b"s:1"], first=1),
        batch(line(3), line(4), keys=[b"r:1", b"q:9"], first=2),
    ]  # fmt: skip
    _, seen = counted(plan(q=9, p=7), *batches)
    assert (seen.lines, seen.repeats, seen.last_offset) == (2, 2, 3)
    assert {place: mark.number for place, mark in seen.marks.items()} == {
        (0, "r"): 1,
        (0, "s"): 1,
        (0, "q"): 9,
    }
    _, of_one = counted(plan(), batches[0])
    assert of_one.marks == {(0, "r"): Mark(1, AT_MS, Digest.of([line(1)]))}


@pytest.mark.parametrize(
    ("ahead", "moves"), [(b"02/Aug/1995:00:00:01", True), (b"02/Aug/1995:00:00:02", False)]
)
def test_a_line_from_the_future_does_not_move_the_clock(ahead: bytes, moves: bool) -> None:
    """More than a day after it arrives; `AT_MS` is the first second of the day before."""
    _, seen = counted(plan(), batch(line(1), line(1).replace(b"01/Aug/1995:00:00:01", ahead)))
    assert seen.max_time_ms == AT_MS + (86_400_000 if moves else 0)


def test_a_range_without_any_readable_time_tells_no_time() -> None:
    _, seen = counted(plan(), batch(b"garbage"), batch(b"", first=1))
    assert (seen.lines, seen.max_time_ms) == (2, None)


def test_bytes_and_hashes_stand_with_the_total_only() -> None:
    lines = [line(), line(2, status=404)]
    partials, _ = counted(plan(), batch(*lines))
    is_total = pl.col("dimension") == "total"
    ((count, line_bytes, hash_sum),) = (
        partials.filter(is_total).select("lines", "line_bytes", "hash_sum").rows()
    )
    assert Digest(count, line_bytes, hash_sum % 2**64) == Digest.of(lines)
    assert set(partials.filter(~is_total).select("line_bytes", "hash_sum").rows()) == {(0, 0)}


def test_long_keys_are_bounded_and_stay_apart() -> None:
    first, second = ("/" + "x" * 100_000 + end for end in "ab")
    rows, _ = run(plan(), batch(line(path=first), line(path=second)))
    keys = [str(row[2]) for row in rows if row[1] == "endpoint"]
    assert len(set(keys)) == 2
    assert max(map(len, keys)) < 600


def test_real_lines_against_plain_counting(nasa_lines: list[bytes]) -> None:
    rows, _ = run(plan(), batch(*nasa_lines[:300]), batch(*nasa_lines[300:], first=300))
    expected: Counter[tuple[object, ...]] = Counter()
    for value in nasa_lines:
        parsed = preset("combined").parse_line(value)
        assert parsed.time_ms is not None
        assert parsed.status is not None
        bucket = parsed.time_ms // 60_000 * 60 - MINUTE_S
        keys = {"total": "", "method": parsed.method, "host": parsed.host, "endpoint": parsed.target,
                "status": parsed.status}  # fmt: skip
        if parsed.status >= "400":
            keys["error"] = f"{parsed.status} {parsed.target}"
        for name, key in keys.items():
            expected[bucket, name, key] += 1
    assert {row[:3]: row[3] for row in rows} == dict(expected)


def test_adding_a_dimension_is_one_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    suffix = Dimension(
        "suffix", "Kinds of file", "suffix", "target", pl.col("target").str.extract(r"\.(\w+)$")
    )
    monkeypatch.setattr(counts, "DIMENSIONS", (*DIMENSIONS, suffix))
    rows, _ = run(plan(), batch(line(path="/a.gif"), line(path="/b.gif"), line(path="/c")))
    assert (0, "suffix", "gif", 2, 20) in rows


CADDY = (
    b'{"ts":807249601.5,"request":{"remote_ip":"9.9.9.9","method":"PUT","host":"v.example","uri":"/c","headers":'
    b'{"User-Agent":["curl/8.5.0"]},"tls":{"version":772}},"status":201,"size":7,"duration":0.25}'
)
FORMATS = {
    "site": Entry("site.log", "caddy"),
    "old": Entry("old.log", "combined"),
    "nginx": Entry("n.log", "$time_iso8601 $remote_addr $status"),
}


def test_lines_are_read_by_the_format_of_their_replay() -> None:
    of_keys = {
        b"site.g7:1": CADDY,
        b"repair-1+site.g7:4": CADDY,
        b"nginx:1": b"1995-08-01T00:00:02-04:00 8.8.8.8 502",
        b"old:1": line(3, host="o"),
        b"unknown:1": line(4, host="u"),
        b"unknown:2": CADDY,
        b"no identity": line(5, host="a"),
        b"site.g8:1": line(6, host="b"),
    }
    rows, dead = run(
        replace(plan(), formats=FORMATS), batch(*of_keys.values(), keys=list[bytes | None](of_keys))
    )
    assert {row[2:4] for row in rows if row[1] == "host"} == {
        ("9.9.9.9", 2), ("8.8.8.8", 1), ("o", 1), ("u", 1), ("a", 1),
    }  # fmt: skip
    assert {row[2:4] for row in rows if row[1] == "endpoint"} == {("/c", 2), ("/a", 3)}
    assert (0, "malformed", "format", 2, 0) in rows
    assert dead == [(5, "format", CADDY), (7, "format", line(6, host="b"))]
    assert sum(row[3] for row in rows if row[1] == "total") == len(of_keys)


AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"
GOOGLEBOT = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"


def nginx_line(agent: str, latency: str, content: str = "text/html;a=b", referrer: str = "-") -> bytes:
    fields = {
        "time": "1995-08-01T00:00:01-04:00", "remote_addr": "h", "host": "www.example",
        "request": "GET / HTTP/2.0", "status": "200", "body_bytes_sent": "10", "request_time": latency,
        "http_referer": referrer, "http_user_agent": agent, "ssl_protocol": "TLSv1.3",
        "content_type": content,
    }  # fmt: skip
    return json.dumps(fields, separators=(",", ":")).encode()


def test_dimensions_of_what_the_format_has() -> None:
    lines = [
        nginx_line(AGENT, "0.001", referrer="https://user@Search.example:8443/?q=www"),
        nginx_line(AGENT, "0.001", "image/png", "android-app://com.app/x"),
        nginx_line(GOOGLEBOT, "0.250", "application/problem+json", "nothing"),
        nginx_line("", "-", ""),
        b"{}",
    ]
    keys: list[bytes | None] = [f"js:{number}".encode() for number in range(1, 6)]
    rows, _ = run(replace(plan(), formats={"js": Entry("js.log", "nginx_json")}), batch(*lines, keys=keys))
    found: dict[str, dict[str, int]] = {}
    for _, dimension, key, count, _ in rows:
        found.setdefault(str(dimension), {})[str(key)] = int(str(count))
    assert {name: found[name] for name in found if name not in ("total", "host", "method", "endpoint")} == {
        "log": {"js.log": 5},
        "status": {"200": 4},
        "vhost": {"www.example": 4},
        "referrer": {"search.example": 1, "com.app": 1},
        "agent": {"Firefox": 2, "Googlebot": 1},
        "os": {"Linux": 2, "Other": 1},
        "bot": {"no bot": 2, "bot": 1},
        "content": {"page": 1, "image": 1, "data": 1},
        "tls": {"TLSv1.3": 4},
        "latency": {"992": 2, "245760": 1},
        "malformed": {"format": 1},
    }


def test_an_agent_stands_in_each_window_that_it_came_in() -> None:
    combined = line() + b' "-" "curl/8.5.0"'
    other = combined.replace(b"curl/8.5.0", b"curl/7.0")
    later = combined.replace(b":00:01 ", b":02:01 ")
    rows, _ = run(plan(), batch(combined, other, later))
    assert [row for row in rows if row[1] == "agent"] == [
        (0, "agent", "curl", 2, 20),
        (120, "agent", "curl", 1, 10),
    ]


def test_what_a_format_lacks_has_no_rows_and_costs_no_look(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(derived, "_parsed", None)
    monkeypatch.setattr(derived, "_crawlers", None)
    rows, _ = run(plan(), batch(line(), line(2), b""))
    assert {row[1] for row in rows} == {"total", "method", "host", "endpoint", "status", "malformed"}
    combined = line() + b' "http://r.example/" "curl/8.5.0"'
    with pytest.raises(TypeError):
        run(plan(), batch(combined))


def test_an_agent_that_comes_often_is_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def bot(agents: pl.Series) -> pl.Series:
        seen.append(sorted(agents))
        return agents

    own = Dimension("own", "Own", "own", "user_agent", derive=bot)
    monkeypatch.setattr(counts, "DIMENSIONS", (own,))
    combined = [line(second) + b' "-" "agent %d"' % (second % 3) for second in range(60)]
    later = [each.replace(b"01/Aug", b"02/Aug") for each in combined]
    rows, _ = run(plan(), batch(*combined, *later))
    assert seen == [["agent 0", "agent 1", "agent 2"]]
    assert sum(int(str(row[3])) for row in rows) == 120


def test_every_known_crawler_is_told_as_its_library_tells_it() -> None:
    agents = [agent for each in CRAWLER_USER_AGENTS_DATA for agent in each.get("instances", [])][::7]
    agents += [AGENT, "", "x" * 10_000, "Mozilla/5.0"]
    assert derived.bot(pl.Series(agents)).to_list() == [
        "bot" if is_crawler(agent) else "no bot" for agent in agents
    ]


def test_what_is_read_does_not_depend_on_what_comes_along() -> None:
    keys: list[bytes | None] = [b"site:1", b"old:1", b"unknown:1", None]
    lines = [CADDY, line(host="o"), CADDY, line(host="x")]
    count_plan = replace(plan(), formats=FORMATS)
    together, dead = run(count_plan, batch(*lines, keys=keys))
    apart = [
        run(count_plan, batch(value, keys=[key], first=at))
        for at, (key, value) in enumerate(zip(keys, lines, strict=True))
    ]
    summed: Counter[tuple[object, ...]] = Counter()
    for rows, _ in apart:
        for bucket, dimension, key, count, _ in rows:
            summed[bucket, dimension, key] += int(str(count))
    assert summed == {row[:3]: row[3] for row in together}
    assert [letter for _, letters in apart for letter in letters] == dead


def test_a_range_of_nothing_but_repeats_says_so() -> None:
    partials, seen = counted(plan(r=9), batch(line(1), keys=[b"r:3"]))
    assert partials.is_empty()
    assert (seen.lines, seen.repeats) == (0, 1)
    assert list(count_lines(iter([]), plan())) == []
