"""Fills the templates in ``conf/``, one for each of Kafka, HDFS and Airflow, here and on the cluster."""

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Template
from xml.sax.saxutils import escape

from logpipe.hosts import kafka_roles, kerberos_roles
from logpipe.hosts.connections import connections
from logpipe.hosts.layout import AIRFLOW_USER, CONF_DIR, Layout, write_private
from logpipe.hosts.services import AGENT_ROLES, KAFKA_FORMAT, PROCESS_HOST
from logpipe.hosts.services import KAFKA as KAFKA_SERVICE
from logpipe.settings import MAX_MESSAGE_BYTES, PROJECT_DIR, ROLES, Settings, SettingsError
from logpipe.settings.kafka_access import (
    ADMIN,
    ADMIN_USER,
    SCRAM_MODULE,
    Role,
    asks_for_password,
    login_file,
    login_module,
    password,
)

KAFKA = "kafka/server.properties"
KAFKA_SECURITY = "kafka/security.properties"  # behind it, where the broker is secured
HADOOP = ("hadoop/core-site.xml", "hadoop/hdfs-site.xml", "hadoop/log4j.properties")
# Where HDFS and YARN ask who comes, these are written beside them.
SECURITY = ("hadoop/security.xml", "hadoop/ssl-server.xml", "hadoop/ssl-client.xml")
REALM = ("kerberos/krb5.conf", "kerberos/kdc.conf")
PRINCIPALS = "kerberos/principals"
AIRFLOW = "airflow/airflow.cfg"
NEVER = 2**63 - 1  # Kafka's own default for a flush

# How a value is written into a file of a kind.
_ESCAPES: dict[str, Callable[[str], str]] = {".xml": escape, ".cfg": lambda value: value.replace("%", "%%")}


def filled(template: str, values: Mapping[str, object]) -> str:
    """A template of ``conf/`` with its values.

    Raises:
        KeyError: a value is missing.
    """
    write = _ESCAPES.get(Path(template).suffix, str)
    text = Template((CONF_DIR / template).read_text())
    return text.substitute({name: write(str(value)) for name, value in values.items()})


def write_all(settings: Settings, layout: Layout) -> None:
    """Write the configurations of one machine into its state folder, for their owner only."""
    layout.make_dirs()
    secrets = layout.secrets()
    values = machine_values(settings, layout, secrets) | _secured(settings, layout)
    for template in HADOOP:
        write_private(layout.conf_dir / template, filled(template, values))
    security = filled(KAFKA_SECURITY, values) if asks_for_password(settings) else ""
    write_private(layout.conf_dir / KAFKA, filled(KAFKA, values) + security)
    write_logins(settings, layout, *AGENT_ROLES)
    write_private(layout.airflow_dir / "airflow.cfg", filled(AIRFLOW, values))
    write_private(layout.airflow_dir / "passwords.json", json.dumps(layout.passwords(settings.roles)))
    found = connections(
        settings, secrets, lambda service: settings.process_host if service is PROCESS_HOST else settings.host
    )
    write_private(layout.airflow_dir / "connections.json", json.dumps(found, indent=2))


def write_logins(settings: Settings, layout: Layout, *roles: Role) -> None:
    """Write the files by which Java programs log in to Kafka, where it asks for that.

    Raises:
        KafkaAccessError: a password cannot be read.
    """
    for role in roles if asks_for_password(settings) else ():
        write_private(layout.login_file(role), login_file(settings, role))


