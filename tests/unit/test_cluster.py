"""The cluster's files, as far as they can be looked at without an engine."""

import json
import os
import re
import socket
import stat
import subprocess
from types import SimpleNamespace

import pytest
import yaml
from rich.console import Console
from typer.testing import CliRunner

from logpipe.cli import app
from logpipe.cli.cluster import ClusterTarget
from logpipe.hosts import kerberos_roles
from logpipe.hosts.cluster.check import check_script
from logpipe.hosts.cluster.compose import COMPOSE_FILE, Compose, ComposeError
from logpipe.hosts.cluster.credentials import IN_CONTAINERS, MOUNTED, cluster_connections, write_secrets
from logpipe.hosts.cluster.stack import ONCE, Cluster, ClusterError, Container
from logpipe.hosts.layout import Layout
from logpipe.hosts.services import SERVICES as TABLE
from logpipe.settings import PROJECT_DIR, Settings, parse

COMPOSE = yaml.safe_load(COMPOSE_FILE.read_text())
SERVICES = COMPOSE["services"]
DOCKER_DIR = COMPOSE_FILE.parent
CHECKED = {service.name: service for service in TABLE if service.on_cluster and service.ready}


def memory_mb(limit: str) -> float:
    return float(limit[:-1]) * {"m": 1, "g": 1024}[limit[-1]]


def test_everything_fits_16_gib():
    limits = [memory_mb(service["mem_limit"]) for name, service in SERVICES.items() if name not in ONCE]
    assert sum(limits) <= 16 * 1024


@pytest.mark.parametrize("name", [name for name in SERVICES if name not in ONCE])
def test_every_service_is_checked_restarted_and_has_no_rights(name):
    service = SERVICES[name]
    assert name in CHECKED[service["healthcheck"]["test"][-1]].on_cluster
    assert service["restart"] == "unless-stopped"
    assert service.get("hostname", service.get("environment", {}).get("HOSTNAME")) == name
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_on_several_networks_listens_where_others_ask(name):
    """At its own name, which the engine resolves for all; a hostname would be any of its addresses."""
    service = SERVICES[name]
    networks = service["networks"]
    assert set(networks) <= set(COMPOSE["networks"])
    if len(networks) > 1:
        listens = "LOGPIPE_HOST" in service.get("environment", {}) or name.startswith("nodemanager")
        assert not (listens and "hostname" in service)
        asked = sorted(networks, key=lambda one: (bool(COMPOSE["networks"][one].get("internal")), one))
        assert max(networks, key=lambda one: networks[one].get("priority", 0)) == asked[0]


def test_only_what_publishes_or_reads_logs_of_others_reaches_out():
    assert {name for name, network in COMPOSE["networks"].items() if not network.get("internal")} == {
        "airflow", "edges",
    }  # fmt: skip


def test_the_authoritys_key_and_the_admins_password_are_where_they_must_be():
    of = {name: set(service.get("secrets", [])) for name, service in SERVICES.items()}
    assert {name for name, secrets in of.items() if "admin.password" in secrets} == {
        "kafka1", "kafka2", "kafka3", "airflow-init",
    }  # fmt: skip
    assert "ca.key" not in COMPOSE["secrets"]


def test_a_container_has_the_keys_of_its_role_and_the_kdc_all():
    known = {f"{role}.kerberos": role for role in kerberos_roles.PRINCIPALS}
    of = {
        name: {known[one] for one in service.get("secrets", []) if one in known}
        for name, service in SERVICES.items()
    }
    assert of.pop("kdc") == set(kerberos_roles.PRINCIPALS)
    assert all(len(roles) <= 1 for roles in of.values())
    owners = {
        "namenode": {"namenode", "checkpoints"}, "datanode": {"datanode1", "datanode2", "datanode3"},
        "resourcemanager": {"resourcemanager"}, "nodemanager": {"nodemanager1", "nodemanager2"},
        "edge": {"edge1", "edge2"}, "page": {"page"}, "init": {"airflow-init"},
        "airflow": {name for name in SERVICES if name.startswith("airflow-")} - {"airflow-init"},
    }  # fmt: skip
    assert owners == {
        role: {name for name, roles in of.items() if role in roles} for role in kerberos_roles.PRINCIPALS
    }
    for host in kerberos_roles.WEB_HOSTS:
        assert f"{host}.pem" in SERVICES[host]["secrets"]


