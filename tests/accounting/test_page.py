"""The page's service against a real topic and a real HDFS, whose chains are written as agent 2 would."""

import signal
from contextlib import contextmanager
from datetime import UTC, datetime
from urllib.parse import urlencode

import duckdb
import httpx
import pytest

from logpipe.clients.formats import FormatRegistry
from logpipe.clients.hdfs import Hdfs
from logpipe.formats.presets import preset
from logpipe.hosts.layout import Layout
from logpipe.page import lines as page_lines
from logpipe.page.days import DaysReader
from logpipe.page.lines import LinesQuestion, LinesReader
from logpipe.page.sql import connect
from logpipe.serving import USER
from tests.accounting.pipeline import DAY, NOON_MS, PARTITIONS, Pipeline, nasa_lines
from tests.machine import Service
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = nasa_lines(3_000)
HOSTILE = [
    b'evil.example - - [01/Jul/1995:00:00:01 -0400] "GET /<script>alert(1)</script> HTTP/1.0" 404 7',
    b"\x1b]0;title\x07\xff\xfe no line of a log",
    b'long.example - - [01/Jul/1995:00:00:01 -0400] "GET /' + b"a" * 900_000 + b' HTTP/1.0" 404 7',
]


@pytest.fixture
def whole(pipeline: Pipeline) -> Pipeline:
    """A replay that arrived everywhere, with hostile lines."""
    pipeline.send("a", LINES + HOSTILE)
    pipeline.record("a", LINES + HOSTILE)
    pipeline.write()
    pipeline.count(watermark_ms=None)
    pipeline.write_windows()
    return pipeline


@pytest.fixture
def make_client(tmp_path):
    """Asks the service of a pipeline, which runs as the process host would run it."""

    @contextmanager
    def made(pipeline):
        secrets = Layout.of(pipeline.settings).secrets()
        service = Service.of("page", pipeline.settings, tmp_path / "page.log").start()
        try:
            address = f"http://localhost:{pipeline.settings.page_port}"
            with httpx.Client(base_url=address, auth=(USER, secrets["page_password"])) as client:
                yield client
        finally:
            service.end()
        assert service.process is not None
        assert service.process.returncode == 0, service.log.read_text()

    return made


@pytest.fixture
def client(whole: Pipeline, make_client):
    with make_client(whole) as client:
        yield client


def flow(client):
    return client.get("/flow").json()


def stations(client):
    return {station["name"]: station for station in flow(client)["stations"]}


def test_every_route_asks_for_the_password_but_health(client):
    for path in ("/flow", "/traffic", "/days", "/replays", "/lines", "/alerts", "/metrics", "/none"):
        assert httpx.get(f"{client.base_url}{path}").status_code == 401
        assert httpx.get(f"{client.base_url}{path}", auth=(USER, "wrong")).status_code == 401
    assert httpx.get(f"{client.base_url}/health").status_code == 200


def test_the_flow_tells_of_each_station_and_of_the_sum(client, whole):
    wait_until(lambda: flow(client)["accounting"], 30, "an accounting")
    wait_until(lambda: stations(client)["windows"]["lines"], 30, "the windows")
    found = stations(client)
    total = len(LINES + HOSTILE)
    assert {name: found[name]["lines"] for name in ("source", "topic", "hdfs", "windows")} == dict.fromkeys(
        ("source", "topic", "hdfs", "windows"), total
    )
    assert [found[name]["behind"] for name in ("agent2", "hdfs", "windows")] == [0, 0, 0]
    told = flow(client)["accounting"]
    assert (told["source"], told["lost"], told["doubled"], told["in_flight"]) == (total, 0, 0, 0)
    # What is not there is said to be away, and nothing is guessed.
    assert {"agent1", "agent2", "processes"} <= flow(client)["away"].keys()

    whole.send("a", LINES[:300], first=total + 1)
    wait_until(lambda: stations(client)["hdfs"]["behind"] == 300, 30, "new lines to be behind")
    assert stations(client)["windows"]["behind"] == 300
    wait_until(lambda: stations(client)["hdfs"]["behind_s"], 30, "time to pass")