def _secured(settings: Settings, layout: Layout) -> dict[str, object]:
    """What a secured broker on one machine takes; makes what is not there."""
    if settings.kafka_security_protocol == "PLAINTEXT":
        return {}
    if settings.kafka_security_protocol != "SASL_SSL" or settings.kafka_sasl_mechanism != "SCRAM-SHA-512":
        raise SettingsError(
            f"LOGPIPE_KAFKA_SECURITY_PROTOCOL={settings.kafka_security_protocol} with "
            f"{settings.kafka_sasl_mechanism}: the bundled broker speaks PLAINTEXT, or SASL_SSL with "
            "SCRAM-SHA-512"
        )
    folder, name = layout.kafka_access_dir, "kafka"
    hosts = sorted({settings.host, settings.bind_address, "localhost"})
    kafka_roles.make_access(folder, {name: hosts})
    # In a file, since a command line is for all to see.
    write_private(layout.conf_dir / KAFKA_FORMAT, kafka_roles.first_user(password(settings, ADMIN)))
    return {
        "kafka_key_file": folder / f"{name}.pem",
        "kafka_ca_file": folder / kafka_roles.AUTHORITY,
        "kafka_admin_login": login_module(settings, ADMIN),
        "kafka_super_users": kafka_roles.super_users([name]),
    }