def test_what_the_compose_file_says_by_default_is_what_a_start_without_kerberos_says():
    text = COMPOSE_FILE.read_text()
    for name, value in kerberos_roles.client_environment(secure=False).items():
        assert re.search(rf"\$\{{{name}:?-{re.escape(value)}\}}", text), name
    assert kerberos_roles.KEYTAB in (DOCKER_DIR / "bin" / "role").read_text()


def test_only_airflows_page_is_published_and_on_loopback():
    assert [name for name, service in SERVICES.items() if "ports" in service] == ["airflow-api-server"]
    assert SERVICES["airflow-api-server"]["ports"][0].startswith("${LOGPIPE_AIRFLOW_BIND:-127.0.0.1}:")


def test_the_compose_file_is_of_the_kind_that_both_generations_read():
    assert set(COMPOSE) - {key for key in COMPOSE if key.startswith("x-")} == {
        "services", "networks", "volumes", "secrets",
    }  # fmt: skip


def test_every_setting_of_the_compose_file_exists():
    known = {f"LOGPIPE_{name.upper()}" for name in Settings.model_fields} | {"LOGPIPE_HDFS_FILE_PREFIX"}
    used = {
        name for service in SERVICES.values() for name in service.get("environment", {})
        if name.startswith("LOGPIPE_")
    }  # fmt: skip
    assert used <= known


def test_a_setting_reaches_the_containers_and_is_there_by_default_what_it_is_elsewhere():
    of_one_machine = {
        "host", "port_offset", "address_keys_file", "airflow_users", "kafka_flush_ms", "kafka_heap_mb",
        "namenode_heap_mb", "datanode_heap_mb", "kafka_user", "kafka_sasl_mechanism", "hdfs_user",
        "hadoop_conf_dir", "cluster_name", "secure", "secure_hadoop", "kerberos_principal", "alerts_file",
    }  # fmt: skip
    of_the_cluster = {"source_url", "kafka_security_protocol", "webhdfs_url", "kerberos_keytab"}
    given = {name: str(value) for name, value in COMPOSE["x-settings"].items()}
    for name, field in Settings.model_fields.items():
        if name in of_one_machine or name.endswith("_port"):
            continue
        value = given[variable := f"LOGPIPE_{name.upper()}"]
        if value.startswith("$") and name not in of_the_cluster:
            default = {None: "", False: "0"}.get(field.default, str(field.default))
            assert value == f"${{{variable}:-{default}}}"


def test_secrets_are_files_for_their_owner_and_stay_as_they_are(tmp_path):
    layout = Layout(tmp_path / "cluster")
    layout.make_dirs()
    folder = tmp_path / "secrets"

    def files():
        return {path for path in folder.rglob("*") if path.is_file()}

    write_secrets(layout, folder, secure=True, has_kerberos=True)
    first = {path.name: path.read_text() for path in files()}
    write_secrets(layout, folder, secure=True, has_kerberos=True)
    assert {path.name: path.read_text() for path in files()} == first
    assert {stat.S_IMODE(path.stat().st_mode) for path in files()} == {0o600}
    extra = json.loads(first["connections.json"])["kafka_default"]["extra"]
    assert (extra["security.protocol"], extra["sasl.username"]) == ("SASL_SSL", "logpipe-airflow")
    assert extra["sasl.password"] == first["airflow.password"]
    ways = json.loads(first["connections.json"])
    assert ways["yarn_default"]["schema"] == "https"
    assert ways["webhdfs_default"]["extra"] == {"use_ssl": True}
    write_secrets(layout, folder, secure=False, has_kerberos=False)
    connections = json.loads((folder / "connections.json").read_text())
    assert connections["yarn_default"]["schema"] == "http"
    assert "extra" not in connections["webhdfs_default"]
    plain = connections["kafka_default"]["extra"]
    assert plain == {"bootstrap.servers": "kafka1:9092,kafka2:9092,kafka3:9092"}
    assert set(COMPOSE["secrets"]) <= set(first)
    assert set(json.loads(first["edge_secrets"])) == {"process_host_password", "replayer_password"}
    page = {"process_host_password", "page_password", "airflow_admin_password"}
    assert set(json.loads(first["page_secrets"])) == page


