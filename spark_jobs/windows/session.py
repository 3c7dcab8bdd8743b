"""Starts Spark: one JVM, everything on loopback when it runs on one machine."""

import os
import socket
import sys
from pathlib import Path

from pyspark import SparkConf, SparkContext
from pyspark.java_gateway import launch_gateway
from pyspark.sql import SparkSession

from windows.errors import WindowsError
from windows.options import Options


def _prepare_environment(options: Options, local: bool) -> None:
    """Set what the JVM and Spark's Python workers read from their environment."""
    os.environ.setdefault("HADOOP_USER_NAME", options.hdfs_user)
    os.environ["PYSPARK_PYTHON"] = sys.executable
    os.environ["POLARS_MAX_THREADS"] = "1"  # Spark's tasks are the parallelism
    if local:
        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"  # Spark's page listens there too


def _refuse_taken_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise WindowsError(
                f"Port {port} for Spark's page can't be opened ({error.strerror}): stop what listens there, "
                "or give --ui-port (LOGPIPE_SPARK_UI_PORT)"
            ) from None


def _configuration(options: Options) -> dict[str, str]:
    """Spark's settings wherever it runs."""
    values: dict[str, object] = {
        "spark.app.name": "windows",
        "spark.executorEnv.POLARS_MAX_THREADS": 1,
        "spark.sql.session.timeZone": "UTC",
        "spark.sql.execution.arrow.maxRecordsPerBatch": 50_000,
        "spark.sql.adaptive.enabled": "false",  # there is one stage: nothing to plan anew
        "spark.sql.streaming.metricsEnabled": "true",
        "spark.sql.streaming.minBatchesToRetain": 20,
        "spark.sql.streaming.numRecentProgressUpdates": 10,
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.ui.retainedExecutions": 20,
        "spark.ui.retainedJobs": 50,
        "spark.ui.retainedStages": 50,
        "spark.ui.retainedTasks": 500,
        "spark.ui.showConsoleProgress": "false",
        "spark.redaction.regex": "(?i)secret|password|token|access[.]?key|jaas",  # its own, and Kafka's login
        # A file's close asks again so soon whether its block has arrived; by default after 400 ms.
        "spark.hadoop.dfs.client.block.write.locateFollowingBlock.initial.delay.ms": 10,
        "spark.hadoop.dfs.client.block.write.locateFollowingBlock.retries": 10,
        "spark.hadoop.ipc.client.connect.max.retries": 3,
        "spark.hadoop.ipc.client.connect.max.retries.on.timeouts": 1,
        "spark.hadoop.fs.defaultFS": options.hdfs_url,
    }
    if options.master:
        values["spark.master"] = options.master
    return {name: str(value) for name, value in values.items()}


def _on_this_machine(options: Options, jars: list[Path]) -> dict[str, str]:
    """Settings of a local master: loopback only."""
    return {
        "spark.ui.port": str(options.ui_port),
        "spark.port.maxRetries": "0",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        # Other users of the machine reach its ports: they look, and end no job; its RPC takes none of theirs.
        "spark.ui.killEnabled": "false",
        "spark.authenticate": "true",
        "spark.jars": ",".join(map(str, jars)),
    }


def _login() -> dict[str, str]:
    """Who a driver on this machine is where HDFS asks; on YARN that is said to spark-submit.

    Each connection proves it by the keytab: tokens are for executors elsewhere, and a driver that wants some
    does not start while the NameNode is away.
    """
    principal, keytab = os.environ.get("KRB5PRINCIPAL"), os.environ.get("KRB5KEYTAB")
    if not principal or not keytab:
        return {}
    return {
        "spark.kerberos.principal": principal,
        "spark.kerberos.keytab": keytab,
        "spark.security.credentials.hadoopfs.enabled": "false",
    }


def _of_the_jvm(options: Options) -> dict[str, str]:
    """Settings that only count before the driver's JVM starts."""
    return {
        "spark.driver.memory": f"{options.heap_mb}m",
        "spark.driver.extraJavaOptions": "-XX:+UseParallelGC -XX:MaxMetaspaceSize=256m",
    }


def jvm_is_alive(spark: SparkSession) -> bool:
    """Tell whether the JVM that this process started still runs; one that spark-submit started does."""
    process = getattr(spark.sparkContext._gateway, "proc", None)
    return process is None or process.poll() is None


def start(options: Options, jars: list[Path]) -> SparkSession:
    """Start Spark.

    Raises:
        WindowsError: the port of Spark's page is taken.
    """
    local = options.master.startswith("local")
    _prepare_environment(options, local)
    submitted = "PYSPARK_GATEWAY_PORT" in os.environ  # spark-submit started the JVM already
    conf = SparkConf().setAll(list(_configuration(options).items()))
    if local:
        _refuse_taken_port(options.ui_port)
        conf.setAll(list(_on_this_machine(options, jars).items()))
    if submitted:
        spark = SparkSession.builder.config(conf=conf).getOrCreate()
    else:
        conf.setAll(list((_of_the_jvm(options) | _login()).items()))
        # A session of its own: a signal to this process's group must not end the JVM in mid-batch.
        gateway = launch_gateway(conf, {"start_new_session": True})
        spark = SparkSession(SparkContext(conf=conf, gateway=gateway))
    spark.sparkContext.setLogLevel("WARN")
    return spark
