"""The page *Logs* inside Airflow as a person sees it, in Chromium, with all of the pipeline behind it."""

import gzip
import json
import re

import duckdb
import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe

from logpipe.clients.process_host import ProcessHost
from logpipe.hosts.connections import client
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import PROCESS_HOST
from logpipe.settings import PROJECT_DIR
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

LOG = PROJECT_DIR / "plugins/logpipe/hosts/machine/ftp/files/NASA_access_log_Aug95.first20000.gz"
ROUTES = ("", "static/main.js", "static/page.css", "static/icon.svg", "api/flow", "api/lines", "static/none")
HOSTILE = [
    b'evil.example - - [01/Aug/1995:00:00:01 -0400] "GET /<img/src=x/onerror=alert(1)> HTTP/1.0" 404 7',
    b"<script>document.title = 'owned'</script>",
    b"\x1b[2J\x07\xff\xfe\x00 no line of a log",
    b'long.example - - [01/Aug/1995:00:00:01 -0400] "GET /' + b"a" * 1_000_000 + b' HTTP/1.0" 404 7',
]


@pytest.fixture
def logs(airflow, logged_in):
    """The page's frame; it has asked all of its questions."""
    errors = []
    logged_in.on("pageerror", lambda error: errors.append(str(error)))
    logged_in.on("dialog", lambda dialog: errors.append(dialog.message))
    logged_in.on("console", lambda message: message.type == "error" and errors.append(message.text))
    logged_in.goto(f"{airflow.url}/plugin/logpipe")
    frame = logged_in.frame_locator("iframe")
    frame.locator("#sentence-text", has_text="lines sent").wait_for()
    frame.locator(".tile").first.wait_for()
    frame.locator(".day[data-state]").first.wait_for()
    yield frame
    assert [error for error in errors if "503" not in error] == []


def token(airflow, user, password):
    answer = httpx.post(f"{airflow.url}/auth/token", json={"username": user, "password": password})
    return {"Authorization": f"Bearer {answer.raise_for_status().json()['access_token']}"}


def test_nothing_of_it_is_seen_without_a_login(airflow):
    for route in ROUTES:
        assert httpx.get(f"{airflow.url}/logpipe/{route}").status_code == 401, route
        bad = httpx.get(f"{airflow.url}/logpipe/{route}", headers={"Authorization": "Bearer no.such.token"})
        assert bad.status_code in (401, 403), route


def test_a_viewer_sees_and_cannot_act(airflow, pipeline):
    passwords = json.loads((pipeline.state_dir / "airflow" / "passwords.json").read_text())
    viewer = token(airflow, "viewer", passwords["viewer"])
    page = httpx.get(f"{airflow.url}/logpipe/", headers=viewer)
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]
    assert httpx.get(f"{airflow.url}/logpipe/api/flow", headers=viewer).json()["stations"]
    run = {"logical_date": None, "conf": {}}
    url = f"{airflow.url}/api/v2/dags/replay_log/dagRuns"
    assert httpx.post(url, json=run, headers=viewer).status_code == 403


def test_it_weighs_little_and_asks_nobody_else(airflow, logged_in):
    logged_in.goto("about:blank")  # Airflow's own page, which is left, asks for things of its own
    asked = {}
    logged_in.on("response", lambda answer: asked.update({answer.url: answer}))
    logged_in.goto(f"{airflow.url}/logpipe/")
    logged_in.locator(".tile").first.wait_for()
    assert [url for url in asked if not url.startswith(f"{airflow.url}/")] == []
    assert sum(len(answer.body()) for url, answer in asked.items() if "/static/" in url) < 250_000


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


def test_its_figures_are_those_of_the_lines(logs, pipeline):
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
    first.get_by_role("button", name="Lines of").click()
    logs.locator("#lines-list li").nth(99).wait_for()
    assert all(text.startswith(f"{host} - -") for text in logs.locator("#lines-list li").all_inner_texts())
    logs.get_by_role("button", name="More").click()
    logs.locator("#lines-list li").nth(min(count, 200) - 1).wait_for()
    assert f"host = '{host}'" in logs.locator("#lines-query").text_content()
    logs.get_by_role("button", name="Close").first.click()


@pytest.mark.last(1)
def test_hostile_lines_are_text(logs, pipeline, tmp_path):
    path = tmp_path / "hostile.log"
    path.write_bytes(b"\n".join(HOSTILE + HOSTILE[:1] * 500) + b"\n")  # so many that it is among the top
    answer = pipeline.command("replay", "--url", path.as_uri(), "--pace", "max")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    logs.get_by_role("button", name="15 m").click()
    shown = logs.get_by_role("region", name="Errors").get_by_text(
        "404 /<img/src=x/onerror=alert(1)>", exact=True
    )
    shown.wait_for()
    logs.get_by_role("button", name="Lines of 404 /<img").click()
    logs.locator("#lines-list li", has_text=HOSTILE[0].decode()).first.wait_for()
    logs.get_by_role("button", name="Close").first.click()
    logs.locator("[data-key=class-malformed]").click()
    logs.locator(".chip", has_text="malformed").first.wait_for()
    logs.get_by_role("button", name="Lines", exact=True).click()
    logs.locator("#lines-list li", has_text=HOSTILE[1].decode()).wait_for()
    logs.locator("#lines-list .byte", has_text="ESC").first.wait_for()
    assert logs.locator("#lines-list script, #lines-list img").count() == 0


@pytest.mark.last(2)
def test_it_says_that_its_service_is_gone_and_comes_back_by_itself(logs, pipeline):
    settings = pipeline.settings()
    host = client(ProcessHost, PROCESS_HOST, settings, Layout.of(settings))
    host.stop("page")
    bar = logs.locator("#alert-bar", has_text="does not answer")
    bar.wait_for()
    assert number(logs.locator("#sentence-text b").first.inner_text()) >= 20_000, "the last figures stay"
    host.start("page")
    bar.wait_for(state="hidden", timeout=60_000)
    wait_until(lambda: "lines sent" in logs.locator("#sentence-text").inner_text(), 60, "the sentence")
