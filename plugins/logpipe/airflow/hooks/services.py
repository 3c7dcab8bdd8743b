"""Services with an address of their own: host, port, login and password of a connection."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

from airflow.sdk import BaseHook

from logpipe.clients.flume import Agents, FlumeAgent
from logpipe.clients.kerberos import of_hadoop
from logpipe.clients.page import LogsPage
from logpipe.clients.process_host import ProcessHost
from logpipe.clients.replayer import Replayer
from logpipe.clients.spark import SparkDriver
from logpipe.clients.yarn import Yarn
from logpipe.hosts.services import streams
from logpipe.settings import load

Client = TypeVar("Client")


class ServiceHook(BaseHook, Generic[Client]):
    """Makes the client of a connection, which may name several hosts, with commas.

    A connection of any type does, ``http`` among them; one of the type of the hook's own has a form in
    Airflow's page that asks for what the service needs (`logpipe.airflow.provider`).

    Args:
        conn_id: the connection; of one that names several, ``CONNECTION@HOST`` is one of its hosts alone.
    """

    client_class: Callable[..., Client]
    conn_name_attr = "conn_id"
    conn_type: ClassVar[str]
    hook_name: ClassVar[str]
    default_conn_name: ClassVar[str]

    def __init__(self, conn_id: str | None = None) -> None:
        super().__init__()
        self.conn_id = conn_id or self.default_conn_name

    @property
    def hosts(self) -> list[str]:
        """The hosts that the connection names. Blocks."""
        return _hosts(self.get_connection(self.conn_id.partition("@")[0]))

    def get_conn(self) -> Client:
        """Return the client. Blocks, also in a trigger's thread."""
        name, _, only = self.conn_id.partition("@")
        connection: Any = self.get_connection(name)
        hosts = _hosts(connection)
        return type(self).client_class(
            [only] if only and len(hosts) > 1 else hosts,
            connection.port,
            connection.login or "",
            connection.password or "",
            scheme=connection.schema or "http",
            known_as=f"connection {self.conn_id}",
            **self._more(),
        )

    def _more(self) -> dict[str, Any]:
        """What else the client takes."""
        return {}

    @abstractmethod
    def greet(self, client: Client) -> str:
        """Ask what changes nothing and needs the password, if there is one; say what was answered."""

    def test_connection(self) -> tuple[bool, str]:
        """Whether the service answers who has this connection, and what it said: Airflow's *Test*."""
        try:
            return True, self.greet(self.get_conn())
        except Exception as error:  # noqa: BLE001  # whatever it is, it is the answer
            return False, str(error)


def _hosts(connection: Any) -> list[str]:
    return [host.strip() for host in (connection.host or "").split(",")]


class ProcessHostHook(ServiceHook[ProcessHost]):
    """supervisord's HTTP server."""

    client_class = ProcessHost
    default_conn_name = "process_host_default"
    conn_type = "logpipe_process_host"
    hook_name = "Process host (supervisord)"

    def greet(self, client: ProcessHost) -> str:
        """What it does now."""
        states = [
            f"{host}: {client.call('getState', host=host)['statename'].lower()}, "
            f"{sum(process.up for process in client.processes(host))} processes"
            for host in client.hosts
        ]
        return "; ".join(states)


class FlumeAgentHook(ServiceHook[FlumeAgent]):
    """The metrics of a Flume agent."""

    client_class = FlumeAgent
    default_conn_name = "flume_agent1_default"
    conn_type = "logpipe_flume_agent"
    hook_name = "Flume agent"

    def greet(self, client: FlumeAgent) -> str:
        """What it does now."""
        found = client.metrics()
        return f"{found.received_events} events received, {found.drained_events} drained since its start"


class ReplayerHook(ServiceHook[Replayer]):
    """The replayer's HTTP interface."""

    client_class = Replayer
    default_conn_name = "replayer_default"
    conn_type = "logpipe_replayer"
    hook_name = "Log replayer"

    def greet(self, client: Replayer) -> str:
        """What it does now."""
        return f"{client.health()} replays run, {len(client.follows())} logs are followed"


class PageHook(ServiceHook[LogsPage]):
    """The page's service."""

    client_class = LogsPage
    default_conn_name = "page_default"
    conn_type = "logpipe_page"
    hook_name = "Page of the logs"

    def greet(self, client: LogsPage) -> str:
        """What it does now."""
        client.get("/days")
        return "it answers"


class SparkDriverHook(ServiceHook[SparkDriver]):
    """The page of a Spark driver."""

    client_class = SparkDriver
    default_conn_name = "spark_driver_default"
    conn_type = "logpipe_spark_driver"
    hook_name = "Spark driver"

    def greet(self, client: SparkDriver) -> str:
        """What it does now."""
        return f"application {client.application_id()}"


class YarnHook(ServiceHook[Yarn]):
    """The web server of a ResourceManager."""

    client_class = Yarn
    default_conn_name = "yarn_default"
    conn_type = "logpipe_yarn"
    hook_name = "YARN ResourceManager"

    def _more(self) -> dict[str, Any]:
        return of_hadoop(load())

    def greet(self, client: Yarn) -> str:
        """What it does now."""
        return f"cluster {client.get('/ws/v1/cluster/info')['clusterInfo']['state'].lower()}"


def agent_conn_ids(*, empties_topic: bool) -> list[str]:
    """The table's connections to the Flume agents that fill the topic, or to those that empty it."""
    return [
        entry.connection.conn_id
        for entry, task in streams()
        if entry.connection and task.kind == FlumeAgent.__name__ and entry.empties_topic == empties_topic
    ]


def agents_at(filling: Sequence[str], emptying: Sequence[str]) -> Agents:
    """The Flume agents that these connections lead to."""
    filling_agents, emptying_agents = (
        tuple(FlumeAgentHook(conn_id).get_conn() for conn_id in conn_ids) for conn_ids in (filling, emptying)
    )
    return Agents(filling_agents, emptying_agents)
