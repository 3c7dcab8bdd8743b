"""Replaying a log."""

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from logpipe import settings
from logpipe.airflow.operators.lineage import lineage, topic_asset
from logpipe.airflow.operators.replayer import ReplayerWorkTask
from logpipe.digest import Digest

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context


class ReplayFailedError(RuntimeError):
    """A replay ended before its source did; the message names URL and reason."""


class ReplayOperator(ReplayerWorkTask):
    """Replays a log through the replayer service, which it launches when it is not up.

    The replay's id stands for this task of this DAG run, so that a retry, or a cleared task, finds the
    replay: one that runs is joined, a failed or stopped one goes on after its last acknowledged line, and
    a finished one is not sent again. Marking the deferred task failed or succeeded stops its replay.

    Args:
        url: the log, plain or gz: ftp, ftps, http, https or file.
        pace: ``delay:SECONDS``, ``speed:FACTOR`` or ``max``.
        profile: delivery profile, ``memory`` or ``durable``.
        limit: stop after so many lines; None for all.
        format: how the log's lines are read: a preset, the server's own words, or ``auto``, which looks at
            the first lines. One that does not fit fails before a line is sent. None: Combined Log Format,
            whatever the lines say.
        addresses: what becomes of clients' addresses: ``keep``, ``shorten`` or ``hash``; empty: as
            ``LOGPIPE_ADDRESSES`` says.
        source_conn_id: connection with user and password for the log's server; None when it asks for none.
        first_look_s: the task keeps its worker this long before it defers.
        kwargs: as in `ReplayerWorkTask`.
    """

    template_fields: Sequence[str] = (
        *ReplayerWorkTask.template_fields, "url", "pace", "profile", "limit", "format", "addresses",
        "source_conn_id",
    )  # fmt: skip

    replayed: dict[str, Any] | None = None  # its record, once it is done

    def __init__(
        self,
        *,
        url: str,
        pace: str,
        profile: str,
        limit: int | None = None,
        format: str | None = None,  # noqa: A002 - its name everywhere
        addresses: str = "",
        source_conn_id: str | None = None,
        first_look_s: float = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.pace = pace
        self.profile = profile
        self.limit = limit
        self.format = format
        self.addresses = addresses
        self.source_conn_id = source_conn_id
        self.first_look_s = first_look_s

    def execute(self, context: "Context") -> dict[str, Any]:
        """Submit the replay and follow it; return its record. Its id is in XCom as ``replay_id`` at once.

        Raises:
            ReplayFailedError: the replay ended early.
            ServiceNotHealthyError: the replayer does not come up.
            ReplayRefusedError: the replayer refused a parameter.
        """
        from logpipe.airflow.triggers.ownership import OWNER_KEY
        from logpipe.airflow.triggers.replay import ReplayTrigger

        names = ("url", "pace", "profile", "limit", "format", "addresses", "source_conn_id")
        spec = {name: getattr(self, name) for name in names}
        spec["addresses"] = self.addresses or settings.load().addresses
        replay_id = replay_id_of(context)
        context["ti"].xcom_push(key="replay_id", value=replay_id)  # whoever follows this run finds the replay
        record = self._submit(replay_id, spec)
        self.log.info("Replay %s of %s is %s", replay_id, record["url"], record["state"])
        owner = uuid4().hex
        context["ti"].xcom_push(key=OWNER_KEY, value=owner)
        trigger = ReplayTrigger(
            replay_id=replay_id,
            spec=spec,
            replayer_conn_id=self.replayer_conn_id,
            owner=owner,
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            hung_after_s=self.hung_after_s,
        )
        return self.execute_complete(context, self.defer_unless_soon(trigger, self.first_look_s))

    def _submit(self, replay_id: str, spec: dict[str, Any]) -> dict[str, Any]:
        from logpipe.airflow.triggers.replay import submit

        return submit(self.launched_replayer(), replay_id, spec)

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Return the record of a finished replay.

        Raises:
            ReplayFailedError: the replay failed or was stopped.
        """
        from logpipe.airflow.triggers.replay import ReplayEvent, progress

        record = ReplayEvent.from_payload(event).record
        if record["state"] != "done":
            raise ReplayFailedError(
                f"Replay {record['replay_id']} of {record['url']} {record['state']}: {record['reason']}. "
                f"{progress(record)}; a retry, or clearing this task, goes on from there"
            )
        self.log.info("Replay %s of %s is done: %s", record["replay_id"], record["url"], progress(record))
        self.replayed = record
        return record

    def get_openlineage_facets_on_complete(self, task_instance: Any) -> "OperatorLineage | None":
        """What the OpenLineage provider asks for, where it is installed: from the log to the topic."""
        if self.replayed is None:
            return None
        return lineage(
            self.replayed["url"], topic_asset(settings.load()).uri, Digest.from_json(self.replayed)
        )


def replay_id_of(context: "Context") -> str:
    """Return a short id for the task instance: when its run was due, and a digest of what identifies it.

    It is short since it is part of every record's key in Kafka.
    """
    instance = context["ti"]
    identity = f"{instance.dag_id}/{instance.run_id}/{instance.task_id}/{instance.map_index}"
    due = context["dag_run"].run_after
    return f"{due:%Y%m%dT%H%M%S}-{hashlib.sha256(identity.encode()).hexdigest()[:8]}"
