import json
import socket
import stat
from configparser import RawConfigParser

import pytest

from logpipe.cli.follow import GrowingFile
from logpipe.hosts import configuration
from logpipe.hosts.layout import Layout, new_kafka_cluster_id
from logpipe.hosts.machine.stack import Stack, StackError
from logpipe.hosts.machine.supervisor import supervisor_conf
from logpipe.hosts.services import SERVICES, names
from tests.machine import own_settings


@pytest.fixture
def current(tmp_path):
    return own_settings(tmp_path / "state")


def test_secrets_are_generated_once_and_for_their_owner_only(current):
    layout = Layout.of(current)
    layout.make_dirs()
    first = layout.secrets()
    assert layout.secrets() == first
    assert len(set(first.values())) == len(first)
    configuration.write_all(current, layout)
    for path in (layout.secrets_file, *layout.airflow_dir.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_the_process_host_hands_the_ports_on_as_they_are(current):
    layout = Layout.of(current)
    layout.make_dirs()
    parser = RawConfigParser(strict=True)
    parser.read_string(supervisor_conf(current, layout, SERVICES))
    assert f'LOGPIPE_NETCAT_PORT="{current.netcat_port}"' in parser["supervisord"]["environment"]
    assert 'LOGPIPE_PORT_OFFSET="0"' in parser["supervisord"]["environment"]
    assert "inet_http_server" not in parser
    assert parser["unix_http_server"]["file"] == f"{layout.state_dir}/host.sock"
    assert parser["unix_http_server"]["chmod"] == "0600"


def test_a_taken_port_is_an_error_that_names_service_port_and_setting(current):
    named = rf"Port {current.kafka_port} of kafka .*LOGPIPE_KAFKA_PORT"
    with socket.create_server(("127.0.0.1", current.kafka_port)), pytest.raises(StackError, match=named):
        Stack(current).check()
    Stack(current).check()


def test_a_port_is_tried_where_it_will_be_listened_on(current, tmp_path):
    elsewhere = own_settings(tmp_path / "other", host="127.0.0.2", kafka_port=current.kafka_port)
    with socket.create_server(("127.0.0.2", current.kafka_port)):
        Stack(current).check()
        with pytest.raises(StackError, match=r"of kafka can't be opened at 127\.0\.0\.2 \(Address already"):
            Stack(elsewhere).check()


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("kafka_bootstrap", "kafka1.example.org:9092"),
        ("hdfs_url", "hdfs://nameservice1"),
        ("webhdfs_url", "https://nn1.example.org:9871"),
        ("hadoop_conf_dir", "/etc/hadoop/conf"),
    ],
)
def test_services_that_are_elsewhere_are_not_started_here(tmp_path, setting, value):
    elsewhere = own_settings(tmp_path / "state", **{setting: value})
    with pytest.raises(StackError, match=rf"LOGPIPE_{setting.upper()} is {value}, .*: unset it\."):
        Stack(elsewhere).check()


def test_a_growing_file_gives_whole_new_lines_and_survives_its_rotation(tmp_path):
    path = tmp_path / "log"
    path.write_text("old\n")
    file = GrowingFile(path)
    with path.open("a") as log:
        log.write("one\ntw")
        log.flush()
        assert list(file.new_lines()) == ["one"]
        log.write("o\n")
        log.flush()
        assert list(file.new_lines()) == ["two"]
    path.write_text("x\n")
    assert list(file.new_lines()) == ["x"]


def test_status_tells_of_every_service_when_nothing_runs(current):
    status = Stack(current).status()
    rows = json.loads(json.dumps({name: service.to_json() for name, service in status.items()}))
    assert set(rows) == set(names("store", "stream", "airflow"))
    assert all(
        row == {"state": "stopped", "pid": None, "healthy": False, "uptime_s": 0} for row in rows.values()
    )


def test_no_cluster_id_begins_with_a_dash():
    assert not [each for each in (new_kafka_cluster_id() for _ in range(500)) if each.startswith("-")]


def test_the_end_of_a_log_holds_the_reason_although_the_next_process_has_begun_to_talk(current):
    stack = Stack(current)
    frames = ["\tat some.Frame(File.java:1)"] * 50
    said = ["ERROR Exiting", *frames, "Caused by: java.net.BindException: Address already in use", *frames]
    said += [f"\tsetting.{number} = value" for number in range(300)] + ["Registered", *map(str, range(11))]
    stack.layout.logs_dir.mkdir(parents=True)
    (stack.layout.logs_dir / "kafka.log").write_text("\n".join(said))
    assert stack.log_tail("kafka").splitlines() == [said[0], said[51], "Registered", *map(str, range(11))]
