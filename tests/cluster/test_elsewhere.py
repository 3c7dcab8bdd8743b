"""An Airflow that is none of the compose file's, to which Kafka, HDFS and YARN are somebody else's.

It has what docs/your-cluster.md and docs/package.md tell: connections, a few settings, the certificate. It
runs in a container of its own, since the host reaches none of the networks by their services' names.
"""

import json
import os
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from logpipe.hosts.cluster.credentials import CONTAINER_UID
from logpipe.hosts.layout import USER
from tests.cluster.test_cluster import EDGES
from tests.cluster.under_test import LINES, ClusterUnderTest
from tests.waiting import wait_until

pytestmark = pytest.mark.cluster

NETWORKS = ("airflow", "edges", "kafka", "hdfs", "yarn")  # not the database's
CA_FILE, KEYTAB = "/etc/logpipe/ca.pem", "/etc/logpipe/airflow.keytab"
BROKERS = "kafka1:9092,kafka2:9092,kafka3:9092"
START = """
mkdir -p /tmp/dags
cp dags/replay_log.py dags/stream_services.py /tmp/dags
exec airflow standalone
"""
SETTINGS = {
    "LOGPIPE_HDFS_URL": "hdfs://namenode:9000",
    # For the windows job, on YARN's nodes.
    "LOGPIPE_KAFKA_BOOTSTRAP": BROKERS,
    "LOGPIPE_KAFKA_CA_FILE": "/run/secrets/ca.pem",
    "LOGPIPE_KAFKA_PASSWORD_FILE": "/run/secrets/{role}.password",
    "LOGPIPE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "LOGPIPE_REPLAYS_ON": "hdfs",
    "LOGPIPE_SOURCE_URL": "ftp://ftp:2121/NASA_access_log_Aug95.first20000.gz",
    "LOGPIPE_SPARK_HEAP_MB": "512",
    "LOGPIPE_SPARK_MASTER": "yarn",
    "LOGPIPE_STATE_DIR": "/tmp/state",
    "LOGPIPE_TOPIC_REPLICATION": "3",
    "LOGPIPE_WEBHDFS_URL": "http://namenode:9870",
    "AIRFLOW_CONFIG": "/tmp/airflow/airflow.cfg",
    "AIRFLOW_HOME": "/tmp/airflow",
    "AIRFLOW__CORE__DAGS_FOLDER": "/tmp/dags",
    "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    "AIRFLOW__DAG_PROCESSOR__REFRESH_INTERVAL": "10",
}
# Where HDFS and YARN ask who it is.
PROVEN = {
    "LOGPIPE_HADOOP_CA_FILE": CA_FILE,
    "LOGPIPE_KERBEROS_KEYTAB": KEYTAB,
    "LOGPIPE_KERBEROS_PRINCIPAL": "bigdata/airflow@LOGPIPE",
    "LOGPIPE_WEBHDFS_URL": "https://namenode:9870",
}


def asks_for_proof(cluster: ClusterUnderTest) -> bool:
    """Whether HDFS and YARN ask for Kerberos."""
    return (cluster.secrets_dir / "kafka" / "airflow.kerberos").exists()