def machine_values(settings: Settings, layout: Layout, secrets: Mapping[str, str]) -> dict[str, object]:
    """What the templates take on one machine, all of it at the settings' host."""
    host, home, flush_ms = settings.host, layout.airflow_dir, settings.kafka_flush_ms
    partition_bytes = settings.topic_retention_gb * 2**30 // settings.topic_partitions
    return {
        "replicas": 1,
        # Kafka
        "node": 1,
        "controllers": f"1@{host}:{settings.kafka_controller_port}",
        "kafka_protocol": settings.kafka_security_protocol,
        "controller_protocol": "SSL" if asks_for_password(settings) else "PLAINTEXT",
        "kafka_listens_at": settings.kafka_bootstrap,
        "kafka_is_reached_at": settings.kafka_bootstrap,
        "controller_listens_at": f"{host}:{settings.kafka_controller_port}",
        "kafka_dir": layout.kafka_dir,
        "min_in_sync": 1,
        "offsets_partitions": 4,
        "internal_partitions": 4,
        "retention_hours": settings.topic_retention_hours,
        "partition_bytes": partition_bytes,
        "segment_bytes": max(16 * 2**20, min(2**30, partition_bytes // 10)),
        "flush_records": NEVER if flush_ms else 1,
        "flush_ms": flush_ms or NEVER,
        "max_message_bytes": MAX_MESSAGE_BYTES,
        # HDFS
        "hdfs_url": settings.hdfs_url,
        "hadoop_tmp_dir": layout.hadoop_dir / "tmp",
        "name_dir": (layout.hadoop_dir / "name").as_uri(),  # the DataNode takes a path as it is
        "blocks_dir": layout.hadoop_dir / "data",
        "bind_host": settings.bind_address,
        "namenode": f"{host}:{settings.namenode_port}",
        "namenode_http": f"{host}:{settings.namenode_http_port}",
        "namenode_handlers": 5,
        "datanode": f"{host}:{settings.datanode_port}",
        "datanode_http": f"{host}:{settings.datanode_http_port}",
        "datanode_ipc": f"{host}:{settings.datanode_ipc_port}",
        "datanode_host": host,
        "by_names": "false",
        "checks_addresses": "true",
        "recheck_ms": 300000,
        "stale_ms": 30000,
        "passes_over_stale": "false",
        "replaces_datanodes": "false",
        "checkpoint_s": 60,
        "extra_edits": 10000,
        # Airflow
        "project_dir": PROJECT_DIR,
        "airflow_dir": home,
        "airflow_users": ",".join(f"{user}:{ROLES[role]}" for user, role in settings.roles.items()),
        "passwords_file": home / "passwords.json",
        "connections_file": home / "connections.json",
        "api_url": f"http://{host}:{settings.airflow_port}",
        "api_host": "127.0.0.1",
        "api_port": settings.airflow_port,
        # A write waits for another one: by default for 5 s, less than a busy disk takes at times.
        "database": f"sqlite:///{home}/airflow.db?timeout=20",
        "by_command": "",
        "fernet_key": secrets["airflow_fernet_key"],
        "session_secret": secrets["airflow_session_secret"],
        "jwt_secret": secrets["airflow_jwt_secret"],
    }


# What they take in the containers, where each service has a host of its own, and so its usual port.
CLUSTER_VALUES: dict[str, object] = {
    "replicas": 3,
    # Kafka; the container's entry point replaces @NODE@ by the broker's number
    "node": "@NODE@",
    "kafka_protocol": "PLAINTEXT",
    "controller_protocol": "PLAINTEXT",
    "controllers": "1@kafka1:9093,2@kafka2:9093,3@kafka3:9093",
    "kafka_listens_at": ":9092",
    "kafka_is_reached_at": "kafka@NODE@:9092",
    "controller_listens_at": ":9093",
    "kafka_dir": "/data/kafka",
    "min_in_sync": 2,
    "offsets_partitions": 6,
    "internal_partitions": 3,
    "retention_hours": 168,
    "partition_bytes": 10 * 2**30,
    "segment_bytes": 256 * 2**20,
    "flush_records": NEVER,
    "flush_ms": NEVER,
    "max_message_bytes": MAX_MESSAGE_BYTES,
    # HDFS
    "hdfs_url": "hdfs://namenode:9000",
    "hadoop_tmp_dir": "/data/tmp",
    "name_dir": "file:///data/name",
    "blocks_dir": "/data/blocks",
    "bind_host": "0.0.0.0",  # noqa: S104  # of a container
    "namenode": "namenode:9000",
    "namenode_http": "namenode:9870",
    "namenode_handlers": 10,
    "datanode": "0.0.0.0:9866",
    "datanode_http": "0.0.0.0:9864",
    "datanode_ipc": "0.0.0.0:9867",
    "datanode_host": "${env.HOSTNAME}",
    "by_names": "true",
    "checks_addresses": "false",
    "recheck_ms": 15000,
    "stale_ms": 15000,
    "passes_over_stale": "true",
    "replaces_datanodes": "true",
    "checkpoint_s": 3600,
    "extra_edits": 1000000,
    # Airflow
    "project_dir": "/opt/logpipe",
    "airflow_dir": "/data/airflow",
    "airflow_users": f"{AIRFLOW_USER}:admin",
    "passwords_file": "/tmp/passwords.json",  # noqa: S108  # of a container
    "connections_file": "/run/secrets/connections.json",
    "api_url": "http://airflow-api-server:8080",
    "api_host": "0.0.0.0",  # noqa: S104
    "api_port": 8080,
    "database": "cat /run/secrets/airflow_database_url",
    "by_command": "_cmd",
    "fernet_key": "cat /run/secrets/airflow_fernet_key",
    "session_secret": "cat /run/secrets/airflow_session_secret",
    "jwt_secret": "cat /run/secrets/airflow_jwt_secret",
}


# What a secured broker takes there; the entry point replaces @PASSWORD@ as well.
CLUSTER_SECURITY: dict[str, object] = {
    "kafka_protocol": "SASL_SSL",
    "controller_protocol": "SSL",
    "kafka_key_file": "/run/secrets/kafka@NODE@.pem",
    "kafka_ca_file": "/run/secrets/ca.pem",
    "kafka_admin_login": f'{SCRAM_MODULE} required username="{ADMIN_USER}" password="@PASSWORD@";',
    "kafka_super_users": kafka_roles.super_users(KAFKA_SERVICE.on_cluster),
}


def write_cluster(folder: Path, *, secure: bool, has_kerberos: bool) -> None:
    """Write the configurations of the cluster's containers, for any user to read; none holds a secret."""
    values = CLUSTER_VALUES | kerberos_roles.CLUSTER_VALUES | (CLUSTER_SECURITY if secure else {})
    templates = (KAFKA, *HADOOP, AIRFLOW, *REALM, *(SECURITY if has_kerberos else ()))
    texts = {template: filled(template, values) for template in templates}
    texts[KAFKA] += filled(KAFKA_SECURITY, values) if secure else ""
    shutil.rmtree(folder, ignore_errors=True)
    for name, text in (texts | {PRINCIPALS: kerberos_roles.table()}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.parent.chmod(0o755)
        path.write_text(text)
        path.chmod(0o644)
