"""What launches and stops have in common: the service that a task is about, with its connections."""

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from logpipe.airflow.services.kinds import Service


class ServiceTask(BaseOperator):
    """A task about one service.

    Args:
        service: its name at the process host.
        process_host_conn_id: connection to the process host.
    """

    kind: ClassVar[str] = "Plain"
    template_fields: Sequence[str] = ("service", "process_host_conn_id")

    def __init__(
        self, *, service: str, process_host_conn_id: str = "process_host_default", **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.service = service
        self.process_host_conn_id = process_host_conn_id

    def kept(self) -> "Service":
        """The service, with what this task says of it; the rest is its kind's default."""
        from logpipe.airflow.services.kinds import KINDS

        kind = KINDS[self.kind]
        return kind(
            **{each.name: getattr(self, each.name) for each in fields(kind) if hasattr(self, each.name)}
        )


class FlumeAgentTask(ServiceTask):
    """A task about a Flume agent.

    Args:
        flume_agent_conn_id: connection to the agent's metrics endpoint; empty for the table's of its service.
        empties_topic: it brings the pipeline's topic to HDFS, and is drained of it at its end; None: as its
            file says.
        kwargs: as in `ServiceTask`.
    """

    kind = "FlumeAgent"
    template_fields: Sequence[str] = (*ServiceTask.template_fields, "flume_agent_conn_id")

    def __init__(
        self, *, flume_agent_conn_id: str = "", empties_topic: bool | None = None, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.flume_agent_conn_id = flume_agent_conn_id
        self.empties_topic = empties_topic


class WindowsJobTask(ServiceTask):
    """A task about the windows job, under the process host, or on YARN when the settings say so.

    Args:
        service: the driver's name at the process host.
        spark_driver_conn_id: connection to the driver's page (``spark.ui.port``).
        yarn_conn_id: connection to the ResourceManager's web server.
        spark_conn_id: the provider's connection, ``yarn`` with ``deploy-mode`` ``cluster``.
        kwargs: as in `ServiceTask`.
    """

    kind = "WindowsJob"
    template_fields: Sequence[str] = (
        *ServiceTask.template_fields,
        "spark_driver_conn_id",
        "yarn_conn_id",
        "spark_conn_id",
    )

    def __init__(
        self,
        *,
        service: str = "analytics",
        spark_driver_conn_id: str = "spark_driver_default",
        yarn_conn_id: str = "yarn_default",
        spark_conn_id: str = "spark_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(service=service, **kwargs)
        self.spark_driver_conn_id = spark_driver_conn_id
        self.yarn_conn_id = yarn_conn_id
        self.spark_conn_id = spark_conn_id


class ReplayerTask(ServiceTask):
    """A task about the replayer.

    Args:
        service: its name at the process host.
        replayer_conn_id: connection to it.
        kwargs: as in `ServiceTask`.
    """

    kind = "Replayer"
    template_fields: Sequence[str] = (*ServiceTask.template_fields, "replayer_conn_id")

    def __init__(
        self, *, service: str = "replayer", replayer_conn_id: str = "replayer_default", **kwargs: Any
    ) -> None:
        super().__init__(service=service, **kwargs)
        self.replayer_conn_id = replayer_conn_id
