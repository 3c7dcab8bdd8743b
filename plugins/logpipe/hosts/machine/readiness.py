"""Whether a service does its work, asked from outside as its users would."""

import socket
from collections.abc import Callable
from typing import Any

import httpx
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from logpipe.settings import Settings

TIMEOUT_S = 3.0
FIRST_ANSWER_TIMEOUT_S = 20.0
# One client for all: each new one would load the machine's certificates anew.
_CLIENT = httpx.Client(timeout=TIMEOUT_S, trust_env=False)

Check = Callable[[Settings], bool]


def kafka(settings: Settings) -> bool:
    """The broker answers with its metadata."""
    if not _accepts(settings.host, settings.kafka_port):
        return False
    configuration: dict[str, Any] = {"bootstrap.servers": settings.kafka_bootstrap, "logger": _silent()}
    client = AdminClient(configuration)
    try:
        return bool(client.list_topics(timeout=TIMEOUT_S).brokers)
    except KafkaException:
        return False


def _silent() -> object:
    import logging

    logger = logging.getLogger("logpipe.librdkafka")
    logger.propagate = False
    logger.addHandler(logging.NullHandler())
    return logger


def _accepts(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), TIMEOUT_S):
            return True
    except OSError:
        return False


def _get(url: str, timeout_s: float = TIMEOUT_S) -> httpx.Response | None:
    try:
        response = _CLIENT.get(url, timeout=timeout_s)
    except httpx.HTTPError:
        return None
    return response if response.status_code == 200 else None


def namenode_state(settings: Settings) -> dict[str, object]:
    """The NameNode's own view of the file system; empty when it does not answer."""
    response = _get(f"{settings.webhdfs_url}/jmx?qry=Hadoop:service=NameNode,name=FSNamesystemState")
    beans = response.json()["beans"] if response else []
    return beans[0] if beans else {}


def namenode(settings: Settings) -> bool:
    """The NameNode answers and is out of safe mode."""
    return namenode_state(settings).get("FSState") == "Operational"


def datanode(settings: Settings) -> bool:
    """The NameNode counts a live DataNode, and the DataNode itself answers."""
    alive = namenode_state(settings).get("NumLiveDataNodes", 0)
    return (
        alive != 0
        and _get(f"http://{settings.host}:{settings.datanode_http_port}/jmx?qry=java.lang:type=Runtime")
        is not None
    )


def ftp(settings: Settings) -> bool:
    """The FTP server greets."""
    try:
        with socket.create_connection((settings.host, settings.ftp_port), TIMEOUT_S) as connection:
            connection.settimeout(TIMEOUT_S)
            return connection.recv(3) == b"220"
    except OSError:
        return False


def _flume_components(port: int, host: str) -> str:
    """The agent's own counters; empty before its components have started."""
    response = _get(f"http://{host}:{port}/metrics")
    return (
        "\n".join(line for line in response.text.splitlines() if line.startswith("flume_"))
        if response
        else ""
    )


def flume_agent1(settings: Settings) -> bool:
    """Agent 1 counts what its channel takes, and its netcat source listens."""
    has_started = "flume_channel" in _flume_components(settings.agent1_metrics_port, settings.host)
    return has_started and _accepts(settings.host, settings.netcat_port)


def flume_agent2(settings: Settings) -> bool:
    """Agent 2 counts what its sink writes."""
    return "flume_sink" in _flume_components(settings.agent2_metrics_port, settings.host)


def analytics(settings: Settings) -> bool:
    """The Spark driver's REST interface answers."""
    return _get(f"http://{settings.host}:{settings.spark_ui_port}/api/v1/applications") is not None


def replayer(settings: Settings) -> bool:
    """The replayer answers."""
    return _get(f"http://{settings.host}:{settings.replayer_port}/health") is not None


def _airflow_part(settings: Settings, part: str) -> bool:
    response = _get(f"http://{settings.host}:{settings.airflow_port}/api/v2/monitor/health")
    return response is not None and (response.json().get(part) or {}).get("status") == "healthy"


def airflow_api_server(settings: Settings) -> bool:
    """The API server reaches its database, and serves tasks.

    The first request to its execution API takes seconds: better now than as part of the first task.
    """
    url = f"http://{settings.host}:{settings.airflow_port}/execution/health"
    return _airflow_part(settings, "metadatabase") and _get(url, FIRST_ANSWER_TIMEOUT_S) is not None


def airflow_scheduler(settings: Settings) -> bool:
    """The scheduler's heartbeat is recent."""
    return _airflow_part(settings, "scheduler")


def airflow_dag_processor(settings: Settings) -> bool:
    """The DAG processor's heartbeat is recent."""
    return _airflow_part(settings, "dag_processor")


def airflow_triggerer(settings: Settings) -> bool:
    """The triggerer's heartbeat is recent."""
    return _airflow_part(settings, "triggerer")


CHECKS: dict[str, Check] = {
    "kafka": kafka,
    "namenode": namenode,
    "datanode": datanode,
    "ftp": ftp,
    "flume-agent1": flume_agent1,
    "flume-agent2": flume_agent2,
    "analytics": analytics,
    "replayer": replayer,
    "airflow-api-server": airflow_api_server,
    "airflow-scheduler": airflow_scheduler,
    "airflow-dag-processor": airflow_dag_processor,
    "airflow-triggerer": airflow_triggerer,
}
