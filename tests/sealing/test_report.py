"""The report of a sealed day: each figure against a count that knows nothing of parsers or DuckDB."""

import json
import random
import re
import subprocess
import sys
from collections import Counter
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import NamedTuple

import pytest
import xxhash

from logpipe.accounting import lines as hdfs_lines
from logpipe.accounting.lines import DamagedError
from logpipe.accounting.verify import verify
from logpipe.report import figures
from logpipe.report.day import days_without, make_report
from logpipe.sealing.forget import forget
from logpipe.sealing.repair import repair
from logpipe.sealing.seal import seal
from logpipe.settings import zone_of
from tests.sealing.chain_writer import DAY, Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ZONE = "Asia/Kolkata"  # half an hour beside the others
DAY_BEFORE, WEEK_BEFORE = DAY - timedelta(days=1), DAY - timedelta(days=7)
HOSTS = ["<b>host</b>", "10.0.0.1", "10.0.0.2", "::1", "ümlaut.example", *(f"h{n}" for n in range(150))]
LONG = "/" + "a" * 700
ENDPOINTS = ["/", "/<script>alert(1)</script>", LONG, "/sch%C3%B6n?x=1&y=2", "/\u202eevil", "/bell\x07"]
ENDPOINTS += [f"/page/{number}" for number in range(120)]
AGENTS = [None, "-", "Mozilla/5.0 (X11)", 'odd \\"quoted\\" <i>', "bot"]
MALFORMED = {
    b"": "empty",
    b"<script>document.title = 'owned'</script>": "format",
    b"\x1b]0;title\x07\xff\xfe no line of a log": "format",
    b'h - - [31/Foo/2026:00:00:00 +0000] "GET / HTTP/1.0" 200 1': "time",
    b'h - - [10/Mar/2026:00:00:00 +0000] "\x16\x03\x01" 400 1': "request",
    b"x" * 5_000: "format",
}


class Request(NamedTuple):
    host: str
    method: str
    endpoint: str
    status: str
    sent: str
    at: datetime
    agent: str | None

    def line(self) -> bytes:
        behind = "" if self.agent is None else f' "http://from.example/" "{self.agent}"'
        head = f'{self.host} - - [{self.at:%d/%b/%Y:%H:%M:%S %z}] "{self.method} {self.endpoint} HTTP/1.1"'
        return f"{head} {self.status} {self.sent}{behind}".encode()

    @property
    def bytes(self) -> int:
        return int(self.sent.replace("-", "0"))


def requests(seed: int, count: int) -> list[Request]:
    draw = random.Random(seed)
    midnight = datetime.combine(DAY, datetime.min.time(), UTC)
    return [
        Request(
            draw.choice(HOSTS[: draw.randint(1, len(HOSTS))]),
            draw.choice(["GET", "GET", "GET", "POST", "HEAD"]),
            draw.choice(ENDPOINTS[: draw.randint(1, len(ENDPOINTS))]),
            draw.choice(["200", "200", "304", "302", "404", "404", "403", "500", "100", "999"]),
            draw.choice(["-", "0", "7", "123456", "9" * 18]),
            (midnight + timedelta(seconds=draw.randint(-90_000, 90_000))).astimezone(
                timezone(timedelta(hours=draw.choice([-4, 0, 2]), minutes=draw.choice([0, 30])))
            ),
            draw.choice(AGENTS),
        )
        for _ in range(count)
    ]


def key_of(text: str) -> str:
    return text if len(text) <= 512 else f"{text[:512]}…{xxhash.xxh64_hexdigest(text.encode())}"


def instant(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="seconds")


def table(keyed: list[tuple[str, Request]], most: int, *, with_first: bool = False) -> dict[str, object]:
    """The rows with the most requests, counted by hand."""
    counts = Counter(key for key, _ in keyed)
    rows = []
    for key, count in sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:most]:
        mine = [one for each, one in keyed if each == key]
        row: dict[str, object] = {"key": key, "requests": count, "sent_bytes": sum(one.bytes for one in mine)}
        rows.append(row | ({"first_at": instant(min(one.at for one in mine))} if with_first else {}))
    return {"distinct": len(counts), "top": rows}


