"""The templates of conf/, filled for one machine and for the cluster."""

import re
import xml.etree.ElementTree as ElementTree
from configparser import RawConfigParser

import pytest

from logpipe import settings as project_settings
from logpipe.hosts import kerberos_roles
from logpipe.hosts.configuration import (
    AIRFLOW,
    CLUSTER_SECURITY,
    CLUSTER_VALUES,
    HADOOP,
    KAFKA,
    KAFKA_SECURITY,
    REALM,
    SECURITY,
    filled,
    machine_values,
    write_cluster,
)
from logpipe.hosts.layout import CONF_DIR, Layout

SECRETS = {"airflow_fernet_key": "f%f", "airflow_session_secret": "s", "airflow_jwt_secret": "j"}


@pytest.fixture
def current(tmp_path):
    return project_settings.parse(state_dir=tmp_path / "a & b")


def machine(settings):
    return machine_values(settings, Layout.of(settings), SECRETS)


def properties(text):
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))


def test_both_hosts_give_every_value_that_a_template_takes(current):
    taken = {
        name
        for template in (KAFKA, *HADOOP, AIRFLOW)
        for name in re.findall(r"\$\{(\w+)\}", (CONF_DIR / template).read_text())
    }
    assert set(machine(current)) == taken
    assert set(CLUSTER_VALUES) == taken
    security = set(re.findall(r"\$\{(\w+)\}", (CONF_DIR / KAFKA_SECURITY).read_text()))
    assert set(CLUSTER_SECURITY) == security | {"kafka_protocol", "controller_protocol"}
    hadoops = {
        name
        for template in (*SECURITY, *REALM)
        for name in re.findall(r"\$\{(\w+)\}", (CONF_DIR / template).read_text())
    }
    assert set(kerberos_roles.CLUSTER_VALUES) == hadoops - {"bind_host"}


def test_values_are_written_as_the_format_wants_them(current):
    root = ElementTree.fromstring(filled("hadoop/core-site.xml", machine(current)))
    found = {row.findtext("name"): row.findtext("value") for row in root}
    assert found["hadoop.tmp.dir"] == f"{current.state_dir}/hadoop/tmp"
    root = ElementTree.fromstring(filled("hadoop/hdfs-site.xml", machine(current)))
    found = {row.findtext("name"): row.findtext("value") for row in root}
    # What is no URI is a folder below the NameNode's own to it.
    assert found["dfs.namenode.name.dir"].endswith("/a%20%26%20b/hadoop/name")
    assert found["dfs.datanode.data.dir"] == f"file://{current.state_dir}/hadoop/data"
    airflow = filled(AIRFLOW, machine(current))
    assert "fernet_key = f%%f\n" in airflow
    parser = RawConfigParser()
    parser.read_string(airflow)
    assert parser["api"]["port"] == str(current.airflow_port)


def test_the_topics_share_of_the_disk_is_parted_among_its_partitions(current):
    kafka = properties(filled(KAFKA, machine(current)))
    assert int(kafka["log.retention.bytes"]) * current.topic_partitions == 30 * 2**30
    assert int(kafka["log.segment.bytes"]) <= int(kafka["log.retention.bytes"]) // 10
    assert kafka["log.flush.interval.ms"] == kafka["log.flush.scheduler.interval.ms"] == "1000"
    at_once = current.model_copy(update={"kafka_flush_ms": 0})
    assert properties(filled(KAFKA, machine(at_once)))["log.flush.interval.messages"] == "1"


def test_the_clusters_configurations_hold_no_secret_and_survive_a_broker(tmp_path):
    write_cluster(tmp_path, secure=True, has_kerberos=True)
    kafka = properties((tmp_path / KAFKA).read_text())
    assert kafka["min.insync.replicas"] == "2"
    assert kafka["default.replication.factor"] == "3"
    parser = RawConfigParser()
    parser.read(tmp_path / AIRFLOW)
    secret = ["fernet_key", "sql_alchemy_conn", "secret_key", "jwt_secret"]
    keys = {key: value for name in parser.sections() for key, value in parser[name].items()}
    assert not set(secret) & set(keys)
    assert all(keys[f"{name}_cmd"].startswith("cat /run/secrets/") for name in secret)


def test_the_cluster_asks_for_kerberos_unless_nobody_is_to_ask(tmp_path):
    write_cluster(tmp_path, secure=True, has_kerberos=True)
    root = ElementTree.parse(tmp_path / "hadoop/security.xml").getroot()
    found = {row.findtext("name"): row.findtext("value") for row in root}
    assert found["hadoop.security.authentication"] == "kerberos"
    assert found["dfs.namenode.kerberos.principal"] == "nn/namenode@LOGPIPE"
    assert found["dfs.web.authentication.kerberos.principal"] == "HTTP/${env.HOSTNAME}@LOGPIPE"
    write_cluster(tmp_path, secure=True, has_kerberos=False)
    assert not set(SECURITY) & {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.xml")}
