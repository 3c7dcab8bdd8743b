"""Renders the configuration of every service from the settings."""

import json
from xml.sax.saxutils import escape

from logpipe.hosts.connections import connections
from logpipe.hosts.layout import AIRFLOW_USER, Layout, write_private
from logpipe.settings import MAX_MESSAGE_BYTES, PROJECT_DIR, Settings


def write_all(settings: Settings, layout: Layout) -> None:
    """Write the configurations of Kafka, HDFS and Airflow into the state folder."""
    write_private(layout.conf_dir / "kafka" / "server.properties", kafka_properties(settings, layout))
    write_private(layout.conf_dir / "log4j2.properties", LOG4J2)
    write_private(layout.conf_dir / "hadoop" / "log4j.properties", LOG4J1)
    write_private(layout.conf_dir / "hadoop" / "core-site.xml", hadoop_xml(core_site(settings, layout)))
    write_private(layout.conf_dir / "hadoop" / "hdfs-site.xml", hadoop_xml(hdfs_site(settings, layout)))
    secrets = layout.secrets()
    write_private(layout.airflow_dir / "airflow.cfg", airflow_cfg(settings, layout, secrets))
    write_private(
        layout.airflow_dir / "passwords.json", json.dumps({AIRFLOW_USER: secrets["airflow_admin_password"]})
    )
    found = connections(settings, secrets, lambda service: settings.host)
    write_private(layout.airflow_dir / "connections.json", json.dumps(found, indent=2))


LOG4J2 = """\
status = warn
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = %d{yyyy-MM-dd'T'HH:mm:ss.SSS} %-5p %c{1}: %m%n
rootLogger.level = info
rootLogger.appenderRef.console.ref = console
"""

LOG4J1 = """\
log4j.rootLogger=INFO,console
log4j.appender.console=org.apache.log4j.ConsoleAppender
log4j.appender.console.target=System.err
log4j.appender.console.layout=org.apache.log4j.PatternLayout
log4j.appender.console.layout.ConversionPattern=%d{ISO8601} %-5p %c{1}: %m%n
log4j.logger.BlockStateChange=WARN
log4j.logger.org.apache.hadoop.hdfs.server.namenode.FSNamesystem.audit=WARN
"""


