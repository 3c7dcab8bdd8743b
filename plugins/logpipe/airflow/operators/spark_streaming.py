"""Launching a Spark streaming job whose driver a process host keeps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logpipe.airflow.operators.service_launch import ServiceLaunchOperator

if TYPE_CHECKING:
    from logpipe.airflow.triggers.service import ServiceTrigger


class SparkStreamingOperator(ServiceLaunchOperator):
    """Has the driver of a streaming job up, its REST API showing the application.

    The first batch comes some ten seconds later; a replay need not wait for it, since the job reads the
    topic from where its checkpoint ends.

    Args:
        service: the driver's name at the process host.
        spark_driver_conn_id: connection to the driver's page (``spark.ui.port``).
        topic: what the query reads; with ``checkpoint_dir``, a supervised query must move while the topic
            is ahead of it.
        checkpoint_dir: the query's checkpoint on HDFS.
        heartbeat_path: file on HDFS that a supervised driver must keep touching.
        kafka_conn_id: connection to Kafka.
        webhdfs_conn_id: connection to HDFS.
        kwargs: as in `ServiceLaunchOperator`.
    """

    template_fields: Sequence[str] = (*ServiceLaunchOperator.template_fields, "spark_driver_conn_id")

    def __init__(
        self,
        *,
        service: str = "analytics",
        spark_driver_conn_id: str = "spark_driver_default",
        topic: str | None = None,
        checkpoint_dir: str | None = None,
        heartbeat_path: str | None = None,
        kafka_conn_id: str = "kafka_default",
        webhdfs_conn_id: str = "webhdfs_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(service=service, **kwargs)
        self.spark_driver_conn_id = spark_driver_conn_id
        self.topic = topic
        self.checkpoint_dir = checkpoint_dir
        self.heartbeat_path = heartbeat_path
        self.kafka_conn_id = kafka_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id

    def health_trigger(self) -> "ServiceTrigger":
        """Return the trigger that asks the driver's REST API."""
        from logpipe.airflow.triggers.spark_streaming import SparkStreamingTrigger

        return SparkStreamingTrigger(
            **self.trigger_arguments(),
            spark_driver_conn_id=self.spark_driver_conn_id,
            topic=self.topic,
            checkpoint_dir=self.checkpoint_dir,
            heartbeat_path=self.heartbeat_path,
            kafka_conn_id=self.kafka_conn_id,
            webhdfs_conn_id=self.webhdfs_conn_id,
        )
