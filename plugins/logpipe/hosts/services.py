"""THE table of services: what is known of each, once, in the order in which they start.

They stop in the reverse order. Start, stop, status, the check of ports, the process host's configuration,
Airflow's connections and DAGs, the cluster's health checks and its edge hosts read it. To add a service is
to add an entry; a Flume agent is found by its files.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from logpipe.clients.flume import FLUME_CONF_DIR, AgentFiles, FlumeAgent
from logpipe.clients.page import LogsPage
from logpipe.clients.replayer import Replayer
from logpipe.clients.spark import SparkDriver
from logpipe.hosts import kafka_roles
from logpipe.hosts.environment import (
    BULK_JAVA,
    SMALL_JAVA,
    airflow_environment,
    class_path,
    hadoop_class_path,
    hadoop_conf_dir,
    hdfs_client_environment,
    shared_classes,
)
from logpipe.hosts.layout import AIRFLOW, BUILD_DIR, CONF_DIR, PYTHON, Layout, new_kafka_cluster_id
from logpipe.hosts.probes import Command, Hadoop, Http, KafkaMetadata, Probe, Tcp
from logpipe.settings import PROJECT_DIR, Settings
from logpipe.settings.kafka_access import Role, asks_for_password

LOG4J2 = f"-Dlog4j2.configurationFile={CONF_DIR}/log4j2.properties"
METRICS_AGENT = "jmx_prometheus_javaagent-1.0.1.jar"
KAFKA_FORMAT = "kafka/format.arguments"  # of a secured broker's storage
AGENT_ROLES: tuple[Role, ...] = ("agent1", "agent2")  # agents with other numbers bring lines to HDFS too
EDGE_HOSTS = ("edge1", "edge2")
FIRST_ANSWER_TIMEOUT_S = 20.0

# What starts it: `make run` (stores and Airflow), a DAG (streams), each piece of work (batch programs), or
# the cluster alone.
Kind = Literal["host", "store", "batch", "stream", "airflow", "cluster"]


@dataclass(frozen=True)
class Connection:
    """How Airflow finds a service: the connection's id, the port's name, the name of its password, its type.

    The types of ours are those of `logpipe.airflow.provider`.
    """

    conn_id: str
    port: str
    secret: str = ""
    conn_type: str = field(kw_only=True)


@dataclass(frozen=True)
class Task:
    """How the DAGs have a service: their tasks' id, and what is known of its life.

    Attributes:
        task_id: of its launch, and of its stop.
        kind: class in airflow/services/kinds.py that tells whether it is healthy and what a stop loses.
        stays: `stream_services` keeps it up; what does not is launched by those who need it.
    """

    task_id: str
    kind: str
    stays: bool = True


@dataclass(frozen=True)
class Preparation:
    """A command that is run to its end before a service starts; ``stamp`` is written behind it."""

    what: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    stamp: tuple[Path, str] | None = None


def _nothing(settings: Settings, layout: Layout) -> None:
    """No preparation."""


@dataclass(frozen=True, kw_only=True)
class Service:
    """All that is known of a service.

    Attributes:
        name: as in `make logs SERVICE=…`.
        kind: what starts it.
        command: of one of its variants; None where no process host keeps it.
        variants: ways of running it, of which one runs at a time.
        environment: on top of the settings, which each service has.
        preparation: what comes before its start; None when nothing is to do.
        settle: what is done as soon as it is ready, each time.
        ports: names of the settings that have them.
        ready: it does its work when all of these hold. A supervision asks the service's client (`kinds.py`),
            at the same `alive_path`: a port that a start waits for need not be asked again and again.
        undrained: says what would be lost or late if it was stopped now; empty when nothing.
        connection: by which Airflow finds it.
        task: how the DAGs have it; each service of kind ``stream`` has one.
        empties_topic: it brings the pipeline's topic to HDFS.
        on_cluster: the hosts that have it in docker/docker-compose.yml; the windows job is on YARN.
        stop_wait_s: it is killed when it has not ended by then.
        separate_stderr: its output is for people or programs, its log is its standard error.
    """

    name: str
    kind: Kind
    command: Callable[[Settings, Layout, str], tuple[str, ...]] | None = None
    variants: tuple[str, ...] = ()
    environment: Callable[[Settings, Layout], dict[str, str]] = lambda settings, layout: {}
    preparation: Callable[[Settings, Layout], Preparation | None] = _nothing
    settle: Callable[[Settings], None] = lambda settings: None
    ports: tuple[str, ...] = ()
    ready: tuple[Probe, ...] = ()
    undrained: Callable[[Settings], str] = lambda settings: ""
    connection: Connection | None = None
    task: Task | None = None
    empties_topic: bool = False
    on_cluster: tuple[str, ...] = ()
    stop_wait_s: int = 20
    separate_stderr: bool = False

    def is_ready(self, settings: Settings) -> bool:
        """Whether it does its work, at the settings' host."""
        return all(probe.holds(settings) for probe in self.ready)


