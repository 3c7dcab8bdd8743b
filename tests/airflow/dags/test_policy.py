"""What every DAG file of the project must hold to."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG

DAGS_DIR = Path(__file__).resolve().parents[3] / "dags"
FILES = sorted(DAGS_DIR.rglob("*.py"))

# Runs DAG files with an audit hook that refuses every connection, process and written file.
NO_SIDE_EFFECTS = """
import os, runpy, sys
import airflow.triggers.base, croniter, logpipe.settings
from airflow.sdk import DAG, Asset, BaseOperator, BaseSensorOperator, Param
def refuse(event, arguments):
    writes = event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+")
    reaches_out = event in {"socket.connect", "socket.getaddrinfo", "subprocess.Popen", "os.system"}
    if reaches_out or writes and "__pycache__" not in str(arguments[0]):
        print(f"refused while {file} was read: {event} {arguments}", file=sys.stderr)
        os._exit(3)
sys.addaudithook(refuse)
for file in sys.argv[1:]:
    runpy.run_path(file)
"""


def bag() -> DagBag:
    return DagBag(dag_folder=str(DAGS_DIR))


DAGS = list(bag().dags.values())


def test_every_file_imports_without_errors() -> None:
    assert bag().import_errors == {}
    assert len(DAGS) >= len(list(DAGS_DIR.glob("*.py")))


def test_reading_the_files_touches_nothing() -> None:
    command = [sys.executable, "-c", NO_SIDE_EFFECTS, *map(str, FILES)]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    assert answer.returncode == 0, answer.stderr[-2000:]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_is_wiring_only(file: Path) -> None:
    text = file.read_text()
    assert len(text.splitlines()) < 100
    logic = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.If, ast.IfExp, ast.While, ast.Try)
    assert [node.lineno for node in ast.walk(ast.parse(text)) if isinstance(node, logic)] == []


@pytest.mark.parametrize("dag", DAGS, ids=lambda dag: dag.dag_id)
def test_a_dag_tells_the_operator_what_to_do(dag: DAG) -> None:
    assert dag.doc_md == ast.get_docstring(ast.parse(Path(dag.fileloc).read_text()), clean=False)
    assert "**When a task fails**" in dag.doc_md
    assert dag.description
    assert dag.tags


@pytest.mark.parametrize("dag", DAGS, ids=lambda dag: dag.dag_id)
def test_every_task_of_a_manual_is_in_the_dag(dag: DAG) -> None:
    assert dag.doc_md is not None
    assert [task.task_id for task in dag.tasks if f"`{task.task_id}`" not in dag.doc_md] == []


@pytest.mark.parametrize("dag", DAGS, ids=lambda dag: dag.dag_id)
def test_every_parameter_is_typed_and_described(dag: DAG) -> None:
    for name in dag.params:
        param = dag.params.get_param(name)
        assert param.description, name
        assert {"type", "enum"} & param.schema.keys(), name


@pytest.mark.parametrize("dag", DAGS, ids=lambda dag: dag.dag_id)
def test_one_run_at_a_time_and_ready_to_use(dag: DAG) -> None:
    assert (dag.max_active_runs == 1) != (dag.dag_id == "follow_logs")  # there it is one a log
    assert dag.is_paused_upon_creation is False
    assert not dag.catchup
