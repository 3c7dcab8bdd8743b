"""The wheel in an Airflow that is not the project's: installed, found, and sealing a day."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from logpipe.airflow.provider import get_provider_info
from logpipe.digest import Digest
from logpipe.hosts.layout import USER, Layout
from logpipe.settings import PROJECT_DIR
from tests.airflow.operators.day_programs import pipeline_with
from tests.machine import Hdfs, Kafka
from tests.sealing.chain_writer import DAY, Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

LINES = [f"line {number}".encode() for number in range(20)]
LOOK = """
import json, logpipe, pathlib
from airflow.dag_processing.dagbag import DagBag
from airflow.plugins_manager import get_plugin_info
from airflow.providers_manager import ProvidersManager
from logpipe.airflow.bundle import LogpipeDagBundle
from logpipe.airflow.page.app import files
from logpipe.clients.flume import AgentFiles
from logpipe.settings import PROJECT_DIR
examples = pathlib.Path(logpipe.__file__).parent / "example_dags"
bags = [DagBag(str(folder)) for folder in (LogpipeDagBundle(name="logpipe").path, examples)]
known = ProvidersManager()
print(json.dumps({
    "place": logpipe.__file__,
    "version": known.providers["logpipe"].version,
    "types": sorted(kind for kind in known.hooks if kind.startswith("logpipe_") and known.hooks[kind]),
    "dags": [sorted(bag.dag_ids) for bag in bags],
    "errors": [bag.import_errors for bag in bags],
    "plugins": [plugin["name"] for plugin in get_plugin_info()],
    "page": sorted(files()),
    "agents": [agent.number for agent in AgentFiles.found()],
    "jars": [path.name for path in PROJECT_DIR.rglob("*.jar")],
    "typed": (pathlib.Path(logpipe.__file__).parent / "py.typed").exists(),
}))
"""
DAG = f"""
from airflow.sdk import DAG
from logpipe import settings
from logpipe.airflow.operators.kafka_topic import KafkaTopicOperator
from logpipe.airflow.operators.lineage import days_asset
from logpipe.airflow.operators.seal import SealOperator
with DAG("own", schedule=None):
    topic = KafkaTopicOperator(task_id="topic")
    topic >> SealOperator(task_id="seal", date="{DAY.isoformat()}", outlets=[days_asset(settings.load())])
"""


class Elsewhere:
    """An environment of its own, with a home of Airflow, and nothing of the checkout on its path."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        kept = {name: value for name, value in os.environ.items() if name in ("HOME", "LANG", "TZ")}
        self.environment = kept | {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "AIRFLOW_HOME": str(folder / "home"),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(folder / "dags"),
        }

    def install(self, dag: str, extras: str, *others: str, free: Collection[str] = ()) -> None:
        """The wheel with some of its extras, and others, which may want packages in versions of theirs."""
        (self.folder / "dags").mkdir()
        (self.folder / "dags" / "own.py").write_text(dag)
        run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(self.folder)],
            cwd=PROJECT_DIR,
        )
        (wheel,) = self.folder.glob("*.whl")
        uv = str(Path(sys.executable).with_name("uv"))
        run([uv, "venv", "-q", "--python", sys.executable, str(self.folder / "venv")])
        pins = re.findall(
            r"^([\w.-]+)(==[^ ;]+)", (PROJECT_DIR / "requirements.txt").read_text(), re.MULTILINE
        )
        locked = self.folder / "locked.txt"
        locked.write_text("".join(f"{name}{pin}\n" for name, pin in pins if name not in free))
        by = ["-c", str(locked), "--override", str(PROJECT_DIR / "overrides.txt")]
        where = ["--python", str(self.bin / "python")]
        run([uv, "pip", "install", "-q", *where, *by, f"logpipe[{extras}] @ {wheel.as_uri()}", *others])

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        known = self.environment | environment
        return subprocess.run(
            [str(self.bin / command[0]), *command[1:]],
            env=known, cwd=self.folder, capture_output=True, text=True, timeout=600,
        )  # fmt: skip


