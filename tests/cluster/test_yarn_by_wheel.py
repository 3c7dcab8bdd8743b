"""The windows job from the wheel, on a YARN of one node that is somebody else's."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from logpipe.clients.yarn import Yarn
from logpipe.hosts.layout import BUILD_DIR, CONF_DIR
from logpipe.hosts.probes import listens
from logpipe.windows.commit import WindowsError
from logpipe.windows.reader import commit_totals
from tests.accounting.pipeline import Pipeline, nasa_lines
from tests.airflow.operators.test_wheel import Elsewhere
from tests.machine import Hdfs, Kafka, Service
from tests.ports import free_port
from tests.waiting import wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

LINES = nasa_lines(500)
HEAP_MB = 512  # the node has room for a driver and an executor of this
COUNTED_S = 300
DAG = """
from airflow.sdk import DAG
from logpipe.airflow.operators.launch import SparkStreamingOperator
with DAG("own", schedule=None):
    SparkStreamingOperator(task_id="spark_job")
"""
DAEMONS = {
    "ResourceManager": "org.apache.hadoop.yarn.server.resourcemanager.ResourceManager",
    "NodeManager": "org.apache.hadoop.yarn.server.nodemanager.NodeManager",
}


@dataclass
class OneNode:
    """A ResourceManager and a NodeManager, by the cluster's configuration with other addresses."""

    conf_dir: Path
    port: int
    services: list[Service]

    @classmethod
    def made(cls, folder: Path, hadoop: Path) -> "OneNode":
        conf_dir = folder / "hadoop"
        shutil.copytree(hadoop, conf_dir)
        shutil.copy(CONF_DIR / "yarn" / "capacity-scheduler.xml", conf_dir)
        managers = ("address", "scheduler.address", "resource-tracker.address", "admin.address")
        ours = {f"resourcemanager.{name}": f"localhost:{free_port()}" for name in managers}
        web = {name: free_port() for name in ("resourcemanager", "nodemanager")}
        ours |= {f"{name}.webapp.address": f"localhost:{port}" for name, port in web.items()}
        ours |= {
            "resourcemanager.hostname": "localhost",
            "resourcemanager.bind-host": "127.0.0.1",
            "resourcemanager.fs.state-store.uri": f"file://{folder}/state",
            "nodemanager.hostname": "localhost",
            "nodemanager.bind-host": "127.0.0.1",
            "nodemanager.address": f"localhost:{free_port()}",
            "nodemanager.localizer.address": f"localhost:{free_port()}",
            "nodemanager.local-dirs": f"{folder}/local",
            "nodemanager.log-dirs": f"{folder}/logs",
        }
        text = "".join(
            f"<property><name>yarn.{name}</name><value>{value}</value></property>\n"
            for name, value in ours.items()
        )
        end, site = "</configuration>", (CONF_DIR / "yarn" / "yarn-site.xml").read_text()
        (conf_dir / "yarn-site.xml").write_text(site.replace(end, text + end))
        java = Path(shutil.which("java") or "java").resolve()
        known = {"JAVA_HOME": str(java.parents[1]), "HADOOP_CONF_DIR": str(conf_dir)}
        classes = f"{conf_dir}:{BUILD_DIR}/jars/yarn/*"
        services = [
            Service(
                name,
                (str(java), "-Djava.net.preferIPv4Stack=true", "-Xmx256m", "-cp", classes, daemon),
                os.environ | known,
                folder / f"{name}.log",
                lambda port=port: listens("localhost", port),
            )
            for (name, daemon), port in zip(DAEMONS.items(), web.values(), strict=True)
        ]
        return cls(conf_dir, web["resourcemanager"], services)

    @property
    def client(self) -> Yarn:
        return Yarn(["localhost"], self.port)


@pytest.fixture
def yarn(hdfs: Hdfs, tmp_path: Path) -> Iterator[OneNode]:
    made = OneNode.made(tmp_path / "yarn", hdfs.stack.layout.conf_dir / "hadoop")
    try:
        for service in made.services:
            service.start()
        yield made
    finally:
        for service in reversed(made.services):
            service.end()


def test_the_windows_job_runs_by_what_the_wheel_has(
    kafka: Kafka, hdfs: Hdfs, yarn: OneNode, tmp_path: Path, long_form: None
) -> None:
    pipeline = Pipeline("by-wheel", kafka, hdfs, tmp_path / "pipeline")
    settings, elsewhere = pipeline.settings, Elsewhere(tmp_path / "elsewhere")
    elsewhere.folder.mkdir()
    elsewhere.install(DAG, "yarn")
    migrated = elsewhere.run("airflow", "db", "migrate")
    assert migrated.returncode == 0, migrated.stderr
    webhdfs = {"conn_type": "webhdfs", "host": "localhost", "port": hdfs.settings.namenode_http_port}
    connections = {
        "KAFKA": {"conn_type": "kafka", "extra": {"bootstrap.servers": kafka.bootstrap}},
        "WEBHDFS": webhdfs | {"login": settings.hdfs_user},
        "YARN": {"conn_type": "logpipe_yarn", "host": "localhost", "port": yarn.port},
        "SPARK": {"conn_type": "spark", "host": "yarn", "extra": {"deploy-mode": "cluster"}},
    }
    names = ("topic", "kafka_bootstrap", "hdfs_url", "webhdfs_url", "hdfs_logs_dir", "hdfs_checkpoint_dir",
             "hdfs_windows_dir", "hdfs_ledger_dir")  # fmt: skip
    told = {f"LOGPIPE_{name.upper()}": str(getattr(settings, name)) for name in names}
    answer = elsewhere.run(
        "airflow", "dags", "test", "own",
        LOGPIPE_SPARK_MASTER="yarn",
        LOGPIPE_SPARK_HEAP_MB=str(HEAP_MB),
        LOGPIPE_HADOOP_CONF_DIR=str(yarn.conf_dir),
        **told,
        **{f"AIRFLOW_CONN_{name}_DEFAULT": json.dumps(value) for name, value in connections.items()},
    )  # fmt: skip
    assert answer.returncode == 0, answer.stdout[-5000:] + answer.stderr[-3000:]
    try:
        pipeline.send("a", LINES)

        def counted() -> bool:
            try:
                return commit_totals(settings).digest.lines == len(LINES)
            except WindowsError:
                return False

        wait_until(counted, COUNTED_S, "the windows to have all lines", 1.0)
    finally:
        for application in yarn.client.applications(settings.spark_application, live=True):
            yarn.client.kill(application.application_id)