def counted(found: list[Request]) -> dict[str, object]:
    """What a report shall say of requests."""

    def class_of(one: Request) -> str:
        return f"{one.status[0]}xx" if one.status[0] in "12345" else "other"

    names = ("1xx", "2xx", "3xx", "4xx", "5xx", "other")
    by_hour: dict[int, list[Request]] = {hour: [] for hour in range(24)}
    for one in found:
        by_hour[one.at.astimezone(zone_of(ZONE)).hour].append(one)
    errors = [(key_of(f"{one.status} {one.endpoint}"), one) for one in found if one.status >= "400"]
    return {
        "requests": len(found),
        "visitors": len({(one.host, None if one.agent == "-" else one.agent) for one in found}),
        "sent_bytes": sum(one.bytes for one in found),
        "classes": {name: sum(class_of(one) == name for one in found) for name in names},
        "hours": [
            {
                "hour": hour,
                "classes": {name: sum(class_of(one) == name for one in mine) for name in names},
                "sent_bytes": sum(one.bytes for one in mine),
            }
            for hour, mine in by_hour.items()
        ],
        "elsewhere": sum(one.at.astimezone(zone_of(ZONE)).date() != DAY for one in found),
        "first_at": instant(min(one.at for one in found)),
        "last_at": instant(max(one.at for one in found)),
        "hosts": table([(one.host, one) for one in found], 100),
        "endpoints": table([(key_of(one.endpoint), one) for one in found], 100),
        "errors": table(errors, 500, with_first=True),
        "methods": table([(one.method, one) for one in found], 20),
        "statuses": table([(one.status, one) for one in found], 20),
    }


class Day(NamedTuple):
    pipeline: Pipeline
    found: list[Request]
    report: dict[str, object]


@pytest.fixture(scope="module")
def three(kafka_of_all, hdfs_of_all, tmp_path_factory) -> Day:
    """A day with requests and lines that are none, in two partitions, behind two days that have reports."""
    folder = tmp_path_factory.mktemp("three")
    pipeline = Pipeline(kafka_of_all.ensure(), hdfs_of_all.ensure(), folder, ZONE)
    sent = {WEEK_BEFORE: requests(1, 300), DAY_BEFORE: requests(2, 500), DAY: requests(3, 2_000)}
    ends = [0, 0]
    for day, found in sent.items():
        own = [one.line() for one in found] + (list(MALFORMED) if day == DAY else [])
        for partition, lines in enumerate((own[::2], own[1::2])):
            pipeline.send(
                lines, day, partition=partition, replay=f"replay{partition}", first_number=ends[partition] + 1
            )
            ends[partition] += len(lines)
            pipeline.link(ends[partition], partition)
        assert seal(pipeline.settings, day, target_bytes=50_000)
        report = make_report(pipeline.settings, day)
        assert report is not None
    return Day(pipeline, sent[DAY], report)


def test_every_figure_is_that_of_the_lines(three):
    pipeline, found, report = three
    written = pipeline.hdfs.read(f"{pipeline.folder()}/_report.json")
    assert json.loads(written) == json.loads(json.dumps(report))
    expected = counted(found)
    before = {
        row["key"]
        for row in table(
            [
                (key_of(f"{one.status} {one.endpoint}"), one)
                for one in requests(2, 500)
                if one.status >= "400"
            ],
            10_000,
        )["top"]
    }
    for row in expected["errors"]["top"]:
        row["is_new"] = row["key"] not in before
    assert {name: report[name] for name in expected} == expected
    assert {row["is_new"] for row in report["errors"]["top"]} == {True, False}
    assert report["malformed"] == len(MALFORMED)
    assert report["reasons"] == dict(sorted(Counter(MALFORMED.values()).items()))
    for name, seed, count, day in (("day_before", 2, 500, DAY_BEFORE), ("week_before", 1, 300, WEEK_BEFORE)):
        then = counted(requests(seed, count))
        names = ("requests", "visitors", "sent_bytes", "classes")
        assert report["before"][name] == {each: then[each] for each in names} | {
            "date": day.isoformat(),
            "malformed": 0,
        }
    sums, sealed = report["accounting"], pipeline.sealed()
    lines = [one.line() for one in found] + list(MALFORMED)
    assert sums["lines"] == len(lines)
    assert sums["digest"] == sealed.digest.to_json()
    assert sum(row["lines"] for row in sums["replays"]["top"]) == len(lines)
    assert [(row["partition"], row["lines"]) for row in sums["chains"]["top"]] == [(0, 1003), (1, 1003)]
    assert (sums["repeats"], sums["foreign"], sums["expired"], sums["anonymous"]) == (0, 0, 0, 0)
    assert len(sealed.files) > 1


