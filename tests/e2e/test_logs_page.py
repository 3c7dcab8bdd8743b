"""The page *Logs* inside Airflow as a person sees it, in Chromium, with all of the pipeline behind it."""

import gzip
import json
import os
import re
import signal
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress

import duckdb
import httpx
import psutil
import pytest
from axe_playwright_python.sync_playwright import Axe

from logpipe.clients.airflow import PIPELINE_DAG
from logpipe.clients.process_host import ProcessHost
from logpipe.hosts.connections import client
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import PROCESS_HOST
from logpipe.settings import PROJECT_DIR
from tests.e2e.conftest import log_in
from tests.e2e.nginx import NGINX, PATH, airflow_behind_nginx
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LOG = PROJECT_DIR / "plugins/logpipe/hosts/machine/ftp/files/NASA_access_log_Aug95.first20000.gz"
ROUTES = (
    "",
    "static/main.js",
    "static/page.css",
    "static/icon.svg",
    "api/flow",
    "api/lines",
    "static/none",
    "reports/26-11-23/_report.html",
)
STATIONS = {"topic": "Topic", "hdfs": "HDFS", "windows": "Windows"}
HEALTH_S = 10.0  # an answer comes within this on a busy machine; 0.1 s on a quiet one
HOSTILE = [
    b'evil.example - - [01/Aug/1995:00:00:01 -0400] "GET /<img/src=x/onerror=alert(1)> HTTP/1.0" 404 7',
    b"<script>document.title = 'owned'</script>",
    b"\x1b[2J\x07\xff\xfe\x00 no line of a log",
    b'long.example - - [01/Aug/1995:00:00:01 -0400] "GET /' + b"a" * 1_000_000 + b' HTTP/1.0" 404 7',
]


@contextmanager
def opened(page, address, *tolerated):
    """The page's frame in an Airflow; it has asked all of its questions. Nothing may go wrong meanwhile."""
    errors = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("dialog", lambda dialog: errors.append(dialog.message))
    page.on("console", lambda message: message.type == "error" and errors.append(message.text))
    page.goto(f"{address}/plugin/logpipe")
    frame = page.frame_locator("iframe")
    frame.locator("#sentence-text", has_text="lines sent").wait_for()
    frame.locator(".tile").first.wait_for()
    frame.locator(".day[data-state]").first.wait_for()
    yield frame
    # On a busy machine the service may be late once: the page says so and asks again.
    assert [
        error for error in errors if not any(code in error for code in ("503", "net::ERR_", *tolerated))
    ] == []


@pytest.fixture
def logs(airflow, logged_in):
    with opened(logged_in, airflow.url) as frame:
        yield frame


def password_of(pipeline, user):
    return Layout(pipeline.state_dir).password_file(user).read_text().strip()


def sent_by(user, airflow, pipeline):
    """What somebody sends along who has logged in."""
    known = {"username": user, "password": password_of(pipeline, user)}
    answer = httpx.post(f"{airflow.url}/auth/token", json=known)
    return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


@pytest.fixture(scope="module")
def viewers_password(pipeline, first_run):
    return password_of(pipeline, "viewer")


@pytest.fixture(scope="module")
def viewer(airflow, pipeline):
    """Somebody who may look and not act."""
    return sent_by("viewer", airflow, pipeline)


def test_nothing_of_it_is_seen_without_a_login(airflow):
    for route in ROUTES:
        assert httpx.get(f"{airflow.url}/logpipe/{route}").status_code == 401, route
        bad = httpx.get(f"{airflow.url}/logpipe/{route}", headers={"Authorization": "Bearer no.such.token"})
        assert bad.status_code in (401, 403), route


def test_a_viewer_sees_and_cannot_act(airflow, viewer, browser, viewers_password):
    page = httpx.get(f"{airflow.url}/logpipe/", headers=viewer)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert httpx.get(f"{airflow.url}/logpipe/api/flow", headers=viewer).json()["stations"]
    for dag in ("replay_log", "stop_pipeline", "hdfs_partitions", "repair_day"):
        url = f"{airflow.url}/api/v2/dags/{dag}/dagRuns"
        answer = httpx.post(url, json={"logical_date": None, "conf": {}}, headers=viewer)
        assert answer.status_code == 403, dag
    window = log_in(browser, airflow.url, "viewer", viewers_password)
    with opened(window, airflow.url, "403") as logs:
        act(logs, "Repair")
        logs.get_by_text("Your user may see runs, but not start them.").wait_for()
    window.close()


