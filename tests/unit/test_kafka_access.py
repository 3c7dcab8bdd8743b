"""Kafka's login in the words of each client, and the rules of the roles."""

import subprocess
import sys
from pathlib import Path

import pytest

from logpipe import settings as project_settings
from logpipe.hosts.kafka_roles import commands, rules
from logpipe.hosts.services import AGENT_ROLES, agents
from logpipe.settings import PROJECT_DIR
from logpipe.settings.kafka_access import ROLES, KafkaAccessError, java_client, login_file


@pytest.fixture
def secured(tmp_path):
    (tmp_path / "agent1.password").write_text('a "b\\c\n')
    return project_settings.parse(
        kafka_security_protocol="SASL_SSL", kafka_password_file=f"{tmp_path}/{{role}}.password",
        kafka_ca_file="/ca.pem", kafka_bootstrap="k:1",
    )  # fmt: skip


def test_without_a_login_only_the_address_is_said():
    current = project_settings.parse(kafka_bootstrap="k:1")
    assert current.kafka_client("agent1") == java_client(current, "agent1") == {"bootstrap.servers": "k:1"}


def test_each_client_is_told_in_its_own_words(secured):
    assert secured.kafka_client("agent1") == {
        "bootstrap.servers": "k:1", "security.protocol": "SASL_SSL", "ssl.ca.location": "/ca.pem",
        "sasl.mechanism": "SCRAM-SHA-512", "sasl.username": "logpipe-agent1", "sasl.password": 'a "b\\c',
    }  # fmt: skip
    module = (
        "org.apache.kafka.common.security.scram.ScramLoginModule required "
        'username="logpipe-agent1" password="a \\"b\\\\c";'
    )
    java = java_client(secured, "agent1")
    assert java["sasl.jaas.config"] == module
    assert java["ssl.truststore.location"] == "/ca.pem"
    assert login_file(secured, "agent1") == f"KafkaClient {{\n  {module}\n}};\n"


@pytest.mark.parametrize(("text", "seen"), [(None, "No such file"), ("", "0 lines"), ("a\nb\n", "2 lines")])
def test_a_password_that_is_not_there_is_named_with_the_way_out(secured, tmp_path, text, seen):
    if text is not None:
        (tmp_path / "reader.password").write_text(text)
    with pytest.raises(
        KafkaAccessError, match=rf"{tmp_path}/reader\.password .*{seen}.*logpipe-reader.*set LOGPIPE"
    ):
        secured.kafka_client("reader")


def test_a_connection_says_all_by_itself(secured):
    there = secured.at_kafka({"bootstrap.servers": "other:2", "sasl.username": "x"})
    assert there.kafka_client("reader") == {"bootstrap.servers": "other:2", "sasl.username": "x"}
    assert there.kafka_bootstrap == "other:2"
    assert "sasl.username" not in str(there.model_dump())


def test_nobody_may_delete_or_alter_and_each_role_has_a_rule(secured):
    found = rules(secured)
    assert {rule.user for rule in found} == {f"logpipe-{role}" for role in ROLES}
    operations = {operation for rule in found for operation in rule.operations}
    assert operations == {"read", "write", "create", "describe", "describe_configs"}


def test_the_page_for_others_clusters_lists_the_rules_as_they_are():
    page = (PROJECT_DIR / "docs" / "your-cluster.md").read_text()
    text = subprocess.run(
        [sys.executable, "-m", "logpipe.hosts.kafka_roles"],
        capture_output=True, text=True, check=True, env={"PATH": "/usr/bin"},
    ).stdout  # fmt: skip
    assert text.splitlines() == commands(project_settings.parse())
    assert text in page, "`python -m logpipe.hosts.kafka_roles` prints them"


def test_agents_read_their_login_from_a_file(secured):
    layout = project_settings.parse(state_dir=Path("/s"))
    for service in agents():
        assert service.command is not None
        from logpipe.hosts.layout import Layout

        command = " ".join(service.command(secured, Layout.of(layout), service.variants[0]))
        role = service.name.removeprefix("flume-")
        assert f"-Djava.security.auth.login.config=/s/conf/kafka/{role}.login" in command
        assert role in AGENT_ROLES
        assert 'a "b' not in command