def run(command: list[str], **more: Any) -> None:
    answer = subprocess.run(command, capture_output=True, text=True, timeout=600, **more)
    assert answer.returncode == 0, answer.stdout + answer.stderr


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Elsewhere:
    made = Elsewhere(tmp_path_factory.mktemp("elsewhere"))
    made.install(DAG, "lineage")
    return made


@pytest.fixture
def pipeline(kafka: Kafka, hdfs: Hdfs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    with pipeline_with(("seal",), kafka, hdfs, tmp_path, monkeypatch) as made:
        yield made


def test_airflow_finds_all_that_the_wheel_brings(elsewhere: Elsewhere) -> None:
    answer = elsewhere.run("python", "-c", LOOK)
    assert answer.returncode == 0, answer.stderr
    seen = json.loads(answer.stdout.splitlines()[-1])
    assert str(elsewhere.folder) in seen["place"]
    assert seen["types"] == sorted(
        form["connection-type"] for form in get_provider_info()["connection-types"]
    )
    own, examples = seen["dags"]
    assert own == sorted(path.stem for path in (PROJECT_DIR / "dags").glob("*.py"))
    assert examples == sorted(path.stem for path in (PROJECT_DIR / "dags" / "examples").glob("*.py"))
    assert seen["errors"] == [{}, {}]
    assert "logpipe" in seen["plugins"]
    assert {"index.html", "uPlot.iife.min.js"} <= set(seen["page"])
    assert seen["agents"] == [1, 2]
    assert "logpipe-flume.jar" in seen["jars"]
    assert any(name.startswith("spark-sql-kafka-0-10_") for name in seen["jars"])
    assert seen["typed"]
    assert "logpipe" in elsewhere.run("airflow", "providers", "list").stdout


def test_what_needs_the_checkout_says_so(elsewhere: Elsewhere) -> None:
    answer = elsewhere.run("logpipe", "run")
    assert answer.returncode == 1
    assert "`logpipe run` needs the project's checkout" in answer.stderr
    assert "Traceback" not in answer.stderr


def test_a_dag_of_somebody_else_seals_a_day_and_tells_of_it(elsewhere: Elsewhere, pipeline: Pipeline) -> None:
    pipeline.send(LINES)
    pipeline.link(20)
    settings, lineage = pipeline.settings, elsewhere.folder / "lineage.json"
    migrated = elsewhere.run("airflow", "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    password = Layout.of(settings).secrets()["process_host_password"]
    host = {"conn_type": "logpipe_process_host", "host": settings.process_host, "login": USER}
    kafka = {"conn_type": "kafka", "extra": {"bootstrap.servers": settings.kafka_bootstrap}}
    transport = {"type": "file", "log_file_path": str(lineage), "append": True}
    answer = elsewhere.run(
        "airflow", "dags", "test", "own",
        LOGPIPE_TOPIC=settings.topic,
        LOGPIPE_TOPIC_PARTITIONS=str(settings.topic_partitions),
        LOGPIPE_HDFS_LOGS_DIR=settings.hdfs_logs_dir,
        AIRFLOW__OPENLINEAGE__TRANSPORT=json.dumps(transport),
        AIRFLOW_CONN_KAFKA_DEFAULT=json.dumps(kafka),
        AIRFLOW_CONN_PROCESS_HOST_DEFAULT=json.dumps(host | {"password": password}),
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-5000:] + answer.stderr[-3000:]
    digest = Digest.of(LINES)
    events = [json.loads(line) for line in lineage.read_text().splitlines()]
    outputs = [
        output for event in events if event["eventType"] == "COMPLETE" for output in event.get("outputs", ())
    ]
    (sealed,) = [output for output in outputs if output["name"].endswith(f"/{DAY:%y-%m-%d}")]
    assert sealed["namespace"].startswith("hdfs://")
    told = sealed["outputFacets"]["outputStatistics"]
    assert (told["rowCount"], told["size"]) == (20, digest.size_bytes)
    assert sealed["facets"]["version"]["datasetVersion"].endswith(f"{digest.hash_sum:016x}")
