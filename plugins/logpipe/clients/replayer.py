"""The replayer, over its HTTP interface."""

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from logpipe.clients.errors import RefusedError
from logpipe.clients.http import HttpService

Record = dict[str, Any]


class ReplayRefusedError(RefusedError):
    """The replayer refused a request: a bad value, an unknown id, or an id that stands for another replay."""


class Replayer(HttpService):
    """Submits, follows and stops replays. Every method raises UnreachableError when it does not answer."""

    what = "replayer"
    alive_path = "/health"

    def health(self) -> int:
        """Return the number of running replays."""
        return int(self.get(self.alive_path)["replays_running"])

    def submit(self, replay_id: str, spec: dict[str, Any], login: dict[str, str] | None = None) -> Record:
        """Start a replay, or find the one with this id: a running one is joined, a failed one goes on.

        ``spec`` holds url, pace, profile, limit (lines, or null) and perhaps format and
        addresses; ``login`` user and password for the log's server.

        Raises:
            ReplayRefusedError: a value is refused, or the id stands for another spec.
        """
        return self._ask("POST", "/replays", {"replay_id": replay_id, **spec, "login": login})

    def record(self, replay_id: str) -> Record:
        """Return the record of a replay.

        Raises:
            ReplayRefusedError: there is none with this id.
        """
        return self._ask("GET", f"/replays/{_in_path(replay_id)}")

    def replays(self) -> list[Record]:
        """List the records of all replays, oldest first."""
        records: list[Record] = self.get("/replays")["replays"]
        return records

    def stop(self, replay_id: str) -> Record:
        """Stop a replay once what is in flight is acknowledged; return its record."""
        return self._ask("POST", f"/replays/{_in_path(replay_id)}/stop")

    def seal(self, replay_id: str) -> Record:
        """Have a replay sealed, which is done and equal everywhere; return its record."""
        body = {"sealed_at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        return self._ask("POST", f"/replays/{_in_path(replay_id)}/seal", body)

    def give_up(self, replay_id: str) -> Record:
        """Note that nobody goes on with a replay that stopped or failed; return its record.

        Raises:
            ReplayRefusedError: there is none with this id, or it runs or is done.
        """
        return self._ask("POST", f"/replays/{_in_path(replay_id)}/give-up")

    def follow(
        self,
        log: str,
        format_text: str = "auto",
        start: str = "end",
        olddir: str = "",
        addresses: str = "keep",
    ) -> list[Record]:
        """Follow a log, or the logs that fit a pattern; what is followed already is joined.

        Args:
            log: absolute path or pattern, on the replayer's host.
            format_text: ``auto``, a preset, or the server's own words.
            start: ``end``: what is written from now on; ``start``: all that is there, old files in order.
            olddir: where rotation puts old files, seen from the log; empty: they stay in its folder.
            addresses: what becomes of clients' addresses: ``keep``, ``shorten`` or ``hash``.

        Returns:
            The log; of a pattern first the pattern, then its logs. As ``GET /follows`` gives them.

        Raises:
            ReplayRefusedError: it may not be read, is no file of lines, or its format does not fit.
        """
        body = {
            "log": log,
            "format": format_text,
            "start": start,
            "olddir": olddir,
            "addresses": addresses,
        }
        found: list[Record] = self._ask("POST", "/follows", body)["follows"]
        return found

    def follows(self) -> list[Record]:
        """List what is followed, and what was."""
        found: list[Record] = self.get("/follows")["follows"]
        return found

    def followed(self, follow_id: str) -> Record:
        """Return how a followed log is.

        Raises:
            ReplayRefusedError: there is none with this id.
        """
        return self._ask("GET", f"/follows/{_in_path(follow_id)}")

    def unfollow(self, follow_id: str) -> Record:
        """Follow a log no more, once what is in flight is acknowledged; return how it is."""
        return self._ask("POST", f"/follows/{_in_path(follow_id)}/stop")

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> Record:
        answer = self.call(method, path, json=body)
        if answer.is_success:
            record: Record = answer.json()
            return record
        try:
            reason = answer.json()["error"]
        except (ValueError, KeyError, TypeError):
            reason = f"HTTP {answer.status_code}"
        raise ReplayRefusedError(f"{self} refused {method} {path}: {reason}")


def _in_path(text: str) -> str:
    return quote(text, safe="")