def test_airflow_and_page_have_the_rules_of_alerts_and_what_notifiers_need(tmp_path, monkeypatch):
    layout, folder = Layout(tmp_path / "cluster"), tmp_path / "secrets"
    layout.make_dirs()
    smtp = {"conn_type": "smtp", "host": "mail.example.org"}
    monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(smtp))
    monkeypatch.setenv("AIRFLOW_CONN_SLACK", "slack://:token@")
    write_secrets(layout, folder, secure=True, has_kerberos=False)
    rules = folder / "alerts.toml"
    mounted = rules.stat().st_ino
    write_secrets(layout, folder, secure=True, has_kerberos=False, alerts="[lag]\nseconds = 60\n")
    assert rules.read_text() == "[lag]\nseconds = 60\n"
    assert rules.stat().st_ino == mounted, "another file would not be seen in a container that runs"
    for name, more in (("connections.json", {"kafka_default"}), ("page_connections.json", set())):
        known = json.loads((folder / name).read_text())
        assert {"page_default", "smtp_default", "slack"} | more <= known.keys()
        assert (known["smtp_default"], known["slack"]) == (smtp, "slack://:token@")
    for name in ("page", "airflow-triggerer", "airflow-scheduler"):
        assert SERVICES[name]["environment"]["LOGPIPE_ALERTS_FILE"] == f"{MOUNTED}/alerts.toml"
        assert "alerts.toml" in SERVICES[name]["secrets"]
    assert "COPY conf/alerts.toml" in (DOCKER_DIR / "Dockerfile").read_text()


def test_rules_of_alerts_that_cannot_work_are_refused_before_anything_starts(tmp_path):
    rules = tmp_path / "alerts.toml"
    rules.write_text("[lag]\nseconds = -1\n")
    settings = parse(state_dir=tmp_path / "state", alerts_file=str(rules))
    with pytest.raises(ClusterError, match=r"\[lag\] seconds is -1"):
        Cluster(settings)._alerts()
    assert Cluster(settings.model_copy(update={"alerts_file": ""}))._alerts() == ""


def test_no_secret_stands_in_a_file_of_the_project():
    text = "".join(path.read_text() for path in DOCKER_DIR.rglob("*") if path.is_file())
    assert not re.search(r"(password|secret|key)\s*[:=]\s*['\"]?[A-Za-z0-9_-]{16,}", text, re.IGNORECASE)


def test_connections_lead_to_services_of_the_compose_file():
    known = {"process_host_password": "p", "replayer_password": "r", "page_password": "a"}
    hosts = {
        host
        for name, connection in cluster_connections(known).items()
        if name != "spark_default"
        for host in str(connection.get("host", "kafka1")).split(",")
    }
    assert hosts <= set(SERVICES)


def test_a_missing_engine_is_named_with_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ComposeError, match=r"(?s)docker is not on PATH: install.*neither `docker compose` nor"
    ):
        Compose("none", {}).check()


