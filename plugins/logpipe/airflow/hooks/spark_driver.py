"""A Spark driver, watched through the REST API of its page."""

import json
from typing import ClassVar

from logpipe.airflow.hooks.http_service import HttpServiceHook, ServiceUnreachableError


class SparkDriverHook(HttpServiceHook):
    """Asks the driver at a connection's host and port (``spark.ui.port``)."""

    conn_name_attr = "spark_driver_conn_id"
    default_conn_name: ClassVar[str] = "spark_driver_default"
    hook_name: ClassVar[str] = "Spark driver"
    timeout_s = 5

    def __init__(self, spark_driver_conn_id: str = default_conn_name) -> None:
        super().__init__(spark_driver_conn_id)

    async def application_id(self) -> str:
        """Return the id of the driver's running application.

        Raises:
            ServiceUnreachableError: the driver does not answer, or runs no application yet.
        """
        reply = await self.call("GET", "/api/v1/applications")
        try:
            return str(json.loads(reply.body)[0]["id"])
        except (ValueError, LookupError, TypeError):
            raise ServiceUnreachableError(
                f"The Spark driver of connection {self.conn_id} answered HTTP {reply.status} "
                "without an application"
            ) from None
