"""The pipeline's metrics against real stores: the figures of an accounting, as Prometheus takes them."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus_text

from logpipe.hosts.layout import Layout
from logpipe.serving import USER
from logpipe.settings import PROJECT_DIR
from tests.accounting.pipeline import Pipeline, nasa_lines
from tests.machine import Service
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

LINES = nasa_lines(500)
OPENMETRICS = "application/openmetrics-text; version=1.0.0"
CONFIGURATION = PROJECT_DIR / "conf" / "prometheus" / "prometheus.yml"
MAY_BE_EMPTY = {"logpipe_alert_firing == 1", "increase(logpipe_heals_total[1h])"}  # when all is well
DASHBOARD = PROJECT_DIR / "conf" / "grafana" / "logpipe.json"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not on PATH (Debian: apt-get install prometheus)")
    return found


@pytest.fixture
def short_of_ten(pipeline: Pipeline) -> Pipeline:
    """500 lines were sent; ten of them never came, and the windows are behind."""
    pipeline.record("a", LINES)
    pipeline.send("a", LINES[:-10])
    pipeline.write()
    pipeline.count(until=[0, 0, 0], malformed=3)
    return pipeline


@dataclass(frozen=True)
class Scraped:
    """The page's service of a pipeline."""

    address: str
    password: str

    def metrics(self, accept: str = "text/plain") -> httpx.Response:
        answer = httpx.get(f"{self.address}/metrics", auth=(USER, self.password), headers={"Accept": accept})
        return answer.raise_for_status()

    def known(self) -> dict[tuple[str, ...], float]:
        """The samples, once all stores have been heard."""
        awaited = {
            ("logpipe_lines_lost",),
            ("logpipe_lines_total", "hdfs"),
            ("logpipe_behind_lines", "windows"),
        }
        return wait_until(
            lambda: found if awaited <= (found := samples(self.metrics().text)).keys() else None, 30,
            "metrics of all stages",
        )  # fmt: skip


@pytest.fixture
def page(short_of_ten: Pipeline, tmp_path: Path) -> Iterator[Scraped]:
    settings = short_of_ten.settings
    password = Layout.of(settings).secrets()["page_password"]
    service = Service.of("page", settings, tmp_path / "page.log").start()
    yield Scraped(f"http://localhost:{settings.page_port}", password)
    service.end()


def samples(text: str, parse=prometheus_text) -> dict[tuple[str, ...], float]:
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def test_the_figures_are_those_of_the_accounting(page: Scraped, short_of_ten: Pipeline) -> None:
    found = page.known()
    accounting = short_of_ten.verify()
    assert accounting.lost == 10
    assert found["logpipe_lines_lost",] == 10
    assert found["logpipe_lines_doubled",] == 0
    assert found["logpipe_lines_in_flight",] == accounting.in_flight
    assert found["logpipe_lines_total", "source"] == len(LINES)
    assert found["logpipe_lines_total", "topic"] == found["logpipe_lines_total", "hdfs"] == len(LINES) - 10
    assert found["logpipe_behind_lines", "hdfs"] == 0
    assert found["logpipe_behind_lines", "windows"] == len(LINES) - 10
    assert found["logpipe_windows_malformed_total",] == 3
    assert found["logpipe_source_up", "topic"] == 1
    assert found["logpipe_source_up", "agent1"] == 0, "no agent runs here"
    assert ("logpipe_lines_total", "agent1") not in found, "what is not known is left out"


def test_nobody_reads_them_without_the_password(page: Scraped) -> None:
    assert httpx.get(f"{page.address}/metrics").status_code == 401


def test_promtool_has_nothing_to_say(page: Scraped) -> None:
    promtool = program("promtool")
    page.known()
    checked = subprocess.run(
        [promtool, "check", "metrics"], input=page.metrics().content, capture_output=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
    answer = page.metrics(OPENMETRICS)
    assert answer.headers["content-type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
    assert samples(answer.text, openmetrics)["logpipe_lines_lost",] == 10


@contextmanager
def scraping(page: Scraped, folder: Path) -> Iterator[str]:
    """A Prometheus by the project's own configuration, at another port and more often; its address."""
    prometheus = program("prometheus")
    text = CONFIGURATION.read_text()
    for written, here in (("localhost:9011", page.address.removeprefix("http://")), ("15s", "1s")):
        assert written in text
        text = text.replace(written, here)
    folder.mkdir()
    (folder / "prometheus.yml").write_text(text)
    (folder / "page_password").write_text(page.password)
    address = f"127.0.0.1:{free_port()}"
    options = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [prometheus, *options, f"--web.listen-address={address}"], stdout=log, stderr=log, cwd=folder
        )
    try:
        yield f"http://{address}/api/v1"
    finally:
        process.terminate()
        process.wait(30)


def asked(api: str, expression: str) -> list[float]:
    """What Prometheus says to an expression; nothing while it is away."""
    try:
        answer = httpx.get(f"{api}/query", params={"query": expression})
    except httpx.ConnectError:
        return []
    assert not answer.is_client_error, f"{expression}: {answer.text}"
    return [float(row["value"][1]) for row in answer.json()["data"]["result"]] if answer.is_success else []


def test_prometheus_scrapes_it_and_each_panel_of_the_dashboard_has_data(
    page: Scraped, tmp_path: Path
) -> None:
    page.known()
    panels = [panel for panel in json.loads(DASHBOARD.read_text())["panels"] if "targets" in panel]
    expressions = {target["expr"] for panel in panels for target in panel["targets"]}
    assert len(expressions) > 8
    with scraping(page, tmp_path / "prometheus") as api:
        wait_until(lambda: asked(api, "logpipe_lines_lost") == [10], 60, "a scrape")
        for expression in sorted(expressions - MAY_BE_EMPTY):
            asked_for = expression.replace("$__rate_interval", "1m")
            wait_until(lambda asked_for=asked_for: asked(api, asked_for), 30, f"data for {asked_for}")
