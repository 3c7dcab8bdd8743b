"""What the containers must know and nobody else: generated once, a file each, readable by its owner only."""

import json
import os
import secrets
from pathlib import Path

from logpipe.hosts import certificates, kafka_roles, kerberos_roles
from logpipe.hosts.connections import connections
from logpipe.hosts.layout import AIRFLOW_USER, USER, Layout, new_kafka_cluster_id, write_private
from logpipe.hosts.services import EDGE_HOSTS, KAFKA, RESOURCE_MANAGER, YARN_PORT, named
from logpipe.replayer.addresses import AddressKeys
from logpipe.settings import Settings
from logpipe.settings.kafka_access import SecurityProtocol

# Within the cluster each service has a host of its own, and so its default port.
IN_CONTAINERS = Settings.model_construct()
MOUNTED = "/run/secrets"
KAFKA_FOLDER = "kafka"  # beside the other secrets: authority, servers' keys, roles' passwords
ADDRESS_KEYS = "address_keys"
ALERTS = "alerts.toml"
_NOTIFIERS = "AIRFLOW_CONN_"  # what Airflow itself takes connections from an environment by
CONTAINER_UID = 1000  # of the images where they are built by root


def container_uid() -> int:
    """The user that the containers run as: the one who builds them, since file secrets keep their owner."""
    return os.getuid() or CONTAINER_UID


def protocol(*, secure: bool) -> SecurityProtocol:
    """How Kafka is spoken to."""
    return "SASL_SSL" if secure else "PLAINTEXT"


def in_containers(*, has_kerberos: bool) -> Settings:
    """The settings as far as they say how HDFS and YARN are asked there."""
    return IN_CONTAINERS.model_copy(update={"webhdfs_url": kerberos_roles.webhdfs_url(secure=has_kerberos)})


def write_secrets(
    layout: Layout, folder: Path, *, secure: bool, has_kerberos: bool, alerts: str = ""
) -> None:
    """Write the files that the compose file mounts; values that exist already stay as they are.

    The authority's own key is among them, and in no container. Connections of notifiers are those of this
    process's environment.

    Args:
        layout: the cluster's.
        folder: for the files.
        secure: whether Kafka asks who one is.
        has_kerberos: whether HDFS and YARN do.
        alerts: the user's own rules of alerts.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    access = folder / KAFKA_FOLDER
    kafka_roles.make_access(access, {name: (name, "localhost") for name in KAFKA.on_cluster})
    (database_host,) = named("postgres").on_cluster
    authority = access / kafka_roles.AUTHORITY_KEY, access / kafka_roles.AUTHORITY
    for host in (database_host, *kerberos_roles.WEB_HOSTS):
        certificates.server(access / f"{host}.pem", host, (host,), *authority)
    kerberos_roles.make_passwords(access)
    inside = in_containers(has_kerberos=has_kerberos).model_copy(
        update={
            "kafka_security_protocol": protocol(secure=secure),
            "kafka_password_file": f"{access}/{{role}}.password",
            "kafka_ca_file": f"{MOUNTED}/{kafka_roles.AUTHORITY}",
        }
    )
    known = _known(layout, folder / "generated.json")
    database = f"postgresql+psycopg2://{USER}:{known['postgres_password']}@postgres:5432/postgres"
    edge = {name: known[name] for name in ("process_host_password", "replayer_password")}
    page = {
        name: known[name] for name in ("process_host_password", "page_password", "airflow_admin_password")
    }
    found = cluster_connections(known, inside)
    notifiers = _notifiers()
    files = {
        "kafka_cluster_id": known["kafka_cluster_id"],
        "postgres_password": known["postgres_password"],
        "airflow_database_url": database,
        "airflow_fernet_key": known["airflow_fernet_key"],
        "airflow_session_secret": known["airflow_session_secret"],
        "airflow_jwt_secret": known["airflow_jwt_secret"],
        "airflow_passwords": json.dumps({AIRFLOW_USER: known["airflow_admin_password"]}),
        "secrets.json": json.dumps(layout.secrets()),
        "edge_secrets": json.dumps(edge),
        "page_secrets": json.dumps(page),
        "connections.json": json.dumps(found | notifiers, indent=1),
        "page_connections.json": json.dumps({"page_default": found["page_default"]} | notifiers),
    }
    for name, text in files.items():
        write_private(folder / name, text)
    rules = folder / ALERTS
    rules.touch(mode=0o600)
    if rules.read_text() != alerts:
        rules.write_text(alerts)  # in its place: containers that run read this very file again
    AddressKeys(folder / ADDRESS_KEYS).current()
    if os.getuid() == 0:
        written = map(folder.joinpath, (*files, ADDRESS_KEYS, ALERTS))
        for path in {*written, *access.iterdir()} - {authority[0]}:
            os.chown(path, CONTAINER_UID, CONTAINER_UID)


def _notifiers() -> dict[str, object]:
    """Connections of the environment, as Airflow's file of connections takes them."""
    return {
        name.removeprefix(_NOTIFIERS).lower(): json.loads(text) if text.startswith("{") else text
        for name, text in os.environ.items()
        if name.startswith(_NOTIFIERS)
    }


def _known(layout: Layout, path: Path) -> dict[str, str]:
    """The one-machine secrets, and those that only a cluster has."""
    own: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    fresh = {
        "kafka_cluster_id": new_kafka_cluster_id(),
        "postgres_password": secrets.token_urlsafe(24),
    }
    write_private(path, json.dumps(fresh | own))
    return layout.secrets() | fresh | own


def cluster_connections(
    known: dict[str, str], settings: Settings = IN_CONTAINERS
) -> dict[str, dict[str, object]]:
    """Airflow's connections; one that names several hosts finds the one that does the work."""
    found = connections(settings, known, lambda service: ",".join(service.on_cluster))
    process_host = found["process_host_default"]
    return found | {
        **{f"process_host_{host}": process_host | {"host": host} for host in EDGE_HOSTS},
        "yarn_default": {
            "conn_type": "logpipe_yarn",
            "host": RESOURCE_MANAGER.name,
            "port": YARN_PORT,
            "schema": settings.hadoop_scheme,
        },
        "spark_default": {"conn_type": "spark", "host": "yarn", "extra": {"deploy-mode": "cluster"}},
    }
