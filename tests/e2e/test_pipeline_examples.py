"""Every example DAG runs against the real services; tests/airflow/dags looks that no operator lacks one."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from logpipe.hosts.layout import Layout
from logpipe.settings import PROJECT_DIR

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

EXAMPLES = sorted((PROJECT_DIR / "dags" / "examples").glob("*.py"))
RUN = "import runpy, sys; run = runpy.run_path(sys.argv[1])['dag'].test(); sys.exit(run.state != 'success')"


@pytest.fixture(scope="module")
def airflow_home(pipeline, first_run, tmp_path_factory) -> dict[str, str]:
    """The environment of an Airflow of its own, with a database of its own and the pipeline's connections."""
    home = tmp_path_factory.mktemp("airflow")
    # The examples beside the DAGs, which one of them triggers; Airflow loads both.
    shutil.copytree(PROJECT_DIR / "dags", home / "dags", ignore=shutil.ignore_patterns(".airflowignore"))
    connections = Layout.of(pipeline.settings()).airflow_dir / "connections.json"
    environment = pipeline.environment | {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": f'{{"connections_file_path": "{connections}"}}',
    }
    migrate = [str(Path(sys.executable).with_name("airflow")), "db", "migrate"]
    subprocess.run(migrate, env=os.environ | environment, check=True, capture_output=True)
    return environment


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(airflow_home, epoch, example):
    answer = subprocess.run(
        [sys.executable, "-c", RUN, f"{airflow_home['AIRFLOW_HOME']}/dags/examples/{example.name}"],
        env=os.environ | airflow_home,
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 0, answer.stdout[-6000:] + answer.stderr[-3000:]