# ---------------------------------------------------------------------- stores


def _kafka(*heap: str) -> tuple[str, ...]:
    return (*BULK_JAVA, *heap, LOG4J2, *class_path("kafka"))


def _broker(settings: Settings, layout: Layout, variant: str) -> tuple[str, ...]:
    java = _kafka("-Xms256m", f"-Xmx{settings.kafka_heap_mb}m")
    return (*java, "kafka.Kafka", str(layout.conf_dir / "kafka" / "server.properties"))


def _format_broker(settings: Settings, layout: Layout) -> Preparation | None:
    if (layout.kafka_dir / "meta.properties").exists():
        return None
    configuration = str(layout.conf_dir / "kafka" / "server.properties")
    tool = ("kafka.tools.StorageTool", "format", "-t", new_kafka_cluster_id(), "-c", configuration)
    first_user = (f"@{layout.conf_dir / KAFKA_FORMAT}",) if asks_for_password(settings) else ()
    return Preparation("Formatting Kafka's storage", (*_kafka(), *tool, *first_user))


def _namenode(settings: Settings, layout: Layout, variant: str) -> tuple[str, ...]:
    heap = f"-Xmx{settings.namenode_heap_mb}m"
    daemon = "org.apache.hadoop.hdfs.server.namenode.NameNode"
    return (*SMALL_JAVA, *hadoop_class_path(layout), heap, daemon)


def _format_namenode(settings: Settings, layout: Layout) -> Preparation | None:
    current = layout.hadoop_dir / "name" / "current"
    has_image = any(not file.suffix for file in current.glob("fsimage_*"))  # there are sums of them besides
    if has_image or any(current.glob("edits_*")):
        return None
    # By force over what a format left that was killed before there was an image.
    command = (*_namenode(settings, layout, ""), "-format", "-nonInteractive", "-force")
    return Preparation("Formatting the NameNode", command)


def _datanode(settings: Settings, layout: Layout, variant: str) -> tuple[str, ...]:
    heap = f"-Xmx{settings.datanode_heap_mb}m"
    daemon = "org.apache.hadoop.hdfs.server.datanode.DataNode"
    return (*SMALL_JAVA, *hadoop_class_path(layout), heap, daemon)


_NAMENODE_STATE = "/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState"

KAFKA = Service(
    name="kafka",
    kind="store",
    command=_broker,
    preparation=_format_broker,
    settle=kafka_roles.let_in,
    ports=("kafka_port", "kafka_controller_port"),
    ready=(Tcp("kafka_port"), KafkaMetadata()),
    connection=Connection("kafka_default", "kafka_port", conn_type="kafka"),
    on_cluster=("kafka1", "kafka2", "kafka3"),
    stop_wait_s=30,
)

NAMENODE = Service(
    name="namenode",
    kind="store",
    command=_namenode,
    preparation=_format_namenode,
    ports=("namenode_port", "namenode_http_port"),
    ready=(Hadoop("namenode_http_port", _NAMENODE_STATE, '"FSState" : "Operational"'),),
    connection=Connection("webhdfs_default", "namenode_http_port", conn_type="webhdfs"),
    on_cluster=("namenode",),
)