def test_an_operator_starts_and_stops_and_changes_nothing_of_airflows(pipeline, first_run, airflow):
    operator = sent_by("operator", airflow, pipeline)
    with httpx.Client(base_url=f"{airflow.url}/api/v2", headers=operator, timeout=60) as asked:
        begun = asked.post(
            "/dags/repair_day/dagRuns", json={"logical_date": None, "conf": {"date": "2026-01-01"}}
        )
        assert begun.status_code == 200, begun.text
        run = f"/dags/repair_day/dagRuns/{begun.json()['dag_run_id']}"
        assert asked.patch(run, json={"state": "failed"}).status_code == 200
        for path in ("/connections", "/connections/replayer_default", "/variables", "/config"):
            assert asked.get(path).status_code == 403, path
        known = {"connection_id": "other", "conn_type": "http", "host": "localhost"}
        assert asked.post("/connections", json=known).status_code == 403
        assert asked.post("/connections/test", json=known).status_code == 403
        assert asked.post("/variables", json={"key": "other", "value": "1"}).status_code == 403
    assert httpx.get(f"{airflow.url}/logpipe/api/flow", headers=operator).json()["stations"]
    assert Layout(pipeline.state_dir).password_file("operator").stat().st_mode & 0o777 == 0o600
    assert "operator: user operator, password in" in first_run.output


def act(logs, name):
    """Click a button of the days, and once more, since it asks whether it is meant."""
    button = logs.locator("#day-list").get_by_role("button", name=name).first
    button.click()
    button.click()


def test_what_is_asked_for_on_the_page_is_a_run_in_airflow(logs, airflow):
    act(logs, "Repair")
    told = logs.locator("#day-told", has_text="of repair_day is")
    told.wait_for()
    run_id = re.search(r"Run (\S+) of", told.inner_text())[1]
    assert run_id in {run["dag_run_id"] for run in airflow.runs("repair_day")}


@pytest.mark.slow
@pytest.mark.last(2)
@pytest.mark.skipif(NGINX is None, reason="nginx is not on PATH (Debian: apt-get install nginx-light)")
def test_it_works_behind_nginx_below_a_path(pipeline, first_run, browser, tmp_path):
    secrets = json.loads((pipeline.state_dir / "secrets.json").read_text())
    layout = Layout.of(pipeline.settings())
    with airflow_behind_nginx(pipeline.environment, layout, tmp_path) as address:
        window = log_in(browser, address, "admin", secrets["airflow_admin_password"])
        asked = []
        window.on("response", lambda answer: asked.append((answer.status, answer.url)))
        with opened(window, address, "400") as logs:
            logs.get_by_role("button", name="24 h").click()
            logs.get_by_role("region", name="Errors").get_by_role("button", name="Lines of").first.click()
            logs.locator("#lines-list li").first.wait_for()
            logs.get_by_role("button", name="Close").first.click()
            logs.get_by_role("button", name="Start a replay").click()
            logs.get_by_label("Pace").fill("no pace")
            logs.get_by_role("button", name="Start", exact=True).click()
            logs.locator("#replay-state", has_text="no pace").wait_for()  # Airflow's own refusal
        window.close()
        assert [url for _, url in asked if not url.startswith((address, "blob:"))] == []
        own = [(status, url) for status, url in asked if f"{PATH}/logpipe/" in url]
        assert own
        assert [each for each in own if each[0] not in (200, 304, 503)] == []


class Watch:
    """Asks Airflow for its health all the time; knows the longest wait for an answer."""

    def __init__(self, airflow):
        self.url, self.longest_s, self.is_over = f"{airflow.url}/api/v2/monitor/health", 0.0, False

    def __enter__(self):
        self.asking = ThreadPoolExecutor(1).submit(self.ask)
        return self

    def ask(self):
        while not self.is_over:
            began = time.monotonic()
            assert httpx.get(self.url, timeout=60).status_code == 200
            self.longest_s = max(self.longest_s, time.monotonic() - began)

    def __exit__(self, *_):
        self.is_over = True
        self.asking.result(90)


