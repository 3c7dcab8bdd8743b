"""What a container has, reaches and may do; comes behind the first run, which makes the topics."""

import json

import pytest

from logpipe.settings import PROJECT_DIR
from tests.cluster.under_test import ClusterUnderTest
from tests.kafka_access.asks import MAY

pytestmark = pytest.mark.cluster

ASKS = (PROJECT_DIR / "tests" / "kafka_access" / "asks.py").read_text()
ASK_AS = """
import json, sys
from logpipe import settings
current = settings.parse(
    kafka_bootstrap="kafka1:9092,kafka2:9092,kafka3:9092", kafka_security_protocol="SASL_SSL",
    kafka_password_file="/run/secrets/{role}.password", kafka_ca_file="/run/secrets/ca.pem",
)
print(json.dumps(sorted(allowed(current.kafka_client(sys.argv[1]), current))))
"""
# The logins that a container has; Airflow's own is in its connection.
LOGINS = {
    "edge1": {"agent1", "agent2", "reader"},
    "page": {"reader"},
    "nodemanager1": {"windows"},
    "airflow-scheduler": {"reader"},
    "kafka1": {"admin"},
    "ftp": set(),
    "namenode": set(),
    "datanode1": set(),
    "resourcemanager": set(),
    "postgres": set(),
}
# Who a container is to HDFS and YARN, by the keys that it has.
PRINCIPALS = {
    "edge1": ["bigdata/edge"],
    "page": ["bigdata/page"],
    "airflow-triggerer": ["bigdata/airflow"],
    "namenode": ["nn/namenode", "HTTP/namenode", "HTTP/checkpoints"],
    "datanode1": ["dn/datanode", *(f"HTTP/datanode{number}" for number in (1, 2, 3))],
    "resourcemanager": ["rm/resourcemanager", "HTTP/resourcemanager"],
    "nodemanager1": ["nm/nodemanager", "HTTP/nodemanager1", "HTTP/nodemanager2"],
}
NAMENODE, YARN = "https://namenode:9870", "https://resourcemanager:8088"
# From each, what it has no business with.
OUT_OF_REACH = {
    "edge1": ("postgres:5432", "resourcemanager:8088"),
    "page": ("postgres:5432", "resourcemanager:8088"),
    "nodemanager1": ("postgres:5432", "edge1:9001", "edge1:9010", "airflow-api-server:8080"),
    "ftp": ("kafka1:9092", "kafka1:9093", "kdc:1088", "namenode:9000", "postgres:5432"),
    "datanode1": ("kafka1:9092", "postgres:5432", "edge1:9001", "resourcemanager:8088"),
    "namenode": ("kafka1:9092", "postgres:5432", "edge1:9001"),
    "kafka1": ("namenode:9000", "postgres:5432", "edge1:9001", "resourcemanager:8088"),
    "postgres": ("kafka1:9092", "namenode:9000", "edge1:9001", "resourcemanager:8088"),
}


def shell(cluster: ClusterUnderTest, service: str, command: str) -> str:
    return cluster.docker("exec", cluster.container(service), "bash", "-c", command)


@pytest.mark.parametrize("service", LOGINS)
def test_a_container_has_the_logins_of_its_programs(cluster: ClusterUnderTest, service: str) -> None:
    names = shell(cluster, service, "ls /run/secrets 2> /dev/null || true").split()
    found = {name.removesuffix(".password") for name in names if name.endswith(".password")}
    assert found == LOGINS[service]
    assert "ca.key" not in names


@pytest.mark.parametrize(
    ("service", "role"),
    [("edge1", "agent1"), ("edge1", "agent2"), ("page", "reader"), ("nodemanager1", "windows")],
)
def test_as_a_role_a_container_may_do_what_it_does(
    cluster: ClusterUnderTest, service: str, role: str
) -> None:
    assert set(json.loads(cluster.python(service, ASKS + ASK_AS, role))) == MAY[role]


@pytest.mark.parametrize("service", OUT_OF_REACH)
def test_a_container_reaches_nobody_else(cluster: ClusterUnderTest, service: str) -> None:
    for address in OUT_OF_REACH[service]:
        host, _, port = address.partition(":")
        connect = (
            f"timeout 3 bash -c 'exec 3<> /dev/tcp/{host}/{port}' 2> /dev/null && echo reached || echo not"
        )
        assert shell(cluster, service, connect) == "not", address


@pytest.mark.usefixtures("kerberos")
@pytest.mark.parametrize("service", PRINCIPALS)
def test_a_container_has_the_keys_of_its_role(cluster: ClusterUnderTest, service: str) -> None:
    rows = shell(cluster, service, "klist -k /tmp/.keytab").splitlines()[3:]
    assert [row.split()[1].removesuffix("@LOGPIPE") for row in rows] == PRINCIPALS[service]
    assert shell(cluster, service, "stat -c '%a %U' /tmp/.keytab") == "600 logpipe"
    assert len(shell(cluster, service, "ls /run/secrets/*.kerberos").split()) == 1