STORES = (
    KAFKA,
    NAMENODE,
    Service(
        name="datanode",
        kind="store",
        command=_datanode,
        ports=("datanode_port", "datanode_http_port", "datanode_ipc_port"),
        ready=(
            Hadoop("namenode_http_port", _NAMENODE_STATE, '"NumLiveDataNodes" : [1-9]'),
            Hadoop("datanode_http_port", "/jmx?qry=Hadoop:service=DataNode,name=DataNodeInfo"),
        ),
        on_cluster=("datanode1", "datanode2", "datanode3"),
    ),
    Service(
        name="ftp",
        kind="store",
        command=lambda settings, layout, variant: (str(PYTHON), "-m", "logpipe.hosts.machine.ftp.server"),
        ports=("ftp_port",),
        ready=(Tcp("ftp_port", greeting="220"),),
        on_cluster=("ftp",),
    ),
)


# ---------------------------------------------------------------------- streams and batch programs


def agents(flume_conf: Path = FLUME_CONF_DIR) -> tuple[Service, ...]:
    """The Flume agents, the first one last: files ``<profile>/agent<number>.properties``.

    An agent's variants are the profiles that have a file of it; its ports those that its files take from
    the environment.
    """
    return tuple(_agent(flume_conf, agent) for agent in reversed(AgentFiles.found(flume_conf)))


def _agent(flume_conf: Path, agent: AgentFiles) -> Service:
    number, texts = agent.number, agent.texts
    metrics = f"agent{number}_metrics_port"
    ports = [set(re.findall(r"\$\{env:LOGPIPE_(\w+_PORT)\b", text)) for text in texts.values()]
    always = sorted(name.lower() for name in set.intersection(*ports))
    return Service(
        name=f"flume-agent{number}",
        kind="stream",
        command=lambda settings, layout, profile: flume_command(
            settings, layout, flume_conf / profile / f"agent{number}.properties"
        ),
        variants=tuple(texts),
        environment=hdfs_client_environment,
        ports=(*sorted(name.lower() for name in set.union(*ports)), metrics),
        ready=(
            Http(metrics, FlumeAgent.alive_path, FlumeAgent.alive_pattern),
            *(Tcp(port) for port in always),
        ),
        undrained=lambda settings: _undrained_agent(settings, number, empties_topic=agent.empties_topic),
        connection=Connection(f"flume_agent{number}_default", metrics, conn_type="logpipe_flume_agent"),
        task=Task(f"agent_{number}", "FlumeAgent"),
        empties_topic=agent.empties_topic,
        on_cluster=EDGE_HOSTS,
        stop_wait_s=30,
    )


def flume_command(settings: Settings, layout: Layout, file: Path) -> tuple[str, ...]:
    """Start a Flume agent with a file ``agent<number>.properties``."""
    address = f"{settings.bind_address}:{settings.port(f'{file.stem}_metrics_port')}"
    metrics = f"{BUILD_DIR}/jars/flume/{METRICS_AGENT}={address}:{FLUME_CONF_DIR}/metrics.yaml"
    login = layout.login_file(AGENT_ROLES[0 if file.stem == "agent1" else 1])
    return (
        *BULK_JAVA,
        *([f"-Djava.security.auth.login.config={login}"] if asks_for_password(settings) else []),
        f"-Xmx{settings.flume_heap_mb}m",
        f"-javaagent:{metrics}",
        LOG4J2,
        *class_path("flume", hadoop_conf_dir(settings, layout)),
        "org.apache.flume.node.Application",
        "--no-reload-conf",
        "-f",
        str(file),
        "-n",
        file.stem,
    )


def _undrained_agent(settings: Settings, number: int, *, empties_topic: bool) -> str:
    from logpipe.accounting.drain import agent_undrained

    # The port first: to ask a broker that is away takes half a minute.
    is_asked = empties_topic and Tcp("kafka_port").holds(settings)
    return agent_undrained(settings, FlumeAgent.of(settings, number), empties_topic=is_asked)


