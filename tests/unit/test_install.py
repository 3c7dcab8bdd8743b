"""What installs the pipeline: it names what is missing, and leaves nothing that is half there."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from logpipe.settings import PROJECT_DIR
from tests.waiting import wait_until

# What a Maven that copies one jar does: its last argument is where to.
HALF = 'jars=${@: -1}; mkdir -p "${jars#-Djars=}/kafka"; touch "${jars#-Djars=}/kafka/a.jar"'
TOOLS = (
    "bash", "awk", "df", "diff", "dirname", "head", "mkdir", "mv", "realpath", "rm", "sha256sum", "tail",
    "touch",
)  # fmt: skip


@pytest.fixture
def tools(tmp_path):
    """A PATH with what every machine has; a test adds programs of its own."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in TOOLS:
        found = next(path for path in os.environ["PATH"].split(":") if (Path(path) / name).exists())
        (folder / name).symlink_to(Path(found) / name)
    return folder


def program(path, script):
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def begun(tools, *arguments, python=sys.executable, **more):
    environment = {"PATH": str(tools), "PYTHON": python, "BUILD_DIR": str(tools.parent / "build"), **more}
    command = [str(PROJECT_DIR / "bin" / "install"), *arguments]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def install(tools, *arguments, **more):
    with begun(tools, *arguments, **more) as installing:
        out, errors = installing.communicate(timeout=60)
        return subprocess.CompletedProcess(arguments, installing.returncode, out, errors)


def test_a_missing_java_and_maven_and_another_python_are_all_named(tools):
    program(tools / "python3.9", "echo 3.9.1")
    answer = install(tools, "jars", "kafka", python=str(tools / "python3.9"))
    assert answer.returncode == 1
    for text in ("Python 3.9.1 runs this, expected 3.11", "java is not on PATH", "mvn is not on PATH"):
        assert text in answer.stderr


def test_an_old_java_is_refused(tools):
    program(tools / "java", "echo 'openjdk version \"11.0.2\"' >&2")
    answer = install(tools, "check")
    assert answer.returncode == 1
    assert "java is version 11, expected 17" in answer.stderr
    program(tools / "java", "echo 'openjdk version \"17.0.2\"' >&2")
    assert install(tools, "check").returncode == 0


def test_a_failing_step_shows_the_end_of_its_output_and_leaves_no_jars(tools):
    program(tools / "java", "echo 'openjdk version \"17.0.2\"' >&2")
    program(tools / "javac", "")
    program(tools / "mvn", f"{HALF}; echo Could not resolve artifact; exit 3")
    answer = install(tools, "jars", "kafka")
    assert answer.returncode == 1
    assert "mvn failed with exit code 3:\nCould not resolve artifact\n" in answer.stderr
    assert "settings.xml" in answer.stderr
    assert not (tools.parent / "build" / "jars" / "kafka").exists()


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_an_install_that_is_ended_leaves_no_program_behind(tools, sent):
    program(tools / "java", "echo 'openjdk version \"17.0.2\"' >&2")
    program(tools / "javac", "")
    started = tools.parent / "pid"
    program(tools / "mvn", f"echo $$ > {started}.new; mv {started}.new {started}; exec tail -f /dev/null")
    with begun(tools, "jars", "kafka") as installing:
        wait_until(started.exists, 30)
        installing.send_signal(sent)
        assert installing.wait(30) == 130
    wait_until(lambda: not psutil.pid_exists(int(started.read_text())), 30)


def test_jars_are_moved_to_their_place_when_all_are_there(tools):
    program(tools / "java", "echo 'openjdk version \"17.0.2\"' >&2")
    program(tools / "javac", "")
    program(tools / "mvn", HALF)
    old = tools.parent / "build" / "jars" / "kafka" / "old.jar"
    old.parent.mkdir(parents=True)
    old.touch()
    listed = {"JAR_SUMS": str(tools.parent)}
    assert install(tools, "jars", "kafka", NEW_SUMS="1", **listed).returncode == 0
    answer = install(tools, "jars", "kafka", **listed)
    assert answer.returncode == 0, answer.stderr
    assert {path.name for path in old.parent.iterdir()} == {"a.jar", ".made"}


@pytest.mark.parametrize(
    "other", ["echo x > ${jars#-Djars=}/kafka/a.jar", "touch ${jars#-Djars=}/kafka/b.jar"]
)
def test_a_jar_that_is_another_one_or_came_along_is_not_taken(tools, other):
    program(tools / "java", "echo 'openjdk version \"17.0.2\"' >&2")
    program(tools / "javac", "")
    program(tools / "mvn", HALF)
    listed = {"JAR_SUMS": str(tools.parent)}
    assert install(tools, "jars", "kafka", NEW_SUMS="1", **listed).returncode == 0
    before = (tools.parent / "build/jars/kafka/.made").stat().st_mtime_ns
    program(tools / "mvn", f"{HALF}; folder=${{jars#-Djars=}}/kafka; {other}")
    answer = install(tools, "jars", "kafka", **listed)
    assert answer.returncode == 1
    assert "The jars of kafka are not those of" in answer.stderr
    assert f"{other[-5:]}\n" in answer.stderr
    assert (tools.parent / "build/jars/kafka/.made").stat().st_mtime_ns == before


def test_everything_that_is_installed_is_known_by_its_hash():
    for name in ("requirements.txt", "requirements-dev.txt", "docker/requirements.txt"):
        text = (PROJECT_DIR / name).read_text()
        packages = re.findall(r"^[a-z0-9.-]+==\S+ \\\n    --hash=sha256:[0-9a-f]{64}", text, re.MULTILINE)
        assert len(packages) == len(re.findall(r"^\w\S*==", text, re.MULTILINE)) > 0, name
        assert "://" not in text