@pytest.mark.usefixtures("kerberos")
@pytest.mark.parametrize(
    ("service", "page"),
    [
        ("edge1", f"{NAMENODE}/webhdfs/v1/user/bigdata?op=LISTSTATUS"),
        ("edge1", f"{NAMENODE}/webhdfs/v1/user/bigdata?op=LISTSTATUS&user.name=hdfs"),
        ("edge1", f"{NAMENODE}/webhdfs/v1/user/bigdata?op=LISTSTATUS&user.name=nn"),
        ("edge1", f"{NAMENODE}/jmx"),
        ("edge1", "https://datanode1:9864/jmx"),
        ("checkpoints", "https://checkpoints:9868/jmx"),
        ("nodemanager1", f"{YARN}/ws/v1/cluster/apps?user.name=hdfs"),
        ("nodemanager1", f"{YARN}/ws/v1/cluster/apps/new-application?user.name=rm"),
        ("nodemanager1", "https://nodemanager2:8042/ws/v1/node/info"),
    ],
)
def test_hdfs_and_yarn_believe_nobody(cluster: ClusterUnderTest, service: str, page: str) -> None:
    post = "-X POST" if "new-application" in page else ""
    ask = f"curl -sS -o /dev/null -w '%{{http_code}}' --cacert /run/secrets/ca.pem {post} '{page}'"
    assert shell(cluster, service, ask) == "401"
    unencrypted = page.replace("https:", "http:")
    assert shell(cluster, service, f"curl -fs '{unencrypted}' || echo refused") == "refused"


@pytest.mark.usefixtures("kerberos")
def test_yarns_own_protocol_believes_nobody(cluster: ClusterUnderTest) -> None:
    """YARN's own client, from where it is reached and its jars are, with another configuration."""
    ask = (
        "java -cp '/opt/logpipe/conf/hadoop:/opt/logpipe/build/jars/yarn/*' "
        "org.apache.hadoop.yarn.client.cli.NodeCLI -Dhadoop.security.authentication=simple "
        "-Dyarn.resourcemanager.connect.max-wait.ms=1000 -list 2>&1 || true"
    )
    assert "cannot authenticate via:[TOKEN, KERBEROS]" in shell(cluster, "nodemanager1", ask)


@pytest.mark.usefixtures("kerberos")
def test_as_a_role_a_container_does_on_hdfs_what_its_user_may(cluster: ClusterUnderTest) -> None:
    home = f"{NAMENODE}/webhdfs/v1/user/bigdata"
    assert "apache_logs" in cluster.asks("edge1", f"{home}?op=LISTSTATUS")
    code = ["-w", "%{http_code}", "-o", "/dev/null", "--no-fail"]
    header = ["-H", "X-XSRF-HEADER: test", "-X"]
    assert cluster.asks("datanode1", f"{home}?op=LISTSTATUS", *code) == "403"
    delete, make = "user?op=DELETE&recursive=true", "elsewhere?op=MKDIRS"
    assert cluster.asks("edge1", f"{NAMENODE}/webhdfs/v1/{delete}", *code, *header, "DELETE") == "403"
    assert cluster.asks("edge1", f"{NAMENODE}/webhdfs/v1/{make}", *code, *header, "PUT") == "403"


def test_controllers_let_no_program_in(cluster: ClusterUnderTest) -> None:
    """They are reached by who reaches the brokers, and ask for a certificate that only brokers have."""
    ask = """
import socket, ssl
context = ssl.create_default_context(cafile="/run/secrets/ca.pem")
with socket.create_connection(("kafka1", 9093), 10) as plain:
    try:
        way = context.wrap_socket(plain, server_hostname="kafka1")
        way.sendall(b"\\0\\0\\0\\1x")
        print("refused" if way.recv(1) == b"" else "let in")
    except OSError as error:
        print("refused", error)
"""
    assert cluster.python("edge1", ask).startswith("refused")


def test_the_database_takes_no_connection_without_tls(cluster: ClusterUnderTest) -> None:
    ask = """
import subprocess, psycopg2
address = open("/run/secrets/airflow_database_url").read().replace("+psycopg2", "")
with psycopg2.connect(address) as way:
    print(way.info.ssl_in_use)
try:
    psycopg2.connect(address, sslmode="disable")
    print("without")
except psycopg2.OperationalError as error:
    print("no encryption" in str(error))
"""
    assert cluster.python("airflow-scheduler", ask).split() == ["True", "True"]


def test_containers_cannot_write_to_themselves_or_gain_rights(cluster: ClusterUnderTest) -> None:
    asked = "{{.HostConfig.ReadonlyRootfs}} {{.HostConfig.CapDrop}} {{.HostConfig.SecurityOpt}}"
    answers = cluster.docker("inspect", "--format", asked, *cluster.container_ids()).splitlines()
    assert set(answers) == {"true [ALL] [no-new-privileges:true]"}
