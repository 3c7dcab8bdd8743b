"""Every example DAG runs against the real services; tests/airflow/dags looks that no operator lacks one."""

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from logpipe.hosts.layout import Layout
from logpipe.settings import PROJECT_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EXAMPLES = sorted((PROJECT_DIR / "dags" / "examples").glob("*.py"))
# Runs the files that its standard input names, one after the other, and answers each with how its run ended.
# To load Airflow and to make the API that tasks ask takes more CPU than the runs do.
RUN = """
import runpy, sys, traceback
answers = open(int(sys.argv[1]), "w")
for line in sys.stdin:
    try:
        state = runpy.run_path(line.rstrip("\\n"))["dag"].test().state
    except Exception:
        traceback.print_exc()
        state = "broken"
    sys.stdout.flush()
    print(str(state), file=answers, flush=True)
"""

# A DAG whose request for a run of another one is sent twice, as Airflow's client does when the first answer
# is late. The API and its database are real.
REPEATED = """
import httpx
from airflow.sdk import DAG
from airflow.sdk.execution_time import supervisor
from logpipe.airflow.operators.dag_run import EnsureDagRunOperator

api = supervisor.in_process_api_server()

class Repeats(httpx.BaseTransport):
    def handle_request(self, request):
        if request.method == "POST" and "/dag-runs/" in request.url.path:
            print("FIRST", request.url.path, once.handle_request(request).status_code)
        answer = once.handle_request(request)
        print("ANSWER", request.method, request.url.path, answer.status_code)
        return answer

if isinstance(api.transport, httpx.WSGITransport):  # Airflow loads this file more than once
    once, api.transport = api.transport, Repeats()

with DAG("asked_for", schedule=None):
    pass
with DAG("repeated", schedule=None) as dag:
    EnsureDagRunOperator(task_id="run", trigger_dag_id="asked_for")
"""


@dataclass
class Runner:
    """An Airflow of its own, with a database of its own and the pipeline's connections."""

    dags: Path
    log: Path
    process: subprocess.Popen[str]
    answers: int

    def run(self, example: str) -> tuple[str, str]:
        """How the run of an example ended, and what it said."""
        begin = self.log.stat().st_size
        assert self.process.stdin is not None
        self.process.stdin.write(f"{self.dags / 'examples' / example}\n")
        self.process.stdin.flush()
        state = os.read(self.answers, 100).decode().strip()
        return state, self.log.read_bytes()[begin:].decode(errors="replace")


@pytest.fixture(scope="module")
def runner(pipeline, first_run, tmp_path_factory):
    home = tmp_path_factory.mktemp("airflow")
    # The examples beside the DAGs, which one of them triggers; Airflow loads both.
    shutil.copytree(PROJECT_DIR / "dags", home / "dags", ignore=shutil.ignore_patterns(".airflowignore"))
    connections = Layout.of(pipeline.settings()).airflow_dir / "connections.json"
    environment = (
        os.environ
        | pipeline.environment
        | {
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
            "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "AIRFLOW__SECRETS__BACKEND_KWARGS": f'{{"connections_file_path": "{connections}"}}',
        }
    )
    migrate = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
    subprocess.run(migrate, env=environment, check=True, capture_output=True)
    answers, told = os.pipe()
    with (home / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(told)],
            env=environment, pass_fds=[told], stdin=subprocess.PIPE, stdout=log, stderr=log, text=True,
        )  # fmt: skip
    os.close(told)
    yield Runner(home / "dags", home / "log", process, answers)
    process.stdin.close()
    process.wait(60)
    os.close(answers)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(runner, epoch, example):
    state, said = runner.run(example.name)
    assert state == "success", said[-9000:]


def test_a_request_for_a_run_that_was_repeated_is_no_failure(runner, epoch):
    (runner.dags / "examples" / "repeated.py").write_text(REPEATED)
    state, said = runner.run("repeated.py")
    assert re.search(r"FIRST .*/dag-runs/asked_for/ensured__\S+ 204", said), said[-9000:]
    assert re.search(r"ANSWER POST .*/dag-runs/asked_for/ensured__\S+ 409", said), said[-9000:]
    assert state == "success", said[-9000:]
