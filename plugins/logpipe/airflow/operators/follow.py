"""Following the logs of web servers while these write them."""

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow.sdk import BaseOperator

from logpipe import settings
from logpipe.airflow.operators.first_look import WORKER_GONE_S
from logpipe.airflow.operators.replayer import ReplayerWorkTask
from logpipe.airflow.operators.service import ReplayerTask
from logpipe.airflow.operators.supervising import (
    TEARDOWN_DELAY_S,
    TEARDOWN_TRIES,
    SupervisingTask,
    in_care_of,
)

if TYPE_CHECKING:
    from airflow.sdk import Context


class FollowFailedError(RuntimeError):
    """A log cannot be followed; the message names it and the reason."""


def on_host(conn_id: str, host: str) -> str:
    """A connection, narrowed to one of its hosts; empty: as it is."""
    return f"{conn_id}@{host}" if host else conn_id


class FollowingHostsOperator(BaseOperator):
    """Names the hosts on which logs can be followed: those that a connection leads to.

    Args:
        replayer_conn_id: connection to the replayers, one a host.
    """

    template_fields: Sequence[str] = ("replayer_conn_id",)

    def __init__(self, *, replayer_conn_id: str = "replayer_default", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.replayer_conn_id = replayer_conn_id

    def execute(self, context: "Context") -> list[str]:
        """Return the hosts."""
        from logpipe.airflow.hooks.services import ReplayerHook

        return ReplayerHook(self.replayer_conn_id).hosts


class FollowLogOperator(ReplayerWorkTask, SupervisingTask):
    """Has the replayer follow a log, or all that a pattern finds.

    Agent 1 and the replayer are launched where they do not run. A log that is followed already is taken over
    as it is. Nothing that happens to this task or to Airflow ends the following.

    With ``supervise`` the task stays, deferred, for as long as the log is followed, and heals the replayer;
    each heal stands in the log and in XCom ``heals``. Then the task is the following: mark it failed or
    succeeded, and the log is followed no longer, by its trigger at once, and by its teardown
    (`FollowEndOperator`) when no triggerer was there; clear it, and the next try takes over. It succeeds when
    the log is unfollowed or the replayer is stopped, and fails when the log cannot be followed for a minute.

    Args:
        path: absolute path of a log on the replayer's host, or a pattern of paths.
        log_format: its format, by name or in the server's own words; ``auto`` looks at its first lines.
        start: ``end``, what is written from now on, or ``start``, all that is there, rotated files too.
        olddir: where rotation puts old files, seen from the log; empty: they stay in its folder.
        addresses: what becomes of clients' addresses: ``keep``, ``shorten`` or ``hash``; empty: as
            ``LOGPIPE_ADDRESSES`` says.
        supervise: stay for as long as the log is followed.
        host: one host of the connections; empty where they have one only.
        profile: delivery profile of agent 1.
        agent: its name at the process host.
        flume_agent_conn_id: connection to agent 1.
        kwargs: as in `ReplayerWorkTask`.
    """

    template_fields: Sequence[str] = (
        *ReplayerWorkTask.template_fields, "path", "log_format", "start", "olddir", "addresses", "host",
        "profile",
        "flume_agent_conn_id",
    )  # fmt: skip

    def __init__(
        self,
        *,
        path: str,
        log_format: str = "auto",
        start: str = "end",
        olddir: str = "",
        addresses: str = "",
        supervise: bool = False,
        host: str = "",
        profile: str = "durable",
        agent: str = "flume-agent1",
        flume_agent_conn_id: str = "flume_agent1_default",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.log_format = log_format
        self.start = start
        self.olddir = olddir
        self.addresses = addresses
        self.supervise = supervise
        self.host = host
        self.profile = profile
        self.agent = agent
        self.flume_agent_conn_id = flume_agent_conn_id

    def execute(self, context: "Context") -> dict[str, Any]:
        """Have the log followed; return its record. Its id is in XCom as ``follow_id`` at once.

        Raises:
            FollowFailedError: the log cannot be followed.
            ReplayRefusedError: the replayer refuses the log; the message says why.
            ServiceNotHealthyError: agent 1 or the replayer does not come up.
        """
        from logpipe.airflow.services.kinds import FlumeAgent
        from logpipe.airflow.triggers.follow import FollowTrigger, follow_progress
        from logpipe.airflow.triggers.ownership import OWNER_KEY

        self.process_host_conn_id = on_host(self.process_host_conn_id, self.host)
        self.replayer_conn_id = on_host(self.replayer_conn_id, self.host)
        agent = FlumeAgent(
            service=self.agent,
            variant=self.profile,
            process_host_conn_id=self.process_host_conn_id,
            flume_agent_conn_id=on_host(self.flume_agent_conn_id, self.host),
        )
        self.launch(agent, self.start_timeout_s)
        record, *found = self.launched_replayer().follow(
            self.path, self.log_format, self.start, self.olddir, self.addresses or settings.load().addresses
        )
        context["ti"].xcom_push(key="follow_id", value=record["follow_id"])
        for each in (record, *found):
            self.log.info("%s, format %s: %s", each["log"], each["format"], follow_progress(each))
        if not self.supervise:
            return record
        owner = uuid4().hex
        context["ti"].xcom_push(key=OWNER_KEY, value=owner)
        trigger = FollowTrigger(
            follow_id=record["follow_id"],
            replayer_conn_id=self.replayer_conn_id,
            owner=owner,
            service=self.service,
            process_host_conn_id=self.process_host_conn_id,
            hung_after_s=self.hung_after_s,
            not_before_epoch_s=time.time() + WORKER_GONE_S,
        )
        followed = {"replayer_conn_id": self.replayer_conn_id, "follow_id": record["follow_id"]}
        with self.caring(context, followed):
            self.defer(trigger=trigger, method_name="execute_complete")
        return record

    def execute_complete(self, context: "Context", event: dict[str, Any]) -> dict[str, Any]:
        """Return the record of a log that is followed no longer.

        Raises:
            FollowFailedError: it cannot be followed.
        """
        from logpipe.airflow.triggers.follow import follow_progress
        from logpipe.airflow.triggers.replay import ReplayEvent

        record = ReplayEvent.from_payload(event).record
        if record["state"] == "failed":
            raise FollowFailedError(
                f"{record['log']} cannot be followed: {record['reason']}. What was acknowledged stays sent; "
                "the replayer tries again by itself, and clearing this task supervises that"
            )
        self.log.info("%s: %s", self.path, follow_progress(record))
        return record


class FollowEndOperator(BaseOperator):
    """The teardown of a task that supervises followed logs: ends what a person no longer wants followed.

    A log is followed on when the task has ended by itself: its replayer was stopped, or it cannot be followed
    for now.

    Args:
        supervised_by: the task, mapped or not.
        kwargs: as in ``BaseOperator``; it is tried again for a quarter of an hour while a replayer is away.
    """

    def __init__(self, *, supervised_by: str, **kwargs: Any) -> None:
        super().__init__(**{"retries": TEARDOWN_TRIES, "retry_delay": TEARDOWN_DELAY_S} | kwargs)
        self.supervised_by = supervised_by

    def execute(self, context: "Context") -> list[dict[str, Any]]:
        """Return the records of what was ended.

        Raises:
            UnreachableError: a replayer does not answer.
        """
        from logpipe.airflow.hooks.services import ReplayerHook
        from logpipe.airflow.triggers.follow import follow_progress

        ended = [
            ReplayerHook(followed["replayer_conn_id"]).get_conn().unfollow(followed["follow_id"])
            for followed in in_care_of(context, self.supervised_by)
        ]
        for record in ended:
            self.log.info("%s: %s", record["log"], follow_progress(record))
        return ended


class UnfollowLogOperator(ReplayerTask):
    """Ends the following of a log, or of a pattern, once what is in flight is acknowledged.

    Args:
        path: as it was given to `FollowLogOperator`.
        host: as there.
        kwargs: as in `ReplayerTask`.
    """

    template_fields: Sequence[str] = (*ReplayerTask.template_fields, "path", "host")

    def __init__(self, *, path: str, host: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.path = path
        self.host = host

    def execute(self, context: "Context") -> list[dict[str, Any]]:
        """Return the records of what was ended; none when the log is not followed.

        Raises:
            UnreachableError: the replayer does not answer.
        """
        from logpipe.airflow.hooks.services import ReplayerHook
        from logpipe.airflow.triggers.follow import follow_progress

        replayer = ReplayerHook(on_host(self.replayer_conn_id, self.host)).get_conn()
        known = [record for record in replayer.follows() if record["log"] == self.path]
        ended = [replayer.unfollow(record["follow_id"]) for record in known]
        for record in ended:
            self.log.info("%s: %s", self.path, follow_progress(record))
        return ended
