"""The page's service, over its HTTP interface: what Airflow asks it for."""

from collections.abc import Collection
from typing import Any

from logpipe.clients.http import HttpService


class LogsPage(HttpService):
    """Hands out alerts. Every method raises UnreachableError when away, RefusedError when it refuses."""

    what = "page's service"
    alive_path = "/health"

    def look(self) -> dict[str, Any]:
        """Have the rules looked at, and take what nobody was told: ``changes`` and ``error``."""
        return self._ask("look")

    def take(self) -> dict[str, Any]:
        """The same, without being the one who watches."""
        return self._ask("take")

    def told(self, number: int, notifiers: Collection[int], *, is_over: bool) -> None:
        """Say that a change was sent by these notifiers, and whether by all."""
        self._ask("told", {"number": number, "notifiers": sorted(notifiers), "is_over": is_over})

    def late(self, day: str, told: str) -> None:
        """Say that a day (ISO) was not sealed in time."""
        self._ask("late", {"day": day, "told": told})

    def _ask(self, what: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.call("POST", f"/alerts/{what}", json=body or {})
        if answer.is_error:
            raise self.refusal(f"POST /alerts/{what}", answer)
        found: dict[str, Any] = answer.json()
        return found
