"""The whole pipeline, driven by its DAG in a real Airflow, ends with every line accounted for."""

import gzip
import os
import signal
import socket
import subprocess
from contextlib import closing, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from logpipe.clients.hdfs import Hdfs, HdfsError
from logpipe.settings import is_loopback
from tests.replayer.servers import LOGIN, Faults, web_server
from tests.waiting import wait_until

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

BUNDLED_LINES = 20_000


def test_run_shows_windows_and_ends_with_every_line(first_run):
    assert "window" in first_run.output
    assert "method" in first_run.output
    assert "GET" in first_run.output
    assert f"{BUNDLED_LINES:,} lines sent" in first_run.output
    assert "lost 0, doubled 0" in first_run.output
    assert "http://localhost:" in first_run.output


def test_every_service_runs_and_is_healthy(first_run):
    assert [observation for observation in first_run.status["watch"] if observation["warning"]] == []
    for name, service in first_run.status["services"].items():
        assert service["state"] == "running", name
        assert service["healthy"] is True, name


def test_verify_accounts_for_every_line(first_run):
    everywhere = dict.fromkeys(("source", "topic", "hdfs", "windows"), BUNDLED_LINES)
    assert first_run.verified == (0, everywhere | {"lost": 0, "doubled": 0, "in_flight": 0, "unknown": 0})


def test_a_second_replay_of_odd_lines_reattaches_to_what_runs(pipeline, epoch, tmp_path):
    _, lines_before = pipeline.verify()
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
    assert accounting["hdfs"] == lines_before["hdfs"] + len(lines)
    assert status == 0


def test_a_source_that_is_not_there_fails_with_url_and_reason(pipeline, first_run):
    url = f"ftp://localhost:{pipeline.settings().ftp_port}/no_such_log.gz"
    answer = pipeline.command("replay", "--url", url, "--pace", "max")
    assert answer.returncode == 1
    assert url in answer.stdout
    assert "no such file" in answer.stdout


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("file://{state}/secrets.json", "stands in the state folder"),
        ("file:///etc/hostname", "LOGPIPE_FILE_ROOTS"),
        ("ftp://reader:hidden-word@localhost/a.log", "CONNECTION="),
        ("https://example.org/a.log?X-Amz-Signature=hidden-word", "CONNECTION="),
        ("http://localhost:9870/jmx", "LOGPIPE_SOURCE_HOSTS"),
    ],
)
def test_what_may_not_be_read_is_refused_before_anything_starts(pipeline, url, told):
    answer = pipeline.command("replay", "--url", url.format(state=pipeline.state_dir))
    assert (answer.returncode, answer.stdout) == (2, "")
    assert told in answer.stderr
    assert "hidden-word" not in answer.stderr


def test_a_line_of_another_client_arrives_and_is_told_apart(pipeline, epoch):
    """In profile `durable` it has no identity, so no replay's line can be taken for it."""
    _, before = pipeline.verify()
    with socket.create_connection(("localhost", pipeline.settings().netcat_port), 10) as client:
        client.sendall(b"sent past the replayer \xe9\n")
        assert client.recv(3) == b"OK\n"

    def found_everywhere():
        accounting = pipeline.verify()[1]
        stages = {accounting[stage] for stage in ("topic", "hdfs", "windows")}
        return accounting if stages == {before["topic"] + 1} else None

    accounting = wait_until(found_everywhere, 180, poll_s=0.5)
    assert accounting == before | dict.fromkeys(("topic", "hdfs", "windows"), before["topic"] + 1)


def test_a_killed_service_comes_back(pipeline, first_run):
    pid = pipeline.services()["ftp"]["pid"]
    os.kill(int(str(pid)), signal.SIGKILL)

    def is_back():
        service = pipeline.services()["ftp"]
        return service["healthy"] and service["pid"] != pid

    wait_until(is_back, 30, poll_s=0.5)