def test_examples_are_the_first_lines_of_each_reason_and_shown_as_text(three):
    shown = {
        (each["reason"], "".join(text for text, _ in each["text"]), each["cut"])
        for each in three.report["examples"]
    }
    assert shown == {
        ("empty", "", 0),
        ("format", "<script>document.title = 'owned'</script>", 0),
        ("format", r"ESC]0;title\x07\xff\xfe no line of a log", 0),
        ("format", "x" * 400, 4_600),
        ("time", 'h - - [31/Foo/2026:00:00:00 +0000] "GET / HTTP/1.0" 200 1', 0),
        ("request", r'h - - [10/Mar/2026:00:00:00 +0000] "\x16\x03\x01" 400 1', 0),
    }


class Seen(HTMLParser):
    """What a browser would see: elements, their attributes, text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_one_file_without_script_whatever_lines_hold(three):
    page = three.pipeline.hdfs.read(f"{three.pipeline.folder()}/_report.html").decode()
    seen = Seen(page)
    assert set(seen.tags) & {"script", "img", "link", "iframe", "object", "form", "b", "i"} == {"b"}
    assert seen.tags["b"] == 4, "the sentence's own"
    assert [name for name, _ in seen.attributes if name.startswith("on") or name == "style"] == []
    links = {value for name, value in seen.attributes if name in ("href", "src")}
    assert links == {"_report.json", "../26-03-09/_report.html", "../26-03-03/_report.html"}
    assert "url(" not in page
    assert "@import" not in page
    assert "<script>alert(1)</script>" in seen.text
    assert "<b>host</b>" in seen.text
    assert not re.search(r"[\x00-\x08\x0e-\x1f\u202e]", page)
    report = three.report
    for figure in (report["requests"], report["visitors"], report["before"]["day_before"]["requests"]):
        assert f"{figure:,}" in seen.text
    for name in ("hosts", "endpoints", "errors"):
        for row in report[name]["top"][:20]:
            assert f"{row['requests']:,}" in seen.text
    assert seen.tags["rect"] > 24


def test_it_is_the_same_whenever_and_in_however_many_pieces_it_is_made(three, monkeypatch):
    pipeline = three.pipeline
    before = [pipeline.hdfs.read(f"{pipeline.folder()}/_report.{kind}") for kind in ("json", "html")]
    monkeypatch.setattr(hdfs_lines, "BATCH_BYTES", 20_000)
    monkeypatch.setattr(figures, "FOLD_ROWS", 500)
    make_report(pipeline.settings, DAY)
    assert [pipeline.hdfs.read(f"{pipeline.folder()}/_report.{kind}") for kind in ("json", "html")] == before
    assert not (pipeline.settings.state_dir / "report").exists()
    assert pipeline.names(f"{pipeline.root}/_sealing") == []


def test_it_belongs_to_the_day_and_goes_with_its_lines(three):
    pipeline = three.pipeline
    assert days_without(pipeline.settings) == []
    for name in ("_report.html", "_report.json"):
        pipeline.hdfs.delete(f"{pipeline.folder(DAY_BEFORE)}/{name}")
    assert days_without(pipeline.settings) == [DAY_BEFORE]
    assert make_report(pipeline.settings, DAY)["before"]["day_before"] is None
    assert repair(pipeline.settings, DAY).done == []
    assert verify(pipeline.settings).problems == ()
    forget(pipeline.settings, DAY)
    assert pipeline.hdfs.status(pipeline.folder()) is None
    assert make_report(pipeline.settings, DAY) is None
    assert pipeline.hdfs.status(pipeline.folder()) is None


def run_program(pipeline: Pipeline, day: str) -> tuple[int, dict[str, object]]:
    command = [sys.executable, "-m", "logpipe.report"]
    done = subprocess.run(
        command, env=pipeline.environment(), input=day.encode(), capture_output=True, timeout=120
    )
    return done.returncode, json.loads(done.stdout)


def test_a_damaged_day_has_no_report_and_says_what_mends_it(pipeline):
    pipeline.send([b"a", b"b"])
    pipeline.link(2)
    assert run_program(pipeline, f"{DAY}\n") == (
        0, {"date": f"{DAY}", "status": "absent", "reason": "it is not sealed, or was forgotten"},
    )  # fmt: skip
    seal(pipeline.settings, DAY)
    pipeline.put("apache_logs-1.log", b"a\nc\n")
    with pytest.raises(DamagedError, match=f"`make repair DATE={DAY}` mends it"):
        make_report(pipeline.settings, DAY)
    status, told = run_program(pipeline, f"{DAY}\n")
    assert (status, told["status"]) == (1, "error")
    assert [name for name in pipeline.names(pipeline.folder()) if "report" in name] == []
    repair(pipeline.settings, DAY)
    status, told = run_program(pipeline, f"{DAY}\n")
    assert (status, told["status"], told["requests"], told["malformed"]) == (0, "reported", 0, 2)
