"""Kafka and HDFS, by the connections of Airflow's own providers."""

import logging
from typing import Any

from airflow.providers.apache.hdfs.hooks.webhdfs import AirflowWebHDFSHookException, WebHDFSHook
from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook

from logpipe import settings
from logpipe.clients.hdfs import Hdfs, HdfsUnreachableError
from logpipe.clients.kafka import Kafka

TIMEOUT_S = 15.0


# The provider's hook and its package tell at each question where they ask: for weeks, every few seconds.
_QUIET = logging.getLogger(__name__)
for _logger in (_QUIET, logging.getLogger("hdfs.client")):
    _logger.setLevel(logging.WARNING)


class HdfsHook(WebHDFSHook):
    """The provider's hook, which finds the NameNode that answers, with atomic renames and attributes."""

    log = _QUIET

    def get_conn(self) -> Any:
        """Return the provider's client.

        Raises:
            HdfsUnreachableError: no NameNode of the connection answers.
        """
        try:
            return super().get_conn()
        except (AirflowWebHDFSHookException, OSError) as error:  # what requests raises is one
            raise HdfsUnreachableError(
                f"No NameNode of connection {self.webhdfs_conn_id} answers: {error}"
            ) from None

    def _get_client(self, *arguments: Any) -> Any:
        client = super()._get_client(*arguments)
        client._timeout = TIMEOUT_S  # the provider's waits for ever
        return client

    def hdfs(self) -> Hdfs:
        """Return the client. Raises as `get_conn`."""
        return Hdfs.through(self.get_conn(), TIMEOUT_S)


class KafkaHook(KafkaAdminClientHook):
    """The provider's hook, with topics' ends and groups' commits added."""

    def __init__(self, kafka_conn_id: str = KafkaAdminClientHook.default_conn_name) -> None:
        super().__init__(kafka_config_id=kafka_conn_id)

    def kafka(self, timeout_s: float = TIMEOUT_S) -> Kafka:
        """Return the client."""
        connection = self.get_connection(self.kafka_config_id)
        return Kafka(connection.extra_dejson, timeout_s, f"connection {self.kafka_config_id}")


def pipeline_at(kafka_conn_id: str, webhdfs_conn_id: str) -> settings.Settings:
    """Return the settings with the ways to Kafka and HDFS that these connections hold.

    Raises:
        HdfsUnreachableError: no NameNode of the connection answers.
    """
    kafka = KafkaHook(kafka_conn_id)
    hdfs = HdfsHook(webhdfs_conn_id)
    at_kafka = settings.load().at_kafka(kafka.get_connection(kafka_conn_id).extra_dejson)
    return at_kafka.model_copy(
        update={
            "webhdfs_url": hdfs.get_conn().url,
            "hdfs_user": hdfs.get_connection(webhdfs_conn_id).login or settings.load().hdfs_user,
        }
    )
