import json
import os
import socket
import stat
import xml.etree.ElementTree as ElementTree
from configparser import RawConfigParser

import pytest

from logpipe.cli.follow import GrowingFile
from logpipe.hosts.layout import Layout, new_kafka_cluster_id
from logpipe.hosts.machine import bootstrap, configuration
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
    assert parser["inet_http_server"]["port"].startswith("127.0.0.1:")


def test_hadoop_xml_escapes_values():
    root = ElementTree.fromstring(configuration.hadoop_xml({"a": "x & <y>"}))
    assert [(row.findtext("name"), row.findtext("value")) for row in root] == [("a", "x & <y>")]


def test_a_taken_port_is_an_error_that_names_service_port_and_setting(current):
    named = rf"Port {current.kafka_port} of kafka .*LOGPIPE_KAFKA_PORT"
    with socket.create_server(("127.0.0.1", current.kafka_port)), pytest.raises(StackError, match=named):
        Stack(current).check()
    Stack(current).check()


@pytest.mark.parametrize("data", ["kafka/meta.properties", "hadoop/name/current/VERSION"])
def test_the_data_of_an_earlier_version_is_refused_with_the_ways_out(current, data):
    stack = Stack(current)
    path = stack.layout.state_dir / data
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    before = sorted(stack.layout.state_dir.rglob("*"))
    with pytest.raises(StackError, match=r"(?s)format 1, expected 2.*LOGPIPE_STATE_DIR.*make clean"):
        stack.check()
    assert sorted(stack.layout.state_dir.rglob("*")) == before


def test_a_new_state_folder_is_marked_and_another_formats_mark_is_refused(current):
    stack = Stack(current)
    stack.check()
    (stack.layout.kafka_dir / "meta.properties").touch()
    stack.check()
    assert json.loads(stack.layout.format_file.read_text()) == {"version": 2, "topic": "apache_logs"}
    stack.layout.format_file.write_text('{"version": 3}')
    with pytest.raises(StackError, match="format 3, expected 2"):
        stack.check()


def test_a_state_folder_of_another_topic_is_refused(current):
    Stack(current).check()
    other = Stack(current.model_copy(update={"topic": "other"}))
    with pytest.raises(StackError, match=r"belongs to topic apache_logs, asked for is other: .*STATE_DIR"):
        other.check()


def test_the_topics_share_of_the_disk_is_parted_among_its_partitions(current):
    layout = Layout.of(current)
    kafka = dict(line.split("=", 1) for line in configuration.kafka_properties(current, layout).splitlines())
    assert int(kafka["log.retention.bytes"]) * current.topic_partitions == 30 * 2**30
    assert int(kafka["log.segment.bytes"]) <= int(kafka["log.retention.bytes"]) // 10
    assert kafka["log.flush.interval.ms"] == kafka["log.flush.scheduler.interval.ms"] == "1000"
    at_once = current.model_copy(update={"kafka_flush_ms": 0})
    assert "log.flush.interval.messages=1\n" in configuration.kafka_properties(at_once, layout)


def test_a_missing_java_and_maven_are_both_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(bootstrap.InstallError, match=r"(?s)java is not on PATH.*mvn is not on PATH"):
        bootstrap.check_machine(with_maven=True, installing=True)


def test_an_old_java_is_refused(monkeypatch, tmp_path):
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    with pytest.raises(bootstrap.InstallError, match="java is version 11, expected 17"):
        bootstrap.check_machine(with_maven=False, installing=False)


def test_a_failing_install_step_shows_the_end_of_its_output_and_leaves_no_jars(monkeypatch, tmp_path):
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho 'Could not resolve artifact'\nexit 3\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/usr/bin:/bin")
    monkeypatch.setattr(bootstrap, "BUILD_DIR", tmp_path / "build")
    with pytest.raises(
        bootstrap.InstallError, match=r"(?s)exit code 3.*Could not resolve artifact.*settings\.xml"
    ):
        bootstrap.install_jars("kafka")
    assert not bootstrap.jars_are_ready("kafka")


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