def connections(cluster: ClusterUnderTest) -> dict[str, dict[str, Any]]:
    """What administrators give: a user of Kafka's, addresses, passwords of the edge hosts' programs."""
    edges = ",".join(EDGES)
    password = (cluster.secrets_dir / "kafka" / "airflow.password").read_text().strip()
    kafka = {
        "bootstrap.servers": BROKERS,
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "logpipe-airflow",
        "sasl.password": password,
        "ssl.ca.location": CA_FILE,
    }

    is_proven = asks_for_proof(cluster)
    webhdfs: dict[str, Any] = {"extra": {"use_ssl": True}} if is_proven else {"login": "bigdata"}
    yarn = {"schema": "https" if is_proven else "http"}

    def service(kind: str, port: int, secret: str = "", host: str = edges) -> dict[str, Any]:
        login = {"login": USER, "password": cluster.secret(secret)} if secret else {}
        return {"conn_type": f"logpipe_{kind}", "host": host, "port": port} | login

    return {
        "kafka": {"conn_type": "kafka", "extra": kafka},
        "webhdfs": {"conn_type": "webhdfs", "host": "namenode", "port": 9870} | webhdfs,
        "process_host": service("process_host", 9001, "process_host_password"),
        "replayer": service("replayer", 9010, "replayer_password"),
        "flume_agent1": service("flume_agent", 24541),
        "flume_agent2": service("flume_agent", 24542),
        "yarn": service("yarn", 8088, host="resourcemanager") | yarn,
        "spark": {"conn_type": "spark", "host": "yarn", "extra": {"deploy-mode": "cluster"}},
    }


@pytest.fixture
def elsewhere(cluster: ClusterUnderTest, long_form: None, tmp_path: Path) -> Iterator[str]:
    """The container's name."""
    name = f"{cluster.project}-elsewhere"
    mounted = {f"{cluster.secrets_dir}/kafka/ca.pem": CA_FILE}
    settings = SETTINGS
    if asks_for_proof(cluster):
        keytab = tmp_path / "keytab"
        keytab.write_bytes(b64decode(cluster.execute("airflow-scheduler", "base64 -w0 /tmp/.keytab")))
        keytab.chmod(0o600)
        if os.getuid() == 0:
            os.chown(keytab, CONTAINER_UID, CONTAINER_UID)
        mounted, settings = mounted | {str(keytab): KEYTAB}, SETTINGS | PROVEN
    told = settings | {
        f"AIRFLOW_CONN_{conn_id.upper()}_DEFAULT": json.dumps(values)
        for conn_id, values in connections(cluster).items()
    }
    first, *others = (f"{cluster.project}_{network}" for network in NETWORKS)
    environment = [f"--env={variable}={value}" for variable, value in told.items()]
    files = [f"--volume={here}:{there}:ro" for here, there in mounted.items()]
    own = ["--name", name, "--network", first, "--init", *files, "--entrypoint", "bash"]
    cluster.docker("create", *own, *environment, "logpipe/airflow", "-ec", START)
    try:
        for network in others:
            cluster.docker("network", "connect", network, name)
        cluster.docker("start", name)
        yield name
    finally:
        cluster.docker("rm", "--force", name)


def test_it_replays_and_accounts_for_every_line(cluster: ClusterUnderTest, elsewhere: str) -> None:
    before = cluster.account()["source"]
    conf = json.dumps({"pace": "max"})
    trigger = ("airflow", "dags", "trigger", "replay_log", "--run-id", "elsewhere", "--conf", conf)

    def triggered() -> bool:
        with suppress(AssertionError):  # it knows the DAG a while after its start
            cluster.docker("exec", elsewhere, *trigger)
            return True
        return False

    def state() -> str:
        rows = cluster.docker("exec", elsewhere, "airflow", "dags", "list-runs", "replay_log", "-o", "plain")
        words = next(row.split() for row in rows.splitlines() if "elsewhere" in row.split())
        return next((word for word in words if word in ("success", "failed")), "")

    wait_until(triggered, 300, "the DAG to be there", 5.0)
    assert wait_until(state, 900, "the run's end", 5.0) == "success", tasks(cluster, elsewhere)
    account = cluster.account()
    assert (account["source"], account["lost"], account["doubled"]) == (before + LINES, 0, 0)
    assert account["hdfs"] == account["windows"] == account["source"]


def tasks(cluster: ClusterUnderTest, elsewhere: str) -> str:
    """How the run's tasks ended, and the end of the container's output."""
    return cluster.docker(
        "exec", elsewhere, "airflow", "tasks", "states-for-dag-run", "replay_log", "elsewhere"
    ) + cluster.docker("logs", "--tail", "100", elsewhere)
