"""Airflow's connections, as its local secrets backend reads them."""

from collections.abc import Callable

from logpipe.hosts.layout import USER
from logpipe.hosts.services import SERVICES, Connection, Service
from logpipe.settings import Settings

Connections = dict[str, dict[str, object]]


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
        return {"conn_type": conn_type, "extra": {"bootstrap.servers": brokers}}
    found: dict[str, object] = {"conn_type": conn_type, "host": host, "port": port}
    if conn_type == "webhdfs":
        return found | {"login": settings.hdfs_user}
    if connection.secret:
        found |= {"login": USER, "password": secrets[connection.secret]}
    return found
