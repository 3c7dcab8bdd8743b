"""The replayer's HTTP interface, as far as the command line needs it."""

from datetime import UTC, datetime
from typing import Any

import httpx

from logpipe.hosts.layout import USER, Layout
from logpipe.settings import Settings


class ReplayerApi:
    """A client of this copy's replayer."""

    def __init__(self, settings: Settings, layout: Layout) -> None:
        self._client = httpx.Client(
            base_url=f"http://{settings.host}:{settings.replayer_port}",
            auth=(USER, layout.secrets()["replayer_password"]),
            timeout=10,
        )

    def record(self, replay_id: str) -> dict[str, Any] | None:
        """A replay's record; None while the replayer does not answer or does not know it."""
        try:
            answer = self._client.get(f"/replays/{replay_id}")
        except httpx.HTTPError:
            return None
        return answer.json() if answer.status_code == httpx.codes.OK else None

    def seal(self, replay_id: str) -> bool:
        """Have a replay sealed; tells whether the replayer did.

        Raises:
            ConnectionError: the replayer is away.
        """
        try:
            body = {"sealed_at": datetime.now(UTC).isoformat(timespec="milliseconds")}
            return self._client.post(f"/replays/{replay_id}/seal", json=body).is_success
        except httpx.HTTPError as error:
            raise ConnectionError(f"The replayer does not answer: {error}") from None

    def submit(self, replay_id: str, url: str, profile: str) -> dict[str, Any]:
        """Begin a replay as fast as it is acknowledged.

        Raises:
            httpx.HTTPError: the replayer is away, or refuses.
        """
        spec = {"replay_id": replay_id, "url": url, "pace": "max", "profile": profile, "limit": None}
        record: dict[str, Any] = self._client.post("/replays", json=spec).raise_for_status().json()
        return record
