"""What the commands do to one pipeline; what differs is how its services are reached."""

import json
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from logpipe.accounting.source import SourceGoneError
from logpipe.accounting.verify import seal_replays, verify
from logpipe.accounting.watch import observe
from logpipe.cli.follow import GrowingFile, RunFollower, TablesOnHdfs, await_dags, failure, sentence
from logpipe.cli.terminal import follow_lines, is_followed, print_lines, print_status
from logpipe.clients.airflow import FOLLOW_DAG, PIPELINE_DAG, Airflow
from logpipe.clients.errors import ClientError, RefusedError
from logpipe.clients.replayer import Replayer
from logpipe.contracts.days import date_of
from logpipe.hosts.cluster.compose import ComposeError
from logpipe.hosts.cluster.stack import ClusterError
from logpipe.hosts.layout import LayoutError
from logpipe.hosts.machine.stack import ServiceStatus, StackError
from logpipe.hosts.services import KAFKA, NAMENODE
from logpipe.replayer.addresses import AddressKeyError, AddressKeys
from logpipe.settings import Settings, SettingsError, kafka_access
from logpipe.windows.commit import COMPACTED_WITHIN_MS, WindowsError

if TYPE_CHECKING:
    from logpipe.windows.erase import ErasedTopic

REPAIR_TIMEOUT_S = 600.0
FOLLOW_TIMEOUT_S = 180.0


def expected_errors() -> tuple[type[BaseException], ...]:
    """What may go wrong, and is told in words.

    As in some commands below, what reads and seals days is imported where it is needed: its libraries
    take as long to load as all the others.
    """
    from logpipe.report.__main__ import ERRORS
    from logpipe.sealing.forget import NotSealedError

    return (
        SettingsError, LayoutError, StackError, ComposeError, ClusterError, ClientError,
        SourceGoneError, WindowsError, AddressKeyError, NotSealedError, *ERRORS,
    )  # fmt: skip


