"""Launching a Flume agent."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from logpipe.airflow.operators.service_launch import ServiceLaunchOperator

if TYPE_CHECKING:
    from logpipe.airflow.triggers.service import ServiceTrigger


class FlumeAgentOperator(ServiceLaunchOperator):
    """Has a Flume agent up in one delivery profile, its metrics endpoint answering.

    Args:
        service: the agent's name at the process host; its variants are the delivery profiles.
        flume_agent_conn_id: connection to the agent's metrics endpoint.
        topic: the topic that the agent empties; with ``consumer_group`` it is drained at its end.
        consumer_group: the group as which it does.
        logs_dir: where profile durable keeps its chain of links, which tells what is flushed.
        kafka_conn_id: connection to Kafka.
        kwargs: as in `ServiceLaunchOperator`.
    """

    template_fields: Sequence[str] = (*ServiceLaunchOperator.template_fields, "flume_agent_conn_id")

    def __init__(
        self,
        *,
        flume_agent_conn_id: str,
        topic: str | None = None,
        consumer_group: str | None = None,
        logs_dir: str | None = None,
        kafka_conn_id: str = "kafka_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.flume_agent_conn_id = flume_agent_conn_id
        self.topic = topic
        self.consumer_group = consumer_group
        self.logs_dir = logs_dir
        self.kafka_conn_id = kafka_conn_id

    def health_trigger(self) -> "ServiceTrigger":
        """Return the trigger that asks the metrics endpoint."""
        from logpipe.airflow.triggers.flume_agent import FlumeAgentTrigger

        return FlumeAgentTrigger(
            **self.trigger_arguments(),
            flume_agent_conn_id=self.flume_agent_conn_id,
            topic=self.topic,
            consumer_group=self.consumer_group,
            logs_dir=self.logs_dir,
            kafka_conn_id=self.kafka_conn_id,
        )
