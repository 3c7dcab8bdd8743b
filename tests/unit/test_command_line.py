"""What a person types reaches the commands as it was typed; what is not understood is refused in words."""

import os
import socket
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from logpipe.cli.app import app
from logpipe.settings import PROJECT_DIR

RECORDER = """\
#!/bin/sh
{ for each in "$@"; do printf 'argument %s\\0' "$each"; done; env -0; } >> "$RECORD"
"""
# What it would do in a shell or in make is make a file; {mark} is its name.
HOSTILE = (
    "'; touch {mark}; '",
    '"; touch {mark}; "',
    "`touch {mark}`",
    "$(touch {mark})",
    "$$(touch {mark})",
    "$(shell touch {mark})",
    "; touch {mark} #",
    "two\nlines; touch {mark}",
    "a\\b 'c' \"d\" $HOME $$ # * ~",
)
VALUES = (
    "URL",
    "PACE",
    "LIMIT",
    "FORMAT",
    "PROFILE",
    "DATE",
    "REPLAY",
    "SERVICE",
    "JSON",
    "HOURS",
    "SEED",
    "CONNECTION",
)
TARGETS = ("replay", "seal", "audit", "repair", "logs", "status", "soak")


@pytest.fixture
def make(tmp_path, monkeypatch):
    """Runs a target with programs that write down what they are given."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("logpipe", "python", "ruff", "mypy", "lint-imports", "mvn"):
        (programs / name).write_text(RECORDER)
        (programs / name).chmod(0o755)
    record = tmp_path / "record"
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))
    }
    environment |= {"RECORD": str(record), "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}

    def run(*arguments, **variables):
        command = [
            "make",
            "-s",
            "-o",
            "install",
            "-o",
            "install-dev",
            "-o",
            "cluster-jars",
            f"VENV={programs}",
            *arguments,
        ]
        answer = subprocess.run(
            command, cwd=PROJECT_DIR, env=environment | variables, capture_output=True, text=True
        )
        assert answer.returncode == 0, answer.stderr
        return record.read_text().split("\0")

    return run


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_make_hands_values_on_as_they_are(make, tmp_path, text, way):
    mark = tmp_path / "mark"
    value = text.format(mark=mark)
    values = dict.fromkeys(VALUES, value)
    seen = (
        make(*TARGETS, **values) if way == "environment" else make(*TARGETS, *map("=".join, values.items()))
    )
    for name in VALUES:
        assert seen.count(f"MAKE_{name}={value}") == len(TARGETS), name
    for option in ("hours", "pace", "seed", "json"):
        assert f"argument --{option}={value}" in seen
    assert not mark.exists()


@pytest.mark.parametrize("text", HOSTILE)
def test_suites_are_words_and_nothing_else(make, tmp_path, text):
    mark = tmp_path / "mark"
    seen = make("test", f"SUITES=tests/unit {text.format(mark=mark)}")
    assert "argument tests/unit" in seen
    assert not mark.exists()


def test_the_clusters_targets_are_the_same_commands(make):
    names = ["up", "run", "replay", "status", "verify", "audit", "seal", "report", "forget", "repair"]
    names += ["logs", "stop"]
    seen = make(*(f"cluster-{name}" for name in names), "cluster-down", "VOLUMES=1")
    arguments = [each.removeprefix("argument ") for each in seen if each.startswith("argument ")]
    assert arguments == [word for name in [*names, "clean"] for word in ("--target", "cluster", name)]


def logpipe(*arguments, **variables):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LOGPIPE_")}
    return subprocess.run(
        [sys.executable, "-m", "logpipe.cli", *arguments],
        env=environment | variables, cwd=PROJECT_DIR, capture_output=True, text=True,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "variables", "words"),
    [
        (["replay"], {"MAKE_PACE": "'; x"}, ["--pace", "'; x", "delay:SECONDS"]),
        (["replay", "--limit", "0"], {}, ["--limit", "'0'", "1 to 1000000000000000"]),
        (["run", "--format", "nope"], {}, ["--format", "'nope'", "combined"]),
        (["follow", "/var/log/x.log"], {"MAKE_FORMAT": "nope"}, ["--format", "'nope'", "combined"]),
        (["follow", "access.log"], {}, ["LOG", "'access.log'", "absolute path"]),
        (["run", "--profile", "fast"], {}, ["--profile", "'fast'", "'memory', 'durable'"]),
        (["audit"], {"MAKE_DATE": "2026-13-01"}, ["--date", "2026-13-01", "such as 2026-11-23"]),
        (["forget"], {}, ["make forget DATE=", "logpipe forget 2026-"]),
        (["forget", "2026-11-23", "--replay", "r"], {}, ["both the day 2026-11-23 and the replay r"]),
        (["logs", "kafak"], {}, ["'kafak'", "kafka, namenode"]),
        (["status"], {"LOGPIPE_TARGET": "moon"}, ["LOGPIPE_TARGET", "'moon'", "'machine', 'cluster'"]),
        (["stauts"], {}, ["stauts", "status"]),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named_with_what_is_expected(arguments, variables, words):
    answer = CliRunner().invoke(app, arguments, env=variables)
    assert answer.exit_code == 2
    assert [word for word in words if word not in answer.output] == []


def test_a_bad_setting_is_named_and_hides_no_help():
    answer = logpipe("status", LOGPIPE_KAFKA_PORT="x")
    assert answer.returncode == 1
    assert "LOGPIPE_KAFKA_PORT=x" in answer.stderr
    assert logpipe("seal", "--help", LOGPIPE_KAFKA_PORT="x").returncode == 0


@pytest.mark.parametrize(
    "command",
    [
        ["verify"],
        ["audit"],
        ["seal", "2026-01-01"],
        ["report"],
        ["forget", "2026-01-01"],
        ["forget", "--replay", "r"],
        ["repair"],
    ],
)
def test_a_question_to_stores_that_do_not_run_is_answered_at_once_with_the_way_out(command, tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    state = {"LOGPIPE_KAFKA_BOOTSTRAP": address, "LOGPIPE_STATE_DIR": str(tmp_path / "state")}
    answer = logpipe(*command, **state)
    assert answer.returncode == 1
    assert f"nothing listens at {address} (LOGPIPE_KAFKA_BOOTSTRAP)" in answer.stderr
    assert "make run" in answer.stderr
    assert not (tmp_path / "state").exists(), "a folder that holds something else is refused at the start"


def test_the_help_teaches():
    text = CliRunner().invoke(app, ["--help"]).output
    for word in ("run", "verify", "clean", "logpipe run --pace max", "Exit statuses", "--install-completion"):
        assert word in text
    assert "Exit status 3" in CliRunner().invoke(app, ["seal", "--help"]).output


def test_the_shell_completes_commands_and_services():
    asked = {"_LOGPIPE_COMPLETE": "complete_bash"}
    assert "status" in logpipe(COMP_WORDS="logpipe sta", COMP_CWORD="1", **asked).stdout.split()
    services = logpipe(COMP_WORDS="logpipe logs flu", COMP_CWORD="2", **asked).stdout.split()
    assert set(services) == {"flume-agent1", "flume-agent2"}


def test_who_is_asked_to_end_says_what_goes_on_as_after_ctrl_c(tmp_path):
    ends = "import os, signal; from logpipe.cli import app, machine; "
    ends += "machine.MachineTarget.stop = lambda self: os.kill(os.getpid(), signal.SIGTERM); app.main()"
    answer = subprocess.run(
        [sys.executable, "-c", ends, "stop"],
        env=os.environ | {"LOGPIPE_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
    )
    assert answer.returncode == 130, answer.stderr
    assert "Interrupted. Nothing runs." in answer.stderr


@pytest.mark.parametrize("target", ["verify", "replay", "cluster-run"])
def test_make_refuses_a_name_that_is_nobodys(target):
    answer = subprocess.run(
        ["make", target, "URI=ftp://host/a b=c"], cwd=PROJECT_DIR, capture_output=True, text=True
    )
    assert answer.returncode == 2
    assert "Nothing here is named URI: a target takes some of LOG" in answer.stderr


def test_make_refuses_an_empty_value():
    """Of a variable of somebody's script that is not set; the default would be another log."""
    answer = subprocess.run(["make", "replay", "URL="], cwd=PROJECT_DIR, capture_output=True, text=True)
    assert answer.returncode == 2
    assert "URL is empty: give it a value" in answer.stderr
