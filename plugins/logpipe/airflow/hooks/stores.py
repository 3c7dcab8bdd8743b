"""Kafka and HDFS, by the connections of Airflow's own providers."""

import logging
from typing import Any

from airflow.providers.apache.hdfs.hooks.webhdfs import WebHDFSHook
from airflow.providers.apache.kafka.hooks.client import KafkaAdminClientHook

from logpipe import settings
from logpipe.clients.hdfs import Hdfs
from logpipe.clients.kafka import Kafka

TIMEOUT_S = 15.0


# The provider's hook and its package tell at each question where they ask: for weeks, every few seconds.
_QUIET = logging.getLogger(__name__)
for _logger in (_QUIET, logging.getLogger("hdfs.client")):
    _logger.setLevel(logging.WARNING)


class HdfsHook(WebHDFSHook):
    """The provider's hook and connection, with atomic renames, attributes, and Kerberos by the settings.

    Of several hosts, with commas, the client finds the active NameNode with each question. The extra
    ``use_ssl`` has it ask by https, ``verify`` names the file of certificate authorities (by default that of
    LOGPIPE_HADOOP_CA_FILE).
    """

    log = _QUIET

    @property
    def url(self) -> str:
        """WebHDFS's address, as the settings have it."""
        known = self.get_connection(self.webhdfs_conn_id)
        scheme = "https" if str(known.extra_dejson.get("use_ssl", "")).lower() == "true" else "http"
        path = f"/{known.schema}" if known.schema else ""
        hosts = [host.strip() for host in (known.host or "").split(",")]
        return ";".join(f"{scheme}://{host}:{known.port}{path}" for host in hosts)

    @property
    def user(self) -> str:
        """As whom it asks, where nobody wants a proof."""
        return self.get_connection(self.webhdfs_conn_id).login or settings.load().hdfs_user

    def get_conn(self) -> Any:
        """Return the client of the provider's package. Raises as `hdfs`."""
        return self.hdfs().client

    def hdfs(self) -> Hdfs:
        """Return the client.

        Raises:
            HdfsError: the file of certificate authorities can't be read.
        """
        return Hdfs.of(self.applied(settings.load()), TIMEOUT_S)

    def applied(self, conf: settings.Settings) -> settings.Settings:
        """The settings with this connection's HDFS."""
        authorities = self.get_connection(self.webhdfs_conn_id).extra_dejson.get("verify")
        known = {"hadoop_ca_file": authorities} if isinstance(authorities, str) else {}
        return conf.model_copy(update={"webhdfs_url": self.url, "hdfs_user": self.user} | known)


class KafkaHook(KafkaAdminClientHook):
    """The provider's hook, with topics' ends and groups' commits added."""

    def __init__(self, kafka_conn_id: str = KafkaAdminClientHook.default_conn_name) -> None:
        super().__init__(kafka_config_id=kafka_conn_id)

    def kafka(self, timeout_s: float = TIMEOUT_S) -> Kafka:
        """Return the client."""
        connection = self.get_connection(self.kafka_config_id)
        return Kafka(connection.extra_dejson, timeout_s, f"connection {self.kafka_config_id}")


def pipeline_at(kafka_conn_id: str, webhdfs_conn_id: str) -> settings.Settings:
    """Return the settings with the ways to Kafka and HDFS that these connections hold."""
    kafka = KafkaHook(kafka_conn_id).get_connection(kafka_conn_id)
    return HdfsHook(webhdfs_conn_id).applied(settings.load().at_kafka(kafka.extra_dejson))
