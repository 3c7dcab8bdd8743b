"""The programs that the process host keeps alive: command, environment, how each is stopped."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from logpipe.hosts.machine.configuration import (
    airflow_environment,
    class_path,
    hadoop_class_path,
    hdfs_client_environment,
    service_environment,
)
from logpipe.hosts.machine.layout import AIRFLOW, BUILD_DIR, PYTHON, USER, Layout
from logpipe.settings import PROJECT_DIR, Settings

PROFILES = ("memory", "durable")
METRICS_AGENT = "jmx_prometheus_javaagent-1.0.1.jar"
JAVA = ("java", "-Djava.net.preferIPv4Stack=true", "-XX:+ExitOnOutOfMemoryError")

# The order in which services start; they stop in the reverse order.
STORES = ("kafka", "namenode", "datanode", "ftp")
STREAMS = ("replayer", "flume-agent1", "flume-agent2", "analytics")
AIRFLOW_SERVICES = ("airflow-api-server", "airflow-scheduler", "airflow-dag-processor", "airflow-triggerer")
SERVICES = (
    "kafka",
    "namenode",
    "datanode",
    "ftp",
    "flume-agent1",
    "flume-agent2",
    "analytics",
    "replayer",
    *AIRFLOW_SERVICES,
)


@dataclass(frozen=True)
class Program:
    """One process of a service. ``variant`` tells two ways of running a service apart; one runs at a time.

    A batch program is started for each piece of work and ends by itself.
    """

    service: str
    command: tuple[str, ...]
    environment: dict[str, str] = field(default_factory=dict)
    variant: str = ""
    stop_wait_s: int = 20
    is_batch: bool = False
    separate_stderr: bool = False

    @property
    def full_name(self) -> str:
        """The process host's name of it, ``service`` or ``service:variant``."""
        return f"{self.service}:{self.variant}" if self.variant else self.service


def programs(settings: Settings, layout: Layout) -> list[Program]:
    """Every program of the pipeline on one machine."""
    return [*_stores(settings, layout), *_streams(settings, layout), *_airflow(settings, layout)]


def _stores(settings: Settings, layout: Layout) -> list[Program]:
    log4j2 = f"-Dlog4j2.configurationFile={layout.conf_dir}/log4j2.properties"
    hadoop = (*JAVA, "-cp", hadoop_class_path(layout))
    return [
        Program(
            "kafka",
            (
                *JAVA,
                "-Xms256m",
                f"-Xmx{settings.kafka_heap_mb}m",
                log4j2,
                "-cp",
                class_path("kafka"),
                "kafka.Kafka",
                str(layout.conf_dir / "kafka" / "server.properties"),
            ),
            stop_wait_s=30,
        ),
        Program(
            "namenode",
            (*hadoop, f"-Xmx{settings.namenode_heap_mb}m", "org.apache.hadoop.hdfs.server.namenode.NameNode"),
        ),
        Program(
            "datanode",
            (*hadoop, f"-Xmx{settings.datanode_heap_mb}m", "org.apache.hadoop.hdfs.server.datanode.DataNode"),
        ),
        Program("ftp", (str(PYTHON), "-m", "logpipe.hosts.machine.ftp.server")),
    ]


def _streams(settings: Settings, layout: Layout) -> list[Program]:
    as_hdfs_user = hdfs_client_environment(settings, layout)
    spark_environment = as_hdfs_user | {"SPARK_LOCAL_IP": "127.0.0.1"}
    agents = [
        Program(
            f"flume-agent{number}",
            flume_command(settings, layout, profile, number),
            as_hdfs_user,
            variant=profile,
            stop_wait_s=30,
        )
        for number in (1, 2)
        for profile in PROFILES
        if (PROJECT_DIR / "flume_conf" / profile / f"agent{number}.properties").exists()
    ]
    return [
        *agents,
        Program(
            "analytics",
            (str(PYTHON), str(PROJECT_DIR / "spark_jobs" / "stream_windows.py")),
            spark_environment,
            stop_wait_s=30,
            separate_stderr=True,
        ),
        Program("seal", (str(PYTHON), "-m", "logpipe.sealing"), is_batch=True, separate_stderr=True),
        Program("replayer", (str(PYTHON), "-m", "logpipe.replayer")),
        Program(
            "maintenance",
            (str(PYTHON), "-m", "logpipe.hosts.machine.maintenance"),
            airflow_environment(layout),
            is_batch=True,
            separate_stderr=True,
        ),
    ]


