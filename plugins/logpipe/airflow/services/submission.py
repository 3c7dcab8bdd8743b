"""Submitting the windows job to YARN, its driver in the cluster."""

import sys
from importlib.resources import files

from logpipe import settings
from logpipe.settings import PROJECT_DIR

_JOB = str(PROJECT_DIR / "spark_jobs" / "stream_windows.py")
# The nodes have Python's environment where Airflow's machine has it, and this project.
_PYTHON = sys.executable
_CONNECTOR_JARS = "local:" + str(PROJECT_DIR / "build" / "jars" / "spark") + "/*"
_EXECUTORS, _EXECUTOR_CORES = 1, 2
# Where YARN asks who it is: what driver and executors say, or leave on a disk, is for them only.
_SECURED = {
    "spark.authenticate": "true",
    "spark.network.crypto.enabled": "true",
    "spark.io.encryption.enabled": "true",
}
_OVERHEAD_MB = 640  # Python, polars and the JVM's own needs, beside its heap


def submit(application: str, spark_conn_id: str) -> None:
    """Submit it through the Spark provider's hook; returns once YARN has accepted, after some ten seconds.

    Raises:
        AirflowException: spark-submit fails.
    """
    from airflow.providers.apache.spark.hooks.spark_submit import SparkSubmitHook

    conf = settings.load()
    SparkSubmitHook(
        conn_id=spark_conn_id,
        name=application,
        conf=configuration(conf),
        driver_memory=f"{conf.spark_heap_mb}m",
        executor_memory=f"{conf.spark_heap_mb}m",
        executor_cores=_EXECUTOR_CORES,
        num_executors=_EXECUTORS,
        principal=conf.kerberos_principal or None,
        keytab=conf.kerberos_keytab or None,
        env_vars={"HADOOP_USER_NAME": conf.hdfs_user}
        | ({"HADOOP_CONF_DIR": conf.hadoop_conf_dir} if conf.hadoop_conf_dir else {}),
    ).submit(_JOB)


def configuration(conf: settings.Settings) -> dict[str, str]:
    """Return Spark's settings of the submission."""
    master_env = {
        "PYSPARK_PYTHON": _PYTHON,
        "PYSPARK_DRIVER_PYTHON": _PYTHON,
        **{f"LOGPIPE_{name.upper()}": str(getattr(conf, name)) for name in sorted(conf.model_fields_set)},
    }
    return {
        # The submission ends once YARN has accepted; the application is watched by its id.
        "spark.yarn.submit.waitAppCompletion": "false",
        "spark.yarn.jars": f"local:{files('pyspark')}/jars/*,{_CONNECTOR_JARS}",
        "spark.pyspark.python": _PYTHON,
        "spark.pyspark.driver.python": _PYTHON,
        # A stream runs for months: what counts is how often its driver died in the last hour.
        "spark.yarn.maxAppAttempts": "10",
        "spark.yarn.am.attemptFailuresValidityInterval": "1h",
        "spark.driver.memoryOverhead": f"{_OVERHEAD_MB}",
        "spark.executor.memoryOverhead": f"{_OVERHEAD_MB}",
        "spark.driver.extraJavaOptions": "-XX:MaxMetaspaceSize=256m",
        "spark.dynamicAllocation.enabled": "false",
        "spark.sql.catalogImplementation": "in-memory",
        **(_SECURED if conf.kerberos_principal else {}),
        **{f"spark.yarn.appMasterEnv.{name}": value for name, value in master_env.items()},
    }