def poll(airflow, viewer, rounds):
    """An open page: its files, then its questions again and again; gives the answers' status codes."""
    seen = []
    with httpx.Client(base_url=f"{airflow.url}/logpipe", headers=viewer, timeout=60) as client:
        seen += [
            client.get(name).status_code for name in ("/", "/static/main.js", "/static/uPlot.iife.min.js")
        ]
        tags = {}
        for _ in range(rounds):
            for name in ("flow", "traffic?last=3600", "replays", "days"):
                answer = client.get(f"/api/{name}", headers={"If-None-Match": tags.get(name, "")})
                tags[name] = answer.headers.get("ETag", "")
                seen.append(answer.status_code)
    return seen


def test_fifty_open_pages_do_no_harm(airflow, viewer, pipeline):
    server = psutil.Process(pipeline.services()["airflow-api-server"]["pid"])
    before = server.memory_info().rss
    with Watch(airflow) as watch, ThreadPoolExecutor(50) as pages:
        seen = [code for each in pages.map(lambda _: poll(airflow, viewer, 3), range(50)) for code in each]
    assert set(seen) <= {200, 304}
    assert watch.longest_s < HEALTH_S, "while they ask without a pause, as no page does"
    assert server.memory_info().rss - before < 150 << 20


@pytest.mark.slow
def test_fifty_pages_open_in_a_browser_do_no_harm(airflow, browser, login, pipeline):
    server = psutil.Process(pipeline.services()["airflow-api-server"]["pid"])
    before = server.memory_info().rss
    answers = Counter()
    context = browser.new_context(storage_state=login)
    with closing(context), Watch(airflow) as watch:
        pages = [context.new_page() for _ in range(50)]
        for number, page in enumerate(pages):
            page.on("response", lambda answer, number=number: answers.update({(number, answer.status): 1}))
            page.goto(f"{airflow.url}/logpipe/", wait_until="commit", timeout=120_000)
        for page in pages:
            page.locator(".tile").first.wait_for(timeout=120_000)
        answers.clear()
        for page in pages:  # each goes on asking while the others do
            with page.expect_response(lambda answer: "/api/flow" in answer.url, timeout=120_000):
                pass
    assert {status for _, status in answers} <= {200, 304}
    assert watch.longest_s < HEALTH_S
    assert server.memory_info().rss - before < 150 << 20


def test_it_weighs_little_and_asks_nobody_else(airflow, logged_in):
    logged_in.goto("about:blank")  # Airflow's own page, which is left, asks for things of its own
    asked = {}
    logged_in.on("response", lambda answer: asked.update({answer.url: answer}))
    logged_in.goto(f"{airflow.url}/logpipe/")
    logged_in.locator(".tile").first.wait_for()
    seen = dict(asked)  # it goes on asking
    assert [url for url in seen if not url.startswith(f"{airflow.url}/")] == []
    assert sum(len(answer.body()) for url, answer in seen.items() if "/static/" in url) < 250_000


def test_it_is_for_everybody(airflow, logged_in):
    """What a checker of accessibility finds, by day and by night: nothing."""
    logged_in.goto(f"{airflow.url}/logpipe/")
    logged_in.locator(".tile").first.wait_for()
    logged_in.locator(".day[data-state]").first.wait_for()
    for theme in ("light", "dark"):
        logged_in.evaluate(
            "theme => document.documentElement.classList.toggle('dark', theme === 'dark')", theme
        )
        found = Axe().run(logged_in)
        assert found.violations_count == 0, (theme, found.generate_report())


def number(text):
    return int(re.sub(r"\D", "", text))