def kafka_properties(settings: Settings, layout: Layout) -> str:
    """One broker that is its own controller (KRaft)."""
    partition_bytes = settings.topic_retention_gb * 2**30 // settings.topic_partitions
    properties = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{settings.host}:{settings.kafka_controller_port}",
        "listeners": f"PLAINTEXT://{settings.kafka_bootstrap},CONTROLLER://{settings.host}:{settings.kafka_controller_port}",
        "advertised.listeners": f"PLAINTEXT://{settings.kafka_bootstrap}",
        "controller.listener.names": "CONTROLLER",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "log.dirs": layout.kafka_dir,
        # By age and by size, whatever comes first; a topic that says otherwise is compacted.
        "log.retention.hours": settings.topic_retention_hours,
        "log.retention.bytes": partition_bytes,
        # A segment goes as a whole: a partition exceeds its share by one.
        "log.segment.bytes": max(16 * 2**20, min(2**30, partition_bytes // 10)),
        # The topic is made by its operator, with the right number of partitions, or not at all.
        "auto.create.topics.enable": "false",
        # Arrival time is when the broker took the line: it never steps back within a partition.
        "log.message.timestamp.type": "LogAppendTime",
        "message.max.bytes": MAX_MESSAGE_BYTES,
        "replica.fetch.max.bytes": MAX_MESSAGE_BYTES,
        # One broker: every internal topic has one replica.
        "offsets.topic.replication.factor": 1,
        "offsets.topic.num.partitions": 4,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "transaction.state.log.num.partitions": 4,
        "share.coordinator.state.topic.replication.factor": 1,
        "share.coordinator.state.topic.min.isr": 1,
        "share.coordinator.state.topic.num.partitions": 4,
        "group.initial.rebalance.delay.ms": 0,
        **flushing(settings),
        # An agent may be away for a month before its place in the topic is forgotten.
        "offsets.retention.minutes": 43200,
    }
    return "".join(f"{name}={value}\n" for name, value in properties.items())


def flushing(settings: Settings) -> dict[str, object]:
    """When the one broker writes records through to the disk; on several, replicas are what keeps them."""
    if settings.kafka_flush_ms == 0:
        return {"log.flush.interval.messages": 1}
    # Kafka looks at no interval at all unless it is told how often.
    return dict.fromkeys(
        ("log.flush.interval.ms", "log.flush.scheduler.interval.ms"), settings.kafka_flush_ms
    )


def core_site(settings: Settings, layout: Layout) -> dict[str, str]:
    """Settings of every HDFS client and server."""
    return {"fs.defaultFS": settings.hdfs_url, "hadoop.tmp.dir": str(layout.hadoop_dir / "tmp")}


def hdfs_site(settings: Settings, layout: Layout) -> dict[str, str]:
    """One NameNode and one DataNode."""
    host = settings.host
    return {
        "dfs.replication": "1",
        "dfs.namenode.name.dir": f"file://{layout.hadoop_dir}/name",
        "dfs.datanode.data.dir": f"file://{layout.hadoop_dir}/data",
        "dfs.namenode.rpc-address": f"{host}:{settings.namenode_port}",
        "dfs.namenode.http-address": f"{host}:{settings.namenode_http_port}",
        "dfs.datanode.address": f"{host}:{settings.datanode_port}",
        "dfs.datanode.http.address": f"{host}:{settings.datanode_http_port}",
        "dfs.datanode.ipc.address": f"{host}:{settings.datanode_ipc_port}",
        "dfs.datanode.hostname": host,
        # A pipeline that lost its only DataNode has no other to turn to.
        "dfs.client.block.write.replace-datanode-on-failure.enable": "false",
        # One DataNode reports all blocks at once: there is nothing to wait for.
        "dfs.namenode.safemode.extension": "0",
        "dfs.namenode.handler.count": "5",
        "dfs.datanode.handler.count": "5",
        # A closed file is on the disk, and so is its name in the DataNode's folder.
        "dfs.datanode.synconclose": "true",
        # A checkpoint (DAG `maintenance`, and each start) lets go of the edits before it, but for so many
        # transactions. The NameNode takes none that is younger than three quarters of the period.
        "dfs.namenode.checkpoint.period": "60",
        "dfs.namenode.num.checkpoints.retained": "2",
        "dfs.namenode.num.extra.edits.retained": "10000",
    }


def hadoop_xml(properties: dict[str, str]) -> str:
    """Hadoop's configuration format."""
    rows = "".join(
        f"  <property><name>{escape(name)}</name><value>{escape(value)}</value></property>\n"
        for name, value in properties.items()
    )
    return f"<configuration>\n{rows}</configuration>\n"


def airflow_cfg(settings: Settings, layout: Layout, secrets: dict[str, str]) -> str:
    """Airflow on SQLite, loopback only, with the project's DAGs."""
    home = layout.airflow_dir
    url = f"http://{settings.host}:{settings.airflow_port}"
    sections: dict[str, dict[str, object]] = {
        "core": {
            "dags_folder": PROJECT_DIR / "dags",
            "plugins_folder": PROJECT_DIR / "plugins",
            "executor": "LocalExecutor",
            "parallelism": 4,
            "load_examples": False,
            "fernet_key": secrets["airflow_fernet_key"],
            "simple_auth_manager_users": f"{AIRFLOW_USER}:admin",
            "simple_auth_manager_passwords_file": home / "passwords.json",
            "execution_api_server_url": f"{url}/execution/",
            "dags_are_paused_at_creation": False,
        },
        "database": {"sql_alchemy_conn": f"sqlite:///{home}/airflow.db"},
        "api": {
            "host": "127.0.0.1",
            "port": settings.airflow_port,
            "base_url": url,
            "workers": 1,
            "secret_key": secrets["airflow_session_secret"],
        },
        "api_auth": {"jwt_secret": secrets["airflow_jwt_secret"]},
        "secrets": {
            "backend": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
            "backend_kwargs": json.dumps({"connections_file_path": str(home / "connections.json")}),
        },
        "dag_processor": {"refresh_interval": 10, "min_file_process_interval": 60, "parsing_processes": 1},
        "scheduler": {"scheduler_idle_sleep_time": 0.5, "enable_health_check": False},
        # Stopping a service drains it first, which may take longer than the default of 30 s.
        "triggerer": {"on_kill_timeout": 120},
        "logging": {"base_log_folder": home / "logs"},
        "usage_data_collection": {"enabled": False},
    }
    return "\n".join(
        f"[{section}]\n"
        + "".join(f"{key} = {str(value).replace('%', '%%')}\n" for key, value in values.items())
        for section, values in sections.items()
    )
