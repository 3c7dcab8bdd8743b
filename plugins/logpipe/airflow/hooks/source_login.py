"""What the server of a log asks for, from an Airflow connection."""

from urllib.parse import urlsplit

from airflow.sdk import BaseHook
from airflow.sdk.log import mask_secret

from logpipe.replayer.urls import PORTS

_OWN = ("process_host_default", "replayer_default")  # theirs is the pipeline itself


class SourceLoginError(RuntimeError):
    """A connection has no login for a log's server; the message names both, and no password."""


def source_login(conn_id: str | None, url: str) -> dict[str, str] | None:
    """Return ``user``, ``password`` and ``query`` of a connection, None without one.

    The query is ``query`` of the connection's extra: the signature of a presigned URL. Airflow's logs and
    rendered fields mask it from then on, as they do the password.

    They go to the connection's own host, and its port if it names one: who may start a replay is not by that
    given the passwords of all connections.

    Raises:
        SourceLoginError: the connection is another server's, or has no login.
    """
    if not conn_id:
        return None
    connection = BaseHook.get_connection(conn_id)
    parts = urlsplit(url)
    if conn_id in _OWN or (connection.host or "").lower() != parts.hostname:
        raise SourceLoginError(
            f"Connection {conn_id} is for host {connection.host!r}, not for {parts.hostname!r} of the URL: "
            "its password goes nowhere else; give the connection of that host"
        )
    if connection.port and connection.port != (parts.port or PORTS.get(parts.scheme)):
        raise SourceLoginError(
            f"Connection {conn_id} is for port {connection.port} of {connection.host}, not for the URL's"
        )
    query = str(connection.extra_dejson.get("query", ""))
    if not connection.login and not query:
        raise SourceLoginError(
            f'Connection {conn_id} has no login: enter user and password there, or {{"query": "…"}} as its '
            "extra"
        )
    for secret in filter(None, (connection.password, query)):
        mask_secret(secret)
    return {"user": connection.login or "", "password": connection.password or "", "query": query}