@pytest.mark.last(-1)  # before any other line is sent
def test_its_figures_are_those_of_the_lines(logs, record_property):
    over = duckdb.connect()
    lines = [line.decode("latin-1") for line in gzip.decompress(LOG.read_bytes()).split(b"\n") if line]
    over.execute("CREATE TABLE lines AS SELECT unnest(?) AS line", [lines])
    status = r"regexp_extract(line, '\" ([0-9]{3}) [0-9-]+$', 1)"
    assert number(logs.locator("#sentence-text b").first.inner_text()) >= len(lines)
    logs.get_by_role("button", name="24 h").click()
    logs.locator("#plot-note", has_text="commit").wait_for()
    for cls in ("2xx", "3xx", "4xx"):
        count = over.execute(f"SELECT count(*) FROM lines WHERE {status}[1] = '{cls[0]}'").fetchone()[0]
        logs.locator(f"[data-key=class-{cls}] b", has_text=f"{count:,}").wait_for()
    logs.get_by_role("button", name="Table").click()
    rows = logs.locator("#plot-rows tbody tr").all_inner_texts()
    head = logs.locator("#plot-rows thead th").all_inner_texts()
    cells = [[number(cell) for cell in row.split("\t")[1:]] for row in rows]
    found = dict(zip(head[1:], map(sum, zip(*cells, strict=True)), strict=True))
    sent = r"coalesce(sum(try_cast(regexp_extract(line, ' ([0-9]+)$', 1) AS BIGINT)), 0)::BIGINT"
    assert found["bytes sent"] == over.execute(f"SELECT {sent} FROM lines").fetchone()[0]
    assert sum(found.values()) - found["bytes sent"] == len(lines)
    host, count = over.execute(
        "SELECT split_part(line, ' ', 1) AS host, count(*) AS n FROM lines "
        "GROUP BY host ORDER BY n DESC, host"
    ).fetchone()
    first = logs.get_by_role("region", name="Hosts").locator("tbody tr").first
    assert (first.locator(".name").inner_text(), number(first.locator(".number").first.inner_text())) == (
        host, count,
    )  # fmt: skip

    # From the number to its lines, a hundred at a time, with the rest behind them.
    began = time.monotonic()
    first.get_by_role("button", name="Lines of").click()
    logs.locator("#lines-list li").first.wait_for()
    record_property("first_lines_s", round(time.monotonic() - began, 2))
    logs.locator("#lines-list li").nth(99).wait_for()
    assert all(text.startswith(f"{host} - -") for text in logs.locator("#lines-list li").all_inner_texts())
    logs.get_by_role("button", name="More").click()
    logs.locator("#lines-list li").nth(min(count, 200) - 1).wait_for()
    assert f"host = '{host}'" in logs.locator("#lines-query").text_content()
    logs.get_by_role("button", name="Close").first.click()


def looked_on_for(logs, text):
    """Whether the line is listed; a busy machine looks through fewer lines at a time, so ask for more."""
    more = logs.get_by_role("button", name="More")
    if more.is_visible() and more.is_enabled():
        more.click()
    return logs.locator("#lines-list li", has_text=text).count()


@pytest.mark.last(1)
def test_hostile_lines_are_text(logs, airflow, tmp_path):
    path = tmp_path / "hostile.log"
    path.write_bytes(b"\n".join(HOSTILE + HOSTILE[:1] * 500) + b"\n")  # so many that it is among the top
    asked = {"url": path.as_uri(), "pace": "max", "format": "common"}
    logs.get_by_role("button", name="Start a replay").click()
    for label, value in zip(("Log", "Pace", "Format"), asked.values(), strict=True):
        logs.get_by_label(label, exact=True).fill(value)
    logs.get_by_role("button", name="Start", exact=True).click()
    logs.locator("#replay-state", has_text="of replay_log is").wait_for()  # its end is waited for below
    logs.get_by_role("button", name="Close").last.click()
    assert airflow.runs(PIPELINE_DAG)[0]["conf"].items() >= asked.items()
    logs.get_by_role("button", name="15 m").click()
    shown = logs.get_by_role("region", name="Errors").get_by_text(
        "404 /<img/src=x/onerror=alert(1)>", exact=True
    )
    shown.wait_for(timeout=120_000)
    logs.get_by_role("button", name="Lines of 404 /<img").click()
    wait_until(lambda: looked_on_for(logs, HOSTILE[0].decode()), 120, "the line of the error")
    logs.get_by_role("button", name="Close").first.click()
    logs.locator("[data-key=class-malformed]").click()
    logs.locator(".chip", has_text="malformed").first.wait_for()
    logs.get_by_role("button", name="Lines", exact=True).click()
    wait_until(lambda: looked_on_for(logs, HOSTILE[1].decode()), 120, "the malformed line")
    logs.locator("#lines-list .byte", has_text="ESC").first.wait_for()
    assert logs.locator("#lines-list script, #lines-list img").count() == 0