def test_nobody_else_reads_what_it_keeps(pipeline, first_run):
    """Whatever wrote it: this project's Python, the JVMs, Airflow, the database."""
    seen, open_to_others = 0, []
    for folder, _, files in os.walk(pipeline.state_dir):
        for path in (Path(folder), *(Path(folder, name) for name in files)):
            with suppress(FileNotFoundError):  # it runs
                seen += 1
                # Spark makes its copies of jars executable for all, in a folder that is nobody else's.
                closed = 0o077 if path.is_dir() else 0o066
                if not path.is_symlink() and path.lstat().st_mode & closed:
                    open_to_others.append(f"{path} {path.lstat().st_mode:o}")
    assert seen > 200
    assert open_to_others == []
    settings = pipeline.settings()
    with (
        closing(Hdfs(settings.webhdfs_url, "somebody")) as hdfs,
        pytest.raises(HdfsError, match="Permission"),
    ):
        hdfs.list(settings.hdfs_logs_dir)


def test_what_a_server_asks_for_stands_in_one_file(pipeline, first_run, tmp_path):
    """Not in Airflow's database (parameters, rendered fields, XCom), logs, records, topic, HDFS, the page."""
    (tmp_path / "a.log").write_bytes(b"one\ntwo\n")
    faults = Faults()
    url = f"http://localhost:{pipeline.server_port}/a.log"
    with web_server(tmp_path, faults, port=pipeline.server_port):
        answer = pipeline.command("replay", "--url", url, "--connection", "signed", "--pace", "max")
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert set(faults.queries) == {f"X-Amz-Signature={pipeline.signature}"}
    secrets = (pipeline.signature, LOGIN.password)
    assert not any(secret in answer.stdout + answer.stderr for secret in secrets)
    for secret in secrets:
        looked = ["grep", "-rlaF", "--devices=skip", secret, str(pipeline.state_dir)]
        found = subprocess.run(looked, capture_output=True, text=True, timeout=120).stdout.split()
        assert {Path(path).suffix for path in found} == {".login"}, secret


def test_it_listens_on_loopback_only(pipeline, first_run):
    host = psutil.Process(int((pipeline.state_dir / "supervisord.pid").read_text()))
    listening = {
        (connection.laddr.ip, connection.laddr.port): process.name()
        for process in (host, *host.children(recursive=True))
        for connection in process.net_connections("tcp")
        if connection.status == psutil.CONN_LISTEN
    }
    settings = pipeline.settings()
    ports = {port for _, port in listening}
    assert {settings.kafka_port, settings.namenode_port, settings.airflow_port, settings.netcat_port} <= ports
    assert settings.supervisor_port not in ports
    assert {
        at: name for at, name in listening.items() if not is_loopback(at[0].removeprefix("::ffff:"))
    } == {}


def test_a_page_of_somebody_elses_writes_nothing_to_hdfs(pipeline, first_run):
    """What a browser on this machine would send for it: no header that has to be asked for before."""
    settings = pipeline.settings()
    browser = {"User-Agent": "Mozilla/5.0", "Origin": "https://elsewhere.example.org"}
    for address in (settings.webhdfs_url, f"http://localhost:{settings.datanode_http_port}"):
        url = f"{address}/webhdfs/v1/user/bigdata/x?op=CREATE&user.name=bigdata&overwrite=true"
        answer = httpx.put(url, headers=browser, content=b"x")
        assert (answer.status_code, "CSRF" in answer.reason_phrase + answer.text) == (400, True), answer.text


def test_the_sparks_page_ends_nothing(pipeline, first_run):
    api = f"http://localhost:{pipeline.settings().spark_ui_port}/api/v1/applications"
    (application,) = httpx.get(api).json()
    found = dict(httpx.get(f"{api}/{application['id']}/environment").json()["sparkProperties"])
    assert (found["spark.ui.killEnabled"], found["spark.authenticate"]) == ("false", "true")