def test_a_topic_that_is_not_provisioned_yet_is_no_failure(pipeline, kafka, make_client):
    kafka.delete_topic(pipeline.name)
    with make_client(pipeline) as client:
        wait_until(lambda: stations(client)["topic"]["lines"] == 0, 30, "the topic's absence to be seen")
        wait_until(lambda: client.get("/days").json()["days"] == [], 30, "no days")
        told = flow(client)
        assert not {"topic", "hdfs", "windows"} & told["away"].keys()
        assert told["accounting"] is None


def test_nothing_new_is_told_in_a_few_bytes(client):
    wait_until(lambda: flow(client)["accounting"], 30, "an accounting")
    answer = client.get("/days")
    wait_until(lambda: client.get("/days").json()["days"], 30, "the days")
    answer = client.get("/days")
    again = client.get("/days", headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_it_goes_on_answering_when_stores_are_frozen(client, hdfs, kafka):
    wait_until(lambda: stations(client)["windows"]["lines"], 30, "the windows")
    parts = (hdfs.namenode, kafka.service)
    for part in parts:
        part.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: {"hdfs", "topic"} <= flow(client)["away"].keys(), 60, "both to be said to be away")
        found = stations(client)
        assert found["hdfs"]["lines"] == len(LINES + HOSTILE)
        assert found["hdfs"]["state"] == found["topic"]["state"] == "away"
        assert flow(client)["away"]["hdfs"]["at"] > 0
        answer = client.get("/traffic", params={"from": NOON_MS // 1000, "to": NOON_MS // 1000 + 60})
        assert answer.json()["totals"]["lines"] == len(LINES + HOSTILE)
    finally:
        for part in parts:
            part.send_signal(signal.SIGCONT)
    wait_until(lambda: not {"hdfs", "topic", "windows"} & flow(client)["away"].keys(), 60, "their return")


def test_days_are_told_from_their_open_to_their_forgotten_state(whole):
    def days():
        return {day.date: day for day in DaysReader(whole.settings).read()}

    day = f"20{DAY}"
    size = sum(len(line) + 1 for line in LINES + HOSTILE)
    found = days()[day]
    assert (found.state, found.lines, found.size_bytes) == ("open", len(LINES + HOSTILE), size)
    first = [len(records) for records in whole.topic]
    whole.send("b", LINES[:90])
    whole.write(until=[first[0] + 10, first[1] + 10, first[2] + 10])
    assert days()[day].lines == len(LINES + HOSTILE) + sum(
        min(10, len(records) - before) for records, before in zip(whole.topic, first, strict=True)
    )
    whole.write(is_open=True)
    assert days()[day].lines == len(LINES + HOSTILE) + 90, "what is flushed of the open ranges counts"
    whole.seal("26-03-09", whole.links[0].digest, forgotten_at="2026-03-12T00:00:00+00:00")
    found = days()["2026-03-09"]
    assert (found.state, found.lines) == ("forgotten", whole.links[0].digest.lines)


def test_a_days_report_is_found_from_its_day_and_read_from_hdfs(whole, client):
    whole.seal("26-03-09", whole.links[0].digest)
    day = DaysReader(whole.settings)
    known = {each.date: each for each in day.read()}
    assert known["2026-03-09"].report == ""
    path = "/reports/26-03-09/_report.html"
    assert "make report DATE=2026-03-09" in client.get(path).text
    whole.hdfs.write(f"{whole.settings.hdfs_logs_dir}/26-03-09/_report.html", b"<!doctype html>")
    known = {each.date: each for each in day.read()}
    assert known["2026-03-09"].report == path.removeprefix("/")
    answer = client.get(path)
    assert (answer.status_code, answer.text) == (200, "<!doctype html>")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    for other in ("/reports/26-03-09/_manifest.json", "/reports/_sealed/_report.html"):
        assert client.get(other).status_code == 404


def read_all(reader, **question):
    """All pages of a question: texts in order, and where they were read."""
    texts, sources, cursor = [], [], ""
    while True:
        found = reader.answer({name: str(value) for name, value in question.items()} | {"cursor": cursor})
        assert len(found["lines"]) <= page_lines.PAGE_LINES
        texts += ["".join(text for text, _ in line["text"]) for line in found["lines"]]
        sources.append(found["source"])
        if not (cursor := found["cursor"]):
            return texts, set(sources)


def now_s():
    return int(datetime.now(UTC).timestamp())


@pytest.mark.parametrize(
    ("chosen", "where"),
    [
        ({}, "true"),
        ({"dimension": "host", "key": "host5.example.org"}, "starts_with(line, 'host5.example.org ')"),
        ({"dimension": "status", "key": "304"}, "regexp_matches(line, '\" 304 [0-9]+$')"),
        ({"class": "4xx"}, "regexp_matches(line, '\" 404 [0-9]+$')"),
        ({"dimension": "error", "key": "404 /shuttle/0/3"}, "contains(line, '/shuttle/0/3 ')"),
        ({"class": "malformed"}, "contains(line, 'no line of a log')"),
    ],
)
def test_the_lines_behind_a_number_come_from_the_topic_a_hundred_at_a_time(whole, chosen, where):
    whole.send("a", LINES[:50])  # repeats, which no window counts
    over = duckdb.connect()
    over.execute("CREATE TABLE lines (line TEXT)")
    readable = [*LINES, HOSTILE[0], b"no line of a log"]
    over.executemany("INSERT INTO lines VALUES (?)", [[line.decode()] for line in readable])
    expected = over.execute(f"SELECT count(*) FROM lines WHERE {where}").fetchone()[0]
    if not chosen or chosen == {"class": "4xx"}:
        expected += 1  # the long one
    texts, sources = read_all(
        LinesReader(whole.settings), **{"from": now_s() - 300, "to": now_s() + 60} | chosen
    )
    assert (len(texts), sources) == (expected, {"the topic"})


def test_hostile_bytes_are_cut_and_told_from_text(whole):
    asked = {"from": str(now_s() - 300), "to": str(now_s() + 60)}
    found = LinesReader(whole.settings).answer(
        {**{k: str(v) for k, v in asked.items()}, "class": "malformed"}
    )
    assert found["lines"][0]["text"][:3] == [("ESC", True), ("]0;title", False), ("\\x07", True)]
    long = LinesReader(whole.settings).answer(asked | {"dimension": "host", "key": "long.example"})
    assert long["lines"][0]["cut"] == len(HOSTILE[2]) - page_lines.SHOWN_BYTES


def test_what_retention_took_from_the_topic_comes_from_the_files_whose_manifests_cover_the_time(whole, kafka):
    whole.send("b", LINES[:120])
    for partition in range(PARTITIONS):
        kafka.forget_before(whole.name, partition, len(whole.topic[partition]))
    noon = NOON_MS // 1000
    texts, sources = read_all(LinesReader(whole.settings), **{"from": noon - 60, "to": noon + 60})
    assert (len(texts), sources) == (len(LINES + HOSTILE), {"HDFS"})
    texts, _ = read_all(LinesReader(whole.settings), **{"from": noon + 60, "to": noon + 120})
    assert texts == [], "no manifest covers that time"
    texts, _ = read_all(
        LinesReader(whole.settings),
        **{"from": noon, "to": noon + 60, "dimension": "host", "key": "host5.example.org"},
    )
    assert sorted(texts) == sorted(line.decode() for line in LINES if line.startswith(b"host5."))


def test_lines_are_found_by_the_format_of_their_log_in_the_topic_and_in_files(pipeline, kafka):
    caddy = (
        b'{"ts":8e8,"request":{"remote_ip":"::1","method":"GET","host":"v%d","uri":"/"},"status":200,"size":7,'
        b'"duration":0.25}'
    )
    pipeline.send("a", LINES[:300])
    pipeline.send("site.g2", [caddy % (number % 3) for number in range(150)])
    registry = FormatRegistry(Hdfs.of(pipeline.settings), pipeline.settings.hdfs_ledger_dir)
    registry.put("site", "site.log", "caddy")
    pipeline.write()
    asked = [
        ({"dimension": "vhost", "key": "v1"}, 50),
        ({"dimension": "log", "key": "site.log"}, 150),
        ({"dimension": "log", "key": "another"}, 0),
        ({"dimension": "latency", "key": "245760"}, 150),
        ({"class": "malformed"}, 0),
        ({}, 450),
    ]
    for chosen, count in asked:
        texts, sources = read_all(
            LinesReader(pipeline.settings), **{"from": now_s() - 300, "to": now_s() + 60} | chosen
        )
        assert (chosen, len(texts), sources) == (chosen, count, {"the topic"})
    for partition in range(PARTITIONS):
        kafka.forget_before(pipeline.name, partition, len(pipeline.topic[partition]))
    noon = NOON_MS // 1000
    for chosen, count in asked:
        texts, sources = read_all(
            LinesReader(pipeline.settings), **{"from": noon - 60, "to": noon + 60} | chosen
        )
        assert (chosen, len(texts), sources) == (chosen, count, {"HDFS"})
    # One file holds lines of both logs; SQL reads each by its own format.
    connection, _ = connect(pipeline.settings)
    query = "SELECT log, vhost, latency_us, malformed, count(*) FROM lines GROUP BY ALL ORDER BY ALL"
    hosts = [("site.log", f"v{number}", 250_000, None, 50) for number in range(3)]
    assert connection.execute(query).fetchall() == [*hosts, (None, None, None, None, 300)]


def test_a_line_in_sql_is_its_bytes_whatever_they_are(pipeline):
    odd = [
        b"a\rb",
        b"as IIS ends it\r",
        b"",
        b"nul \x00 and on",
        bytes(range(256)).replace(b"\n", b""),
        b"\xff\xfe",
    ]
    odd += [b"%d\r" % number for number in range(1000)] + [b"long" * 200_000]
    pipeline.send("odd", odd)
    pipeline.write()
    connection, _ = connect(pipeline.settings)
    found = connection.execute("SELECT line FROM lines").fetchall()
    assert sorted(line.encode("latin-1") for (line,) in found) == sorted(odd)


def test_parameters_that_cannot_work_are_refused(client):
    for query in ({"from": "x", "to": "1"}, {"from": "0", "to": "9", "dimension": "total"}, {"from": "0"}):
        answer = client.get(f"/lines?{urlencode(query)}")
        assert (answer.status_code, "expected" in answer.text or "dimension" in answer.text) == (422, True)


def test_the_query_beside_the_lines_gives_the_same_lines(whole):
    connection, snapshot = connect(whole.settings)
    assert (snapshot.commit.step, snapshot.commit.lines) == (1, len(LINES + HOSTILE))
    count = "SELECT sum(lines) FROM windows WHERE dimension = 'total'"
    assert connection.execute(count).fetchone() == (len(LINES + HOSTILE),)
    noon = NOON_MS // 1000
    for chosen in (
        {"dimension": "host", "key": "host5.example.org"},
        {"dimension": "error", "key": "404 /<script>alert(1)</script>"},
        {"dimension": "status", "key": "304"},
    ):
        asked = {"from": noon, "to": noon + 60} | chosen
        question = LinesQuestion.of({name: str(value) for name, value in asked.items()}, by_event=False)
        query = question.sql(whole.settings.timezone).replace("LIMIT 100", "")
        expected = sorted(line for line in LINES + HOSTILE if question.chosen([line])[0])
        found = sorted(line.encode("latin-1") for (line,) in connection.execute(query).fetchall())
        assert found == expected, query
    # The columns are what the windows job reads.
    columns = "host, epoch_ms(time), method, endpoint, status, sent_bytes"
    rows = connection.execute(f"SELECT line, {columns} FROM lines WHERE host IS NOT NULL").fetchmany(500)
    assert len(rows) == 500
    for line, *read in rows:
        assert tuple(read) == preset("combined").parse_line(line.encode("latin-1"))[:6]