@contextmanager
def frozen(host, service):
    """A service that takes connections and does not answer; afterwards it goes on, if it still lives."""
    pid = host.state(service).pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield pid
    finally:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
def host(pipeline):
    settings = pipeline.settings()
    return client(ProcessHost, PROCESS_HOST, settings, Layout.of(settings))


def bar(logs, text):
    return logs.locator("#alert-bar", has_text=text)


@pytest.mark.last(3)
def test_it_says_which_stores_are_away_and_comes_back_by_itself(logs, host, airflow):
    wait_until(lambda: not airflow.active_runs(PIPELINE_DAG), 300, "the replay's end", poll_s=1)
    assert airflow.runs(PIPELINE_DAG)[0]["state"] == "success"
    with frozen(host, "namenode"), frozen(host, "kafka") as broker:
        for name in ("Kafka", "HDFS"):
            bar(logs, name).wait_for(timeout=60_000)
        assert number(logs.locator("#sentence-text b").first.inner_text()) >= 20_000, "the last figures stay"
        os.kill(broker, signal.SIGKILL)
    logs.locator("#alert-bar").wait_for(state="hidden", timeout=120_000)
    for name in ("topic", "hdfs", "windows"):
        logs.locator(".station[data-state=well]", has_text=STATIONS[name]).wait_for(timeout=60_000)


@pytest.mark.slow
@pytest.mark.last(4)
def test_while_its_service_hangs_it_says_so_and_airflow_is_as_always(logs, host, airflow, viewer):
    url = f"{airflow.url}/logpipe/api/flow"
    with frozen(host, "page"), Watch(airflow) as watch, ThreadPoolExecutor(100) as pages:
        asked = [pages.submit(httpx.get, url, headers=viewer, timeout=60) for _ in range(100)]
        bar(logs, "The page's service does not answer").wait_for(timeout=60_000)
        assert number(logs.locator("#sentence-text b").first.inner_text()) >= 20_000, "the last figures stay"
        assert {each.result().status_code for each in asked} == {503}
    assert watch.longest_s < HEALTH_S
    logs.locator("#alert-bar").wait_for(state="hidden", timeout=60_000)
    wait_until(lambda: "lines sent" in logs.locator("#sentence-text").inner_text(), 60, "the sentence")


@pytest.mark.slow
@pytest.mark.last(5)
@pytest.mark.parametrize(
    ("service", "said"),
    [
        ("flume-agent1", "Agent 1"),
        ("flume-agent2", "Agent 2"),
        ("airflow-api-server", "bar: Airflow does not answer"),
        ("process-host", "bar: the process host"),
    ],
)
def test_every_other_part_may_hang_and_be_killed_while_it_is_open(logs, host, pipeline, service, said):
    def pid():
        if is_host:
            return int((pipeline.state_dir / "supervisord.pid").read_text())
        return pipeline.services()[service]["pid"]

    is_host = service == "process-host"
    found = psutil.Process(pid())
    found.suspend()
    try:
        if said.startswith("bar: "):
            bar(logs, said.removeprefix("bar: ")).wait_for(timeout=60_000)
        else:
            logs.locator(".station[data-state=away]", has_text=said).wait_for(timeout=60_000)
        if not is_host:  # nobody starts that again but a person
            found.kill()
    finally:
        with suppress(psutil.NoSuchProcess):
            found.resume()
    logs.locator("#alert-bar").wait_for(state="hidden", timeout=180_000)
    if not said.startswith("bar: "):
        logs.locator(".station[data-state=well]", has_text=said).wait_for(timeout=180_000)
    assert is_host or pid() != found.pid