def _windows_job(settings: Settings, layout: Layout, variant: str) -> tuple[str, ...]:
    return (str(PYTHON), str(PROJECT_DIR / "spark_jobs" / "stream_windows.py"))


def _windows_environment(settings: Settings, layout: Layout) -> dict[str, str]:
    options = {"SPARK_LOCAL_IP": "127.0.0.1", "SPARK_SUBMIT_OPTS": " ".join(shared_classes("spark"))}
    return hdfs_client_environment(settings, layout) | options


def _of_a_day(name: str, module: str) -> Service:
    """A program that does one thing to one day, see `logpipe.sealing.day_program`."""
    return Service(
        name=name,
        kind="batch",
        command=lambda settings, layout, variant: (str(PYTHON), "-m", module),
        on_cluster=EDGE_HOSTS,
        separate_stderr=True,
    )


BATCH = (
    Service(
        name="maintenance",
        kind="batch",
        command=lambda settings, layout, variant: (str(PYTHON), "-m", "logpipe.hosts.machine.maintenance"),
        environment=lambda settings, layout: airflow_environment(layout),
        separate_stderr=True,
    ),
    _of_a_day("seal", "logpipe.sealing"),
    _of_a_day("repair", "logpipe.sealing.mend"),
    _of_a_day("report", "logpipe.report"),
)

WINDOWS_JOB = Service(
    name="analytics",
    kind="stream",
    command=_windows_job,
    environment=_windows_environment,
    ports=("spark_ui_port",),
    ready=(Http("spark_ui_port", SparkDriver.alive_path),),
    connection=Connection("spark_driver_default", "spark_ui_port", conn_type="logpipe_spark_driver"),
    task=Task("spark_job", "WindowsJob"),
    stop_wait_s=30,
    separate_stderr=True,
)

REPLAYER = Service(
    name="replayer",
    kind="stream",
    command=lambda settings, layout, variant: (str(PYTHON), "-m", "logpipe.replayer"),
    ports=("replayer_port",),
    ready=(Http("replayer_port", Replayer.alive_path),),
    connection=Connection(
        "replayer_default", "replayer_port", "replayer_password", conn_type="logpipe_replayer"
    ),
    task=Task("replayer", "Replayer", stays=False),
    on_cluster=EDGE_HOSTS,
)

PAGE = Service(
    name="page",
    kind="airflow",
    command=lambda settings, layout, variant: (str(PYTHON), "-m", "logpipe.page"),
    environment=lambda settings, layout: airflow_environment(layout),  # it may have to send alerts itself
    ports=("page_port",),
    ready=(Http("page_port", LogsPage.alive_path),),
    connection=Connection("page_default", "page_port", "page_password", conn_type="logpipe_page"),
    on_cluster=("page",),
)


# ---------------------------------------------------------------------- Airflow


def _migrate(settings: Settings, layout: Layout) -> Preparation | None:
    stamp, version = layout.airflow_dir / ".migrated", (PROJECT_DIR / "requirements.txt").read_text()
    if stamp.exists() and stamp.read_text() == version:
        return None
    return Preparation(
        "Preparing Airflow's database",
        (str(AIRFLOW), "db", "migrate"),
        airflow_environment(layout),
        (stamp, version),
    )


def encrypt_anew(settings: Settings, layout: Layout) -> Preparation | None:
    """What Airflow's database holds encrypted is encrypted by the newest key."""
    if not (layout.airflow_dir / "airflow.db").exists():
        return None
    command = (str(PYTHON), "-m", "logpipe.airflow.encrypt_anew")
    return Preparation("Encrypting Airflow's database anew", command, airflow_environment(layout))


