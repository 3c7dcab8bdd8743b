"""The ways to the services: Airflow's connections, as its local secrets backend reads them, and clients."""

from collections.abc import Callable
from typing import TypeVar

from logpipe.clients.airflow import Airflow
from logpipe.hosts.layout import AIRFLOW_USER, USER, Layout
from logpipe.hosts.services import PROCESS_HOST, SERVICES, Connection, Service
from logpipe.settings import Settings

Connections = dict[str, dict[str, object]]
Client = TypeVar("Client")


def connections(
    settings: Settings, secrets: dict[str, str], host_of: Callable[[Service], str]
) -> Connections:
    """The connections to the services that run.

    Args:
        settings: have the ports.
        secrets: the passwords, by the names that the table has for them.
        host_of: where a service runs, several hosts with commas; empty: nowhere.
    """
    return {
        service.connection.conn_id: _entry(service.connection, settings, secrets, host)
        for service in SERVICES
        if service.connection and (host := host_of(service))
    }


def _entry(
    connection: Connection, settings: Settings, secrets: dict[str, str], host: str
) -> dict[str, object]:
    port, conn_type = settings.port(connection.port), connection.conn_type
    if conn_type == "kafka":
        brokers = settings.kafka_bootstrap or ",".join(f"{each}:{port}" for each in host.split(","))
        return {
            "conn_type": conn_type,
            "extra": settings.kafka_client("airflow") | {"bootstrap.servers": brokers},
        }
    found: dict[str, object] = {"conn_type": conn_type, "host": host, "port": port}
    if conn_type == "webhdfs":
        proof = {"extra": {"use_ssl": True}} if settings.hadoop_scheme == "https" else {}
        return found | {"login": settings.hdfs_user} | proof
    if connection.secret:
        found |= {"login": USER, "password": secrets[connection.secret]}
    return found


def client(kind: Callable[..., Client], service: Service, settings: Settings, layout: Layout) -> Client:
    """The client of a service at the settings' host, with the password that this copy has for it.

    To ask makes no secrets: where there are none, nothing of this copy runs.
    """
    assert service.connection is not None
    secrets = layout.secrets() if layout.secrets_file.exists() else {}
    password = secrets.get(service.connection.secret, "none")
    host = settings.process_host if service is PROCESS_HOST else settings.bind_address
    return kind([host], settings.port(service.connection.port), USER, password)


def airflow_of(settings: Settings, layout: Layout) -> Airflow:
    """The client of the Airflow at the settings' host, as its administrator."""
    password = layout.secrets()["airflow_admin_password"]
    return Airflow([settings.host], settings.airflow_port, AIRFLOW_USER, password)