class Reachable(ABC):
    """The commands that need a pipeline's services, where these can be reached from here."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self.console = console

    @abstractmethod
    def airflow(self) -> Airflow:
        """Log in at Airflow."""

    @abstractmethod
    def page(self) -> str:
        """Address of Airflow's page, as a person reaches it."""

    @abstractmethod
    def windows(self) -> GrowingFile | TablesOnHdfs:
        """What the windows job prints."""

    @abstractmethod
    def services(self) -> dict[str, ServiceStatus]:
        """The services, each asked whether it does its work."""

    @abstractmethod
    def replayers(self) -> list[Replayer]:
        """The replayers; the first one sends what a repair found lost."""

    @abstractmethod
    def sending_profile(self) -> str:
        """The delivery profile of the way to Kafka that is open; it is opened if none is."""

    def must_run(self) -> None:  # noqa: B027  # where whoever runs this is a part of it, the rest is up
        """Say at once what has to run for a question that the stores answer.

        Raises:
            StackError: it does not.
        """

    @contextmanager
    def started(self) -> Iterator[None]:
        """Wait for the DAGs; there is nothing to start where whoever runs this is a part of it."""
        await_dags(self.airflow())
        yield

    def run(self, conf: dict[str, object], run_id: str | None = None) -> int:
        """Replay and follow until every line is accounted for, or the run has failed.

        Args:
            conf: the run's parameters.
            run_id: of a run that may be there already.
        """
        with self.started():
            airflow = self.airflow()
            follower = RunFollower(self.console, airflow, self.record, self.windows())
            run_id = airflow.trigger(PIPELINE_DAG, conf, run_id)
        self.console.print(f"Run {run_id} of {PIPELINE_DAG}: {self.page()}/dags/{PIPELINE_DAG}/runs/{run_id}")
        state = follower.follow(run_id)
        if state != "success":
            print_lines(self.console, failure(airflow, PIPELINE_DAG, run_id).splitlines())
        if accounting := airflow.xcom(PIPELINE_DAG, run_id, "account"):
            print_lines(self.console, [sentence(accounting)])
        return 0 if state == "success" else 1

    def follow(self, log: str, format_text: str, start: str, olddir: str, addresses: str | None) -> int:
        """Have a log followed by the DAG that supervises it, and say what it took."""
        with self.started():
            airflow = self.airflow()
            await_dags(airflow, FOLLOW_DAG)
            conf = {"log": log, "format": format_text, "start": start, "olddir": olddir}
            run_id = airflow.trigger(FOLLOW_DAG, conf | ({"addresses": addresses} if addresses else {}))
        deadline = time.monotonic() + FOLLOW_TIMEOUT_S
        while not (found := [one for one in self.follows() if one["log"] == log and is_followed(one)]):
            if airflow.run_state(FOLLOW_DAG, run_id) == "failed":
                print_lines(self.console, failure(airflow, FOLLOW_DAG, run_id).splitlines())
                return 1
            if time.monotonic() > deadline:
                print(f"{log} is not followed yet, see run {run_id} of {FOLLOW_DAG}", file=sys.stderr)
                return 1
            time.sleep(0.5)
        for one in found:
            print_lines(self.console, follow_lines([one, *self._files_of(one)]))
        return 0

    def unfollow(self, log: str) -> int:
        """Follow a log no more, by its path, its pattern or its id."""
        found = [one for one in self.follows() if log in (one["log"], one["path"], one["follow_id"])]
        if not found:
            known = ", ".join(one["log"] for one in self.follows() if is_followed(one)) or "none"
            print(f"{log} is not followed; followed are: {known}", file=sys.stderr)
            return 2
        for one in found:
            self._asked(lambda replayer, name=one["follow_id"]: replayer.unfollow(name))  # type: ignore[misc]
            sent = f": {one['lines']:,} lines were sent" if is_followed(one) else ""  # else it said so before
            self.console.print(f"{one['log']} is not followed any more{sent}")
        return 0

    def follows(self) -> list[dict[str, Any]]:
        """What the replayers follow, as far as they answer."""
        found: list[dict[str, Any]] = []
        for replayer in self.replayers():
            with suppress(ClientError):
                found += replayer.follows()
        return found

    def _files_of(self, pattern: dict[str, Any]) -> list[dict[str, Any]]:
        names = pattern.get("files", ())
        return [one for one in self.follows() if one["follow_id"] in names]

    def record(self, replay_id: str) -> dict[str, Any] | None:
        """A replay's record, from the replayer that knows most; None while none answers or knows it."""
        known = []
        for replayer in self.replayers():
            with suppress(ClientError):
                known.append(replayer.record(replay_id))
        return max(known, key=lambda record: (record["lines"], record["state"] == "done"), default=None)

    def status(self, *, as_json: bool) -> int:
        """Show services, and what needs a look where the stores answer."""
        services = self.services()
        answers = all(services[each.name].healthy for each in (KAFKA, NAMENODE) if each.name in services)
        watch = observe(self.settings, here_only=not answers)
        print_status(self.console, services, watch, self.follows(), as_json=as_json)
        return 0

    def verify(self) -> int:
        """Add up, seal what is equal everywhere, and end with the JSON line."""
        self.must_run()
        accounting = verify(self.settings)
        seal_replays(accounting, self._seal)
        print_lines(self.console, accounting.details)
        print(json.dumps(accounting.to_json()), flush=True)
        return 0 if accounting.ok else 1

    def _seal(self, replay_id: str) -> bool:
        """Have a replay sealed by the replayer that knows it."""
        try:
            self._asked(lambda replayer: replayer.seal(replay_id))
        except RefusedError:
            return False
        return True

    def _asked(self, question: Callable[[Replayer], dict[str, Any]]) -> dict[str, Any]:
        """The record that the first replayer gives which knows the replay.

        Raises:
            RefusedError: one that answers refuses, and no other knows better.
            UnreachableError: none answers.
        """
        errors: list[ClientError] = []
        for replayer in self.replayers():
            try:
                return question(replayer)
            except ClientError as error:
                errors.append(error)
        raise next((error for error in errors if isinstance(error, RefusedError)), errors[0])

    def audit(self, day: date | None, replay: str | None) -> int:
        """Read the bytes, name what differs, and end with the JSON line."""
        from logpipe.accounting.audit import audit

        self.must_run()

        def progress(done: int, parts: int, lines: int) -> None:
            if self.console.is_terminal:
                self.console.print(f"{done:,} of {parts:,} parts read, {lines:,} lines", end="\r")

        try:
            found = audit(self.settings, f"{day:%y-%m-%d}" if day else None, replay, progress)
        except ValueError as error:  # there is no such day or replay
            print(error, file=sys.stderr)
            return 2
        print_lines(self.console, found.details)
        print(json.dumps(found.to_json()), flush=True)
        return 0 if found.ok else 1

    def sql(self, query: str | None) -> int:
        """Answer one query, or those that are typed."""
        import duckdb

        from logpipe.cli.sql import statements
        from logpipe.page.sql import connect

        self.must_run()
        connection, snapshot = connect(self.settings)
        if snapshot is not None:
            commit = snapshot.commit
            print(f"windows: at commit {commit.step:,} of {commit.committed_at}", file=sys.stderr)
        status = 0
        for statement in [query] if query else statements():
            try:
                if (found := connection.sql(statement)) is not None:
                    found.show(max_width=10_000 if not self.console.is_terminal else self.console.width)
                status = 0
            except duckdb.Error as error:
                print(error, file=sys.stderr)
                status = 1
        return status

    def seal(self, day: date) -> int:
        """Seal a day; 3: it is not over."""
        from logpipe.sealing import __main__ as sealing
        from logpipe.sealing.over import NotOverError

        self.must_run()
        try:
            report = sealing.report_of(self.settings, day)
        except NotOverError as error:
            self.console.print(f"Not over yet: {error}")
            return sealing.NOT_OVER
        print(json.dumps(report), flush=True)
        return 0

    def report(self, day: date | None) -> int:
        """Report on a sealed day, or on each that has no report yet."""
        from logpipe.report import __main__ as reporting
        from logpipe.report.day import days_without

        self.must_run()
        status = 0
        for each in [day] if day else days_without(self.settings):
            told = reporting.report_of(self.settings, each)
            print(json.dumps(told), flush=True)
            if told["status"] != "reported":
                print(f"{each} has no report, {told['reason']}: `make seal DATE={each}`", file=sys.stderr)
                status = 1
        return status

    def forget(self, day: date) -> int:
        """Forget a day."""
        from logpipe.sealing.forget import forget
        from logpipe.sealing.lock import LOCK_WAIT_S, alone

        self.must_run()
        with alone(self.settings, f"the forgetting of {day}", LOCK_WAIT_S):
            sealed = forget(self.settings, day)
        self.console.print(f"{day}: {sealed.lines:,} lines are forgotten, their sums stay")
        return 0

    def erase(self, address: str, day: date | None) -> int:
        """Erase an address; 3: something still holds it that only a person, or time, can change."""
        from logpipe.report import __main__ as reporting
        from logpipe.report.day import days_without
        from logpipe.sealing.__main__ import NOT_OVER
        from logpipe.sealing.erase import erase
        from logpipe.sealing.lock import LOCK_WAIT_S, alone

        self.must_run()
        with alone(self.settings, "an erasure", LOCK_WAIT_S):
            done = erase(self.settings, address, day)
        for name, lines in done.lines.items():
            if lines:
                self.console.print(f"{name}: the address is replaced in {lines:,} lines")
        changed = {date_of(name) for name, lines in done.lines.items() if lines}
        for each in sorted(changed.intersection(days_without(self.settings))):
            reporting.report_of(self.settings, each)
        for name, lines in done.open_lines.items():
            day = date_of(name)
            print(f"{day} is not sealed, {lines:,} lines hold it: erase again once it is", file=sys.stderr)
        for path in done.kept:
            print(f"{path} holds it, and is a file for a person: look at it, and delete it", file=sys.stderr)
        hours = self.settings.topic_retention_hours
        gone = datetime.now(UTC) + timedelta(hours=hours)
        self.console.print(
            f"The topic {self.settings.topic} holds what it took until it is {hours} hours old, so at "
            f"most until {gone:%Y-%m-%d %H:%M} UTC"
        )
        for topic in done.topics:
            self._tell_topic(topic)
        told = {
            "lines": sum(done.lines.values()),
            "days": len(changed),
            "rows": done.rows,
            "set_aside": done.letters,
            "not_sealed": sum(done.open_lines.values()),
            "kept_files": len(done.kept),
            "records": sum(topic.records for topic in done.topics),
            "kept_records": (kept_records := sum(topic.left for topic in done.topics)),
        }
        print(json.dumps(told), flush=True)
        return NOT_OVER if done.open_lines or done.kept or kept_records else 0

    def _tell_topic(self, topic: "ErasedTopic") -> None:
        """Say what became of a compacted topic, and until when it holds what was there before."""
        if topic.left:
            print(
                f"{topic.left:,} records of the topic {topic.topic} hold it: erase where the password of "
                f"Kafka's user {kafka_access.user(self.settings, 'windows')} is, who alone may write there",
                file=sys.stderr,
            )
        if topic.records:
            until = (
                f"as long as Kafka does not compact it: give it max.compaction.lag.ms={COMPACTED_WITHIN_MS}"
            )
            if topic.compacted_within_ms is not None:
                gone = datetime.now(UTC) + timedelta(milliseconds=topic.compacted_within_ms)
                until = f"until Kafka has compacted it, which is due at {gone:%Y-%m-%d %H:%M} UTC"
            self.console.print(
                f"The topic {topic.topic}: {topic.records:,} records are written anew; the ones before stay "
                f"{until}"
            )

    def rotate_key(self) -> int:
        """Begin a new key."""
        name = AddressKeys.of(self.settings).rotate()
        self.console.print(
            f"Logs that begin from now on are hashed by key {name}; what has begun keeps its own"
        )
        return 0

    def give_up(self, replay_id: str) -> int:
        """Give a replay up that stopped or failed."""
        self.must_run()
        record = self._asked(lambda replayer: replayer.give_up(replay_id))
        self.console.print(
            f"{replay_id} is given up after line {record['last_line'] or 0:,}: the {record['lines']:,} lines "
            "that it has sent stay and count"
        )
        return 0

    def repair(self, day: date | None) -> int:
        """Mend; what could not be mended goes to standard error."""
        from logpipe.sealing.repair import repair

        self.must_run()
        outcome = repair(self.settings, day, self._send_again)
        print_lines(self.console, outcome.done or ["Nothing was repaired."])
        for text in outcome.failed:
            print(text, file=sys.stderr)
        return 1 if outcome.failed else 0

    def _send_again(self, replay_id: str, path: Path) -> None:
        """Replay a file of lost lines by the way that is open, and wait until they are acknowledged."""
        from logpipe.sealing.lost import NotSentError

        profile = self.sending_profile()
        replayer = self.replayers()[0]
        try:
            replayer.submit(
                replay_id, {"url": path.as_uri(), "pace": "max", "profile": profile, "limit": None}
            )
        except ClientError as error:
            raise NotSentError(f"{path} was not sent again: {error}") from None
        deadline = time.monotonic() + REPAIR_TIMEOUT_S
        while (record := self.record(replay_id) or {}).get("state") != "done":
            if record.get("state") == "failed" or time.monotonic() > deadline:
                raise NotSentError(
                    f"{path} was not sent again: {record.get('reason') or 'it takes too long'}"
                )
            time.sleep(0.5)


def where(page: str, user: str, secrets_file: Path) -> str:
    """How a person gets to Airflow, and to the page inside it that tells where all lines are."""
    return f"Airflow: {page}  user: {user}  password: in {secrets_file}\nLogs: {page}/plugin/logpipe"