def flume_command(settings: Settings, layout: Layout, profile: str, number: int) -> tuple[str, ...]:
    """Start one Flume agent with the configuration of a delivery profile."""
    port = settings.agent1_metrics_port if number == 1 else settings.agent2_metrics_port
    conf = PROJECT_DIR / "flume_conf"
    return (
        *JAVA,
        f"-Xmx{settings.flume_heap_mb}m",
        f"-javaagent:{BUILD_DIR}/jars/flume/{METRICS_AGENT}={settings.bind_address}:{port}:{conf}/metrics.yaml",
        f"-Dlog4j2.configurationFile={conf}/log4j2.properties",
        "-cp",
        class_path("flume", layout.conf_dir / "hadoop"),
        "org.apache.flume.node.Application",
        "--no-reload-conf",
        "-f",
        str(conf / profile / f"agent{number}.properties"),
        "-n",
        f"agent{number}",
    )


def _airflow(settings: Settings, layout: Layout) -> list[Program]:
    environment = airflow_environment(layout)
    arguments = {
        "airflow-api-server": ("api-server", "--host", "127.0.0.1", "--port", str(settings.airflow_port)),
        "airflow-scheduler": ("scheduler", "--skip-serve-logs"),
        "airflow-dag-processor": ("dag-processor",),
        "airflow-triggerer": ("triggerer", "--skip-serve-logs"),
    }
    return [
        Program(service, (str(AIRFLOW), *arguments[service]), environment, stop_wait_s=30)
        for service in AIRFLOW_SERVICES
    ]


def supervisor_conf(settings: Settings, layout: Layout, kept: list[Program] | None = None) -> str:
    """The process host's configuration; holds its password, so it is written with mode 600.

    It keeps the programs ``kept``, or all where the host is the only one.
    """
    password = layout.secrets()["process_host_password"]
    address = f"{settings.bind_address}:{settings.supervisor_port}"
    text = _section(
        "supervisord",
        {
            "logfile": layout.logs_dir / "supervisord.log",
            "logfile_maxbytes": "5MB",
            "logfile_backups": 1,
            "pidfile": layout.state_dir / "supervisord.pid",
            "childlogdir": layout.logs_dir,
            "umask": "077",
            "environment": _environment(service_environment(settings)),
        },
    )
    text += _section("inet_http_server", {"port": address, "username": USER, "password": password})
    text += _section(
        "rpcinterface:supervisor",
        {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
    )
    all_programs = programs(settings, layout) if kept is None else kept
    for program in all_programs:
        text += _section(f"program:{program.full_name.replace(':', '-')}", _program(program, layout))
    variants: dict[str, list[str]] = {}
    for program in all_programs:
        if program.variant:
            variants.setdefault(program.service, []).append(f"{program.service}-{program.variant}")
    for service, names in variants.items():
        text += _section(f"group:{service}", {"programs": ",".join(names)})
    return text


def _program(program: Program, layout: Layout) -> dict[str, object]:
    log = layout.logs_dir / f"{program.service}.log"
    name = program.full_name.replace(":", "-")
    starter = (str(PYTHON), "-m", "logpipe.hosts.machine.starter", name, str(layout.state_dir))
    keys: dict[str, object] = {
        "command": " ".join(_quoted(part) for part in (*starter, *program.command)),
        "process_name": program.variant or program.service,
        "directory": PROJECT_DIR,
        "autostart": "false",
        "autorestart": "false" if program.is_batch else "true",
        "startsecs": 0 if program.is_batch else 1,
        "startretries": 1000000,
        "stopwaitsecs": program.stop_wait_s,
        "stopasgroup": "true" if program.service.startswith("airflow") else "false",
        "killasgroup": "true",
        "stdout_logfile": layout.logs_dir / f"{program.service}.out.log" if program.separate_stderr else log,
        "stdout_logfile_maxbytes": "20MB",
        "stdout_logfile_backups": 2,
    }
    if program.separate_stderr:
        keys |= {"stderr_logfile": log, "stderr_logfile_maxbytes": "20MB", "stderr_logfile_backups": 2}
    else:
        keys["redirect_stderr"] = "true"
    if program.environment:
        keys["environment"] = _environment(program.environment)
    return keys


def _section(name: str, keys: dict[str, object]) -> str:
    rows = "".join(
        f"{key}={str(value).replace('%', '%%') if key != 'environment' else value}\n"
        for key, value in keys.items()
    )
    return f"[{name}]\n{rows}\n"


def _environment(values: dict[str, str]) -> str:
    return ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(values.items()))


def _escaped(value: str) -> str:
    return value.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')


def _quoted(part: str) -> str:
    return f'"{part}"' if any(character in part for character in " ;*'") else part


def log_files(service: str, layout: Layout) -> list[Path]:
    """The log files of a service that exist."""
    names = (f"{service}.log", f"{service}.out.log")
    return [path for path in (layout.logs_dir / name for name in names) if os.path.exists(path)]
