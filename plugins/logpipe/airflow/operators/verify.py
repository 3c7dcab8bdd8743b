"""Accounting for every line."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from logpipe.accounting.judge import Accounting


class LinesUnaccountedError(RuntimeError):
    """Source, HDFS and windows do not hold the same lines, or HDFS is not as its links say."""


class VerifyOperator(BaseOperator):
    """Proves by addition that HDFS and windows hold each line of the source once; fails when they do not.

    While lines of replays that have ended are in flight, or a store is away, it waits. Replays that are equal
    everywhere are sealed. A replay that was stopped or failed is told, and does not make this task fail: its
    own task did.

    Args:
        wait_s: lines that are in flight for longer, or a store that is away for longer, make it fail.
        confirm_s: what is lost or doubled must be so for this long.
        poll_s: between two looks.
        replayer_conn_id: connection to the replayer.
        kafka_conn_id: connection to Kafka.
        webhdfs_conn_id: connection to HDFS.
        filling_conn_ids: connections to the metrics of agents that fill the topic; by default the table's.
        emptying_conn_ids: and of those that empty it.
    """

    template_fields: Sequence[str] = ("replayer_conn_id", "kafka_conn_id", "webhdfs_conn_id")

    def __init__(
        self,
        *,
        wait_s: float = 600,
        confirm_s: float = 5,
        poll_s: float = 1,
        replayer_conn_id: str = "replayer_default",
        kafka_conn_id: str = "kafka_default",
        webhdfs_conn_id: str = "webhdfs_default",
        filling_conn_ids: Sequence[str] | None = None,
        emptying_conn_ids: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.wait_s = wait_s
        self.confirm_s = confirm_s
        self.poll_s = poll_s
        self.replayer_conn_id = replayer_conn_id
        self.kafka_conn_id = kafka_conn_id
        self.webhdfs_conn_id = webhdfs_conn_id
        self.filling_conn_ids = filling_conn_ids
        self.emptying_conn_ids = emptying_conn_ids

    def execute(self, context: "Context") -> dict[str, Any]:
        """Return the accounting: source, topic, hdfs, windows, lost, doubled and in_flight, in lines.

        Raises:
            LinesUnaccountedError: a line is lost or doubled, a file is missing, or lines stay in flight.
            ClientError, WindowsError, SourceGoneError: something stays unreadable.
        """
        from logpipe.accounting.verify import seal_replays

        accounting = self._settled()
        result: dict[str, Any] = accounting.to_json()
        if not accounting.is_exact or accounting.is_waiting:
            details = "\n".join(accounting.details)
            raise LinesUnaccountedError(
                f"{accounting.lost} lines lost, {accounting.doubled} doubled, {accounting.in_flight} still "
                f"in flight: {result}. `make audit` reads the bytes and names the very lines, `make repair` "
                f"mends what can be mended; then clear this task: it compares anew.\n{details}"
            )
        for text in accounting.unfinished:
            self.log.warning("%s", text)
        sealed = seal_replays(accounting, self._seal)
        self.log.info("Every line is accounted for: %s; %d replays sealed", result, len(sealed))
        return result

    def _settled(self) -> "Accounting":
        """Verify until nothing is in flight, or what is wrong is so for good."""
        from logpipe.accounting.source import SourceGoneError
        from logpipe.accounting.verify import verify
        from logpipe.airflow.hooks.services import agent_conn_ids, agents_at
        from logpipe.airflow.hooks.stores import pipeline_at
        from logpipe.clients.errors import ClientError
        from logpipe.windows.commit import WindowsError

        agents = agents_at(
            self.filling_conn_ids or agent_conn_ids(empties_topic=False),
            self.emptying_conn_ids or agent_conn_ids(empties_topic=True),
        )
        deadline = time.monotonic() + self.wait_s
        wrong_since: float | None = None
        while True:
            now = time.monotonic()
            try:
                accounting = verify(pipeline_at(self.kafka_conn_id, self.webhdfs_conn_id), agents)
            except (ClientError, WindowsError, SourceGoneError, OSError) as error:
                if now > deadline:
                    raise
                self.log.warning("Waiting: %s", error)
            else:
                wrong_since = None if accounting.is_exact else wrong_since or now
                is_confirmed = wrong_since is not None and now - wrong_since >= self.confirm_s
                if is_confirmed or now > deadline or (accounting.is_exact and not accounting.is_waiting):
                    return accounting
                self.log.info("Waiting: %s", accounting.to_json())
            time.sleep(self.poll_s)

    def _seal(self, replay_id: str) -> bool:
        from logpipe.airflow.hooks.services import ReplayerHook
        from logpipe.clients.replayer import ReplayRefusedError

        try:
            ReplayerHook(self.replayer_conn_id).get_conn().seal(replay_id)
        except ReplayRefusedError as error:
            self.log.warning("%s is not sealed: %s", replay_id, error)
            return False
        return True
