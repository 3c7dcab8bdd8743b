"""The whole pipeline, driven by its DAG in a real Airflow, ends with every line accounted for."""

import gzip
import json
import os
import signal
import socket

import pytest

from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BUNDLED_LINES = 20_000


def test_run_shows_windows_and_ends_with_every_line(first_run):
    assert "window" in first_run
    assert "method" in first_run
    assert "GET" in first_run
    assert f"{BUNDLED_LINES:,} lines sent" in first_run
    assert "lost 0, doubled 0" in first_run
    assert "http://localhost:" in first_run


def test_every_service_runs_and_is_healthy(pipeline, first_run):
    answer = json.loads(pipeline.command("status", "--json").stdout)
    assert [observation for observation in answer["watch"] if observation["warning"]] == []
    for name, service in answer["services"].items():
        assert service["state"] == "running", name
        assert service["healthy"] is True, name


def test_verify_accounts_for_every_line(pipeline, first_run):
    status, accounting = pipeline.verify()
    everywhere = dict.fromkeys(("source", "topic", "hdfs", "windows"), BUNDLED_LINES)
    assert accounting == everywhere | {"lost": 0, "doubled": 0, "in_flight": 0}
    assert status == 0


def test_a_second_replay_of_odd_lines_reattaches_to_what_runs(pipeline, first_run, tmp_path):
    before = {name: service["pid"] for name, service in pipeline.services().items()}
    lines = [
        b"",
        b"plain",
        b"caf\xe9 latin-1",
        b"\xff\xfe not utf-8",
        b"nul \x00 byte",
        b"cr at the end\r",
        b"plain",
    ]
    lines += [b"x" * length for length in (511, 512, 513, 65536)] + [b"no newline at the end"]
    path = tmp_path / "odd.log.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines)))
    answer = pipeline.command("replay", "--url", path.as_uri(), "--pace", "max")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert {name: service["pid"] for name, service in pipeline.services().items()} == before
    status, accounting = pipeline.verify()
    assert accounting["hdfs"] == BUNDLED_LINES + len(lines)
    assert status == 0


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://localhost:{ftp}/no_such_log.gz", "no_such_log"),
        ("ftp://nobody@localhost:{ftp}/NASA_access_log_Aug95.first20000.gz", "nobody"),
        ("file://{folder}/no/such/file.log", "/no/such/file.log"),
    ],
)
def test_a_source_that_is_not_there_fails_with_url_and_reason(pipeline, first_run, url, reason, tmp_path):
    url = url.format(ftp=pipeline.settings().ftp_port, folder=tmp_path)
    answer = pipeline.command("replay", "--url", url, "--pace", "max")
    assert answer.returncode == 1
    assert reason in answer.stdout


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file://{state}/secrets.json", "stands in the state folder"),
        ("file:///etc/hostname", "LOGPIPE_FILE_ROOTS"),
        ("ftp://reader:hidden-word@localhost/a.log", "CONNECTION="),
    ],
)
def test_what_may_not_be_read_is_refused_before_anything_starts(pipeline, url, told):
    answer = pipeline.command("replay", "--url", url.format(state=pipeline.state_dir))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert told in answer.stderr
    assert "hidden-word" not in answer.stderr


def test_a_line_of_another_client_arrives_and_is_told_apart(pipeline, first_run):
    """In profile `durable` it has no identity, so no replay's line can be taken for it."""
    _, before = pipeline.verify()
    with socket.create_connection(("localhost", pipeline.settings().netcat_port), 10) as client:
        client.sendall(b"sent past the replayer \xe9\n")
        assert client.recv(3) == b"OK\n"

    def found_everywhere():
        accounting = pipeline.verify()[1]
        stages = {accounting[stage] for stage in ("topic", "hdfs", "windows")}
        return accounting if stages == {before["topic"] + 1} else None

    accounting = wait_until(found_everywhere, 60)
    assert accounting == before | dict.fromkeys(("topic", "hdfs", "windows"), before["topic"] + 1)


def test_a_killed_service_comes_back(pipeline, first_run):
    pid = pipeline.services()["ftp"]["pid"]
    os.kill(int(str(pid)), signal.SIGKILL)

    def is_back():
        service = pipeline.services()["ftp"]
        return service["healthy"] and service["pid"] != pid

    wait_until(is_back, 30)