def test_an_engine_that_does_not_answer_and_an_old_compose_are_both_named(monkeypatch, tmp_path):
    for name, script in (
        ("docker", "echo 'Cannot connect to the Docker daemon' >&2; exit 1"),
        ("docker-compose", "echo 1.25.0"),
    ):
        (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    with pytest.raises(
        ComposeError, match=r"(?s)Cannot connect.*start dockerd.*version 1\.25, expected 1\.29"
    ):
        Compose("none", {}).check()


def test_a_container_is_read_from_what_the_engine_tells():
    row = {
        "RestartCount": 0,
        "Config": {"Labels": {"com.docker.compose.service": "kafka1"}},
        "State": {
            "Status": "running", "Pid": 7, "ExitCode": 0, "StartedAt": "2026-11-23T10:00:00.123456789Z",
            "Health": {"Status": "healthy"},
        },
    }  # fmt: skip
    status = Container.of(row).status()
    assert (status.state, status.pid, status.healthy) == ("running", 7, True)
    assert status.uptime_s > 0


def test_every_host_of_the_table_is_a_service_of_the_compose_file():
    assert {host for service in TABLE for host in service.on_cluster} == set(SERVICES) - set(ONCE)


def test_the_check_is_shell_that_says_whether_a_service_does_its_work(tmp_path):
    """Asked as in a container; a service greets as an FTP server does, or as a mail server."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = IN_CONTAINERS.model_copy(update={"ftp_port": server.getsockname()[1]})
        script = tmp_path / "check"
        script.write_text(check_script(settings))

        def check(greeting: bytes) -> int:
            running = subprocess.Popen(["bash", script, "ftp"], env=os.environ | {"HOSTNAME": "127.0.0.1"})
            connection, _ = server.accept()
            with connection:
                connection.sendall(greeting)
                return running.wait(10)

        assert check(b"220 ready\r\n") == 0
        assert check(b"554 no\r\n") != 0


def test_hadoops_pages_are_asked_with_a_proof_where_they_want_one():
    secured = check_script(IN_CONTAINERS.model_copy(update={"webhdfs_url": "https://namenode:9870"}))
    cases = {line.split(")")[0].strip(): line for line in secured.splitlines() if line.startswith("  ")}
    for name in ("namenode", "datanode", "checkpoints", "resourcemanager", "nodemanager"):
        assert "--negotiate -u : --cacert" in cases[name]
        assert "http:" not in cases[name]
    assert secured.count("--negotiate") == 6
    assert "--negotiate" not in check_script(IN_CONTAINERS)


@pytest.mark.parametrize("script", ["bin/role", "engine"])
def test_the_scripts_are_shell_that_bash_reads(script):
    subprocess.run(["bash", "-n", DOCKER_DIR / script], check=True)
    assert os.access(PROJECT_DIR / "docker" / script, os.X_OK)


def test_an_address_to_be_erased_is_in_no_command_of_the_engine(monkeypatch, tmp_path):
    row = {
        "RestartCount": 0,
        "Config": {"Labels": {"com.docker.compose.service": "edge1"}},
        "State": {"Status": "running", "Pid": 7, "ExitCode": 0, "StartedAt": "2026-11-23T10:00:00.1Z"},
    }
    (tmp_path / "docker").write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/commands
case "$*" in
    *" exec "*) cat > {tmp_path}/told ;;
    ps*) echo 0123 ;;
    inspect*) echo '{json.dumps([row])}' ;;
esac
"""
    )
    (tmp_path / "docker").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}/bin")
    target = ClusterTarget(parse(state_dir=tmp_path), Console())
    assert target.erase("203.0.113.7", None) == 0
    assert (tmp_path / "told").read_text() == "203.0.113.7\n"
    *_, command = (tmp_path / "commands").read_text().splitlines()
    assert command.endswith("exec -T edge1 logpipe --target=inside erase -- -")
    assert "203.0.113.7" not in (tmp_path / "commands").read_text()


def test_the_command_within_reads_an_address_from_its_input(monkeypatch):
    asked = []
    monkeypatch.setattr(app, "_target", lambda _: SimpleNamespace(erase=lambda *of: asked.append(of) or 0))
    assert CliRunner().invoke(app.app, ["erase", "-"], input="203.0.113.7\n").exit_code == 0
    assert asked == [("203.0.113.7", None)]
