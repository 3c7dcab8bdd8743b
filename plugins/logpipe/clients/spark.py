"""A Spark driver, watched through the REST API of its page."""

from logpipe.clients.errors import UnreachableError
from logpipe.clients.http import HttpService


class SparkDriver(HttpService):
    """Asks the driver at its page's address (``spark.ui.port``)."""

    what = "Spark driver"
    timeout_s = 5
    alive_path = "/api/v1/applications"

    def application_id(self) -> str:
        """Return the id of the driver's running application.

        Raises:
            UnreachableError: the driver does not answer, or runs no application yet.
        """
        answer = self.call("GET", self.alive_path)
        try:
            return str(answer.json()[0]["id"])
        except (ValueError, LookupError, TypeError):
            raise UnreachableError(
                f"{self} answered HTTP {answer.status_code} without an application"
            ) from None