def _airflow(
    name: str,
    part: str,
    *options: str,
    ports: tuple[str, ...] = (),
    ready: tuple[Probe, ...] = (),
    niceness: int = 0,
) -> Service:
    """One of Airflow's components; the API server tells of the part's heartbeat."""

    def command(settings: Settings, layout: Layout, variant: str) -> tuple[str, ...]:
        listen = ("--host", "127.0.0.1", "--port", str(settings.airflow_port)) if ports else ()
        behind = ("nice", "-n", str(niceness)) if niceness else ()
        return (*behind, str(AIRFLOW), name, *listen, *options)

    heartbeat = Http("airflow_port", "/api/v2/monitor/health", rf'"{part}": *\{{"status": *"healthy"')
    return Service(
        name=f"airflow-{name}",
        kind="airflow",
        command=command,
        environment=lambda settings, layout: airflow_environment(layout),
        preparation=_migrate,
        ports=ports,
        ready=(heartbeat, *ready),
        on_cluster=(f"airflow-{name}",),
        stop_wait_s=30,
    )


AIRFLOW_COMPONENTS = (
    _airflow(
        "api-server",
        "metadatabase",
        ports=("airflow_port",),
        # The first request to its execution API takes seconds: better now than as part of the first task.
        ready=(Http("airflow_port", "/execution/health", timeout_s=FIRST_ANSWER_TIMEOUT_S),),
    ),
    _airflow("dag-processor", "dag_processor"),
    # A start waits for what it takes 9 s of CPU for least of all.
    _airflow("triggerer", "triggerer", "--skip-serve-logs", niceness=5),
    _airflow("scheduler", "scheduler", "--skip-serve-logs"),
)


# ---------------------------------------------------------------------- the table

PROCESS_HOST = Service(
    name="process-host",
    kind="host",
    ports=("supervisor_port",),
    ready=(Tcp("supervisor_port"),),
    connection=Connection(
        "process_host_default", "supervisor_port", "process_host_password", conn_type="logpipe_process_host"
    ),
    on_cluster=EDGE_HOSTS,
)

YARN_PORT = 8088
RESOURCE_MANAGER = Service(
    name="resourcemanager",
    kind="cluster",
    ready=(Hadoop(YARN_PORT, "/ws/v1/cluster/info", '"state":"STARTED"'),),
    on_cluster=("resourcemanager",),
)

KDC_PORT = 1088
KDC = Service(
    name="kdc",
    kind="cluster",
    ready=(Command(f"exec 3<> /dev/tcp/localhost/{KDC_PORT}"),),
    on_cluster=("kdc",),
)

CLUSTER_ONLY = (
    KDC,
    Service(
        name="postgres",
        kind="cluster",
        ready=(Command("/usr/lib/postgresql/15/bin/pg_isready -q -h localhost"),),
        on_cluster=("postgres",),
    ),
    Service(
        name="checkpoints",
        kind="cluster",
        ready=(
            Hadoop(
                9868,
                "/jmx?qry=Hadoop:service=SecondaryNameNode,name=SecondaryNameNodeInfo",
                "LastCheckpointTime",
            ),
        ),
        on_cluster=("checkpoints",),
    ),
    RESOURCE_MANAGER,
    Service(
        name="nodemanager",
        kind="cluster",
        ready=(Hadoop(8042, "/ws/v1/node/info", '"nodeHealthy":true'),),
        on_cluster=("nodemanager1", "nodemanager2"),
    ),
)


def table(flume_conf: Path = FLUME_CONF_DIR) -> tuple[Service, ...]:
    """All services, in the order in which they start."""
    return (
        PROCESS_HOST,
        *STORES,
        *CLUSTER_ONLY,
        *BATCH,
        WINDOWS_JOB,
        *agents(flume_conf),
        REPLAYER,
        PAGE,
        *AIRFLOW_COMPONENTS,
    )


SERVICES = table()


def names(*kinds: Kind) -> tuple[str, ...]:
    """The names of the services of some kinds, in the order in which they start."""
    return tuple(service.name for service in SERVICES if service.kind in kinds)


def named(name: str) -> Service:
    """The service of a name.

    Raises:
        KeyError: there is none.
    """
    return {service.name: service for service in SERVICES}[name]


def streams() -> tuple[tuple[Service, Task], ...]:
    """The services that DAGs start and stop, in the order of their start."""
    return tuple((service, service.task) for service in SERVICES if service.task)
