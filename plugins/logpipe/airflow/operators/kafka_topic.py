"""Provisioning a Kafka topic."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from logpipe import settings

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.clients.kafka import Kafka, TopicDescription


class TopicDriftError(RuntimeError):
    """A topic exists and is not as expected; the message says what differs and what to do."""


class KafkaTopicOperator(BaseOperator):
    """Creates a topic, or verifies that the existing one has the expected shape. It never alters one.

    Args:
        topic: its name; the pipeline's by default, and so are partitions and replication.
        partitions: how many partitions it must have.
        replication: how many replicas each partition must have.
        topic_config: settings that it must have, and that it is created with.
        kafka_conn_id: connection to Kafka.
        patience_s: a broker that is away for longer makes the task fail.
    """

    template_fields: Sequence[str] = ("topic", "partitions", "replication", "topic_config", "kafka_conn_id")

    def __init__(
        self,
        *,
        topic: str | None = None,
        partitions: int | None = None,
        replication: int | None = None,
        topic_config: Mapping[str, str] | None = None,
        kafka_conn_id: str = "kafka_default",
        patience_s: float = 300,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        conf = settings.load()
        self.topic = topic or conf.topic
        self.partitions = partitions or conf.topic_partitions
        self.replication = replication or conf.topic_replication
        self.topic_config = topic_config
        self.kafka_conn_id = kafka_conn_id
        self.patience_s = patience_s

    def execute(self, context: "Context") -> dict[str, Any]:
        """Create or verify; return topic, partitions, replication and whether it was created.

        Raises:
            TopicDriftError: the topic exists with another shape.
            KafkaUnreachableError: no broker answers.
        """
        from logpipe.airflow.hooks.stores import KafkaHook
        from logpipe.clients.away import once_it_answers

        kafka = KafkaHook(self.kafka_conn_id).kafka()
        return once_it_answers(lambda: self._provision(kafka), self.patience_s, self.log)

    def _provision(self, kafka: "Kafka") -> dict[str, Any]:
        wanted = self.topic_config or {}
        found = kafka.describe(self.topic)
        created = found is None
        if found is None:
            found = kafka.create(self.topic, self.partitions, self.replication, wanted)
        if drift := self._drift(found, kafka.config(self.topic) if wanted else {}):
            raise TopicDriftError("\n".join(drift))
        self.log.info(
            "%s topic %s: %d partitions, %d replicas each",
            "Created" if created else "Found as expected:",
            self.topic,
            found.partitions,
            found.replication,
        )
        return {
            "topic": self.topic,
            "partitions": self.partitions,
            "replication": self.replication,
            "created": created,
        }

    def _drift(self, found: "TopicDescription", config: Mapping[str, str]) -> list[str]:
        """Name each difference and the way out, one line each."""
        drift = []
        has = f"Topic {self.topic} has"
        if found.partitions < self.partitions:
            drift.append(
                f"{has} {_count(found.partitions, 'partition')}, expected {self.partitions}: raise it with "
                f"kafka-topics --alter, or set LOGPIPE_TOPIC_PARTITIONS={found.partitions}"
            )
        elif found.partitions > self.partitions:
            drift.append(
                f"{has} {_count(found.partitions, 'partition')}, expected {self.partitions}: partitions "
                f"cannot be taken away, so set LOGPIPE_TOPIC_PARTITIONS={found.partitions}, or delete the "
                "topic and what was made from it"
            )
        if found.replication != self.replication:
            drift.append(
                f"{has} {_count(found.replication, 'replica')} of a partition, expected {self.replication}: "
                "change it with kafka-reassign-partitions, "
                f"or set LOGPIPE_TOPIC_REPLICATION={found.replication}"
            )
        drift += [
            f"{has} {name}={config.get(name)}, expected {value}: set it with "
            f"kafka-configs --alter --topic {self.topic} --add-config {name}={value}"
            for name, value in (self.topic_config or {}).items()
            if config.get(name) != value
        ]
        return drift


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
