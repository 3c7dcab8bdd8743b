"""The windows job, wherever the settings say that it runs: on YARN, or under the process host."""

from typing import Any

from airflow.sdk import BaseOperator

from logpipe import settings
from logpipe.airflow.operators.service_stop import ServiceStopOperator
from logpipe.airflow.operators.spark_streaming import SparkStreamingOperator
from logpipe.airflow.operators.spark_yarn import SparkYarnOperator, SparkYarnStopOperator

SERVICE = "analytics"


def windows_job(**kwargs: Any) -> BaseOperator:
    """Make the task that has the windows job up.

    Args:
        kwargs: as in `SparkStreamingOperator`; what only the process host or Kafka needs is left out on YARN.
    """
    conf = settings.load()
    kwargs.setdefault(
        "doc_md",
        f"Windows of {conf.window_s} s, one each {conf.slide_s} s, by the lines' {conf.windows_time} time, "
        f"closed {conf.watermark_s} s after their end.",
    )
    if conf.spark_master != "yarn":
        return SparkStreamingOperator(service=SERVICE, **kwargs)
    kwargs.pop("topic", None)
    kwargs.setdefault("checkpoint_dir", conf.hdfs_checkpoint_dir)
    return SparkYarnOperator(
        application=conf.spark_application,
        hdfs_user=conf.hdfs_user,
        heap_mb=conf.spark_heap_mb,
        job_settings={
            f"LOGPIPE_{name.upper()}": str(getattr(conf, name)) for name in sorted(conf.model_fields_set)
        },
        **kwargs,
    )


def windows_job_stop(**kwargs: Any) -> BaseOperator:
    """Make the task that stops the windows job.

    Args:
        kwargs: ``task_id``, ``only`` and what every operator takes.
    """
    conf = settings.load()
    if conf.spark_master != "yarn":
        return ServiceStopOperator(service=SERVICE, **kwargs)
    return SparkYarnStopOperator(
        application=conf.spark_application, checkpoint_dir=conf.hdfs_checkpoint_dir, service=SERVICE, **kwargs
    )
