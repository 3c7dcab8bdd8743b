"""What programs of ours are started with: environment, class paths, options of every JVM."""

import os
from pathlib import Path

from logpipe.hosts.layout import BUILD_DIR, CONF_DIR, Layout
from logpipe.settings import PROJECT_DIR, Settings

JAVA = ("java", "-Djava.net.preferIPv4Stack=true", "-XX:+ExitOnOutOfMemoryError")
# For what lines pass through in bulk: G1's work beside them costs more than the pauses of this collector.
BULK_JAVA = (*JAVA, "-XX:+UseParallelGC")
# For what is small and mostly idle: compiled quickly is better than compiled well.
SMALL_JAVA = (*JAVA, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC")


def service_environment(settings: Settings) -> dict[str, str]:
    """What every service finds in its environment: the settings as they are, and where the code is."""
    values = {f"LOGPIPE_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    # The folder as one name, and the ports as they are, so that no service shifts them again.
    values["LOGPIPE_STATE_DIR"] = str(Layout.of(settings).state_dir)
    values["LOGPIPE_PORT_OFFSET"] = "0"
    return values | {
        "LOGPIPE_NETCAT_MAX_LINE_LENGTH": str(settings.max_line_bytes + 1),
        "PYTHONUNBUFFERED": "1",
        "TZ": "UTC",
    }


def hadoop_conf_dir(settings: Settings, layout: Layout) -> Path:
    """Where clients of HDFS and YARN find their configuration."""
    return Path(settings.hadoop_conf_dir) if settings.hadoop_conf_dir else layout.conf_dir / "hadoop"


def hdfs_client_environment(settings: Settings, layout: Layout) -> dict[str, str]:
    """What a JVM needs to write to HDFS as the pipeline's user, with as many replicas as HDFS has.

    Hadoop's library logs in from the keytab by itself, and again whenever a ticket has ended
    (``UserGroupInformation``); Flume's own HDFS sink, ours and Spark's driver do so alike.
    """
    proof = {"KRB5PRINCIPAL": settings.kerberos_principal, "KRB5KEYTAB": settings.kerberos_keytab}
    word = {"HADOOP_USER_NAME": settings.hdfs_user}
    return {
        "HADOOP_CONF_DIR": str(hadoop_conf_dir(settings, layout)),
        **(proof if settings.kerberos_principal else word),
    }


def airflow_environment(layout: Layout) -> dict[str, str]:
    """What Airflow's components need on top."""
    return {"AIRFLOW_HOME": str(layout.airflow_dir), "PATH": f"{PROJECT_DIR}/.venv/bin:{os.environ['PATH']}"}


def shared_classes(component: str) -> tuple[str, ...]:
    """Options for the archive of the classes that a start of a component needs, parsed and verified.

    `bin/install` makes the archives. One holds for class paths that begin with just the jars that it was made
    of; a JVM that finds others, or was not the one to make it, does without. None if there is no archive.
    """
    archive = BUILD_DIR / "classes" / f"{component}.jsa"
    return (f"-XX:SharedArchiveFile={archive}", "-Xlog:cds*=off") if archive.exists() else ()


def class_path(component: str, *folders: Path) -> tuple[str, ...]:
    """Options that tell a JVM of its classes: a component's jars, behind them folders of configuration."""
    jars = BUILD_DIR / "jars" / component / "*"
    return (*shared_classes(component), "-cp", ":".join(map(str, (jars, *folders))))


def hadoop_class_path(layout: Layout) -> tuple[str, ...]:
    """Class path of HDFS's daemons; the jars lack the web applications' descriptors, the project has them."""
    return class_path("hadoop", layout.conf_dir / "hadoop", CONF_DIR / "web")
