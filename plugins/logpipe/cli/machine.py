"""The commands behind make: run, stop, status, replay, verify, audit, seal, forget, repair, logs, clean."""

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from datetime import date
from pathlib import Path

import httpx
from rich.console import Console

from logpipe import settings as project_settings
from logpipe.accounting.audit import audit
from logpipe.accounting.judge import Accounting
from logpipe.accounting.source import SourceGoneError
from logpipe.accounting.verify import seal_replays, verify
from logpipe.accounting.watch import observe
from logpipe.accounting.windows import WindowsError
from logpipe.cli.follow import GrowingFile, RunFollower, await_dags, sentence
from logpipe.cli.terminal import StartDisplay, make_console, print_lines, status_table, watch_table
from logpipe.clients.hdfs import HdfsError
from logpipe.clients.kafka import TopicError
from logpipe.hosts.layout import AIRFLOW_USER
from logpipe.hosts.machine.airflow_api import PIPELINE_DAG, AirflowApi, AirflowApiError
from logpipe.hosts.machine.process_host import ProcessHostError
from logpipe.hosts.machine.replayer_api import ReplayerApi
from logpipe.hosts.machine.stack import Stack, StackError
from logpipe.hosts.services import names
from logpipe.replayer.front_door import check_source
from logpipe.sealing import __main__ as sealing
from logpipe.sealing.forget import NotSealedError, forget
from logpipe.sealing.lock import alone
from logpipe.sealing.lost import NotSentError
from logpipe.sealing.over import NotOverError
from logpipe.sealing.repair import repair
from logpipe.settings import Settings, SettingsError

REPAIR_TIMEOUT_S = 600.0
WITH_LOGS = names("store", "stream", "airflow", "batch")

EXPECTED_ERRORS = (
    SettingsError, StackError, ProcessHostError, AirflowApiError,
    TopicError, HdfsError, SourceGoneError, WindowsError, NotSealedError, *sealing.ERRORS,
)  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0 when it did what it says."""
    options = parser().parse_args(arguments)
    console = make_console()
    try:
        status: int = options.command(project_settings.load(), options, console)
    except EXPECTED_ERRORS as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nLeft. Services and a running replay go on; `make status` shows them, `make stop` ends them.",
            file=sys.stderr,
        )
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """Make the command line's parser; ``options.command`` is what runs."""
    made = argparse.ArgumentParser(prog="python -m logpipe.cli.machine", description=__doc__)
    commands = made.add_subparsers(required=True, metavar="command")

    def add(
        name: str, command: Callable[[Settings, argparse.Namespace, Console], int]
    ) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        return sub

    for name, command in (("run", run), ("replay", replay)):
        sub = add(name, command)
        sub.add_argument(
            "--url",
            help="log to replay, plain or gz: ftp, ftps, http, https or file URL; default: the bundled log",
        )
        sub.add_argument(
            "--pace", help="delay:SECONDS between lines, speed:FACTOR of the log's own clock, or max"
        )
        sub.add_argument("--limit", type=int, help="stop after so many lines; default: all")
        sub.add_argument("--profile", choices=("memory", "durable"), help="delivery profile")
        sub.add_argument(
            "--connection",
            dest="source_conn_id",
            help="Airflow connection with user and password for the log's server",
        )
    add("stop", stop)
    add("status", status).add_argument("--json", action="store_true", help="one JSON object")
    add("verify", verify_command)
    audit_parser = add("audit", audit_command)
    audit_parser.add_argument("--date", help="one day, such as 2026-11-23; default: all")
    audit_parser.add_argument("--replay", help="one replay, by its id; default: all")
    for name, command in (("seal", seal), ("forget", forget_day)):
        add(name, command).add_argument("date", type=date.fromisoformat, help="such as 2026-11-23")
    add("repair", repair_all).add_argument(
        "--date", type=date.fromisoformat, help="one day, such as 2026-11-23; default: every day there is"
    )
    logs_command = add("logs", logs)
    logs_command.add_argument(
        "service", nargs="?", choices=WITH_LOGS, metavar="service", help=", ".join(WITH_LOGS)
    )
    add("clean", clean)
    return made


def run(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Start everything, replay a log and account for every line."""
    return _replay(settings, options, console)


def replay(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Replay a log; ends when every line of it is in HDFS and in the windows."""
    return _replay(settings, options, console)


def _replay(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    try:
        check_source(options.url or settings.replay_url, settings)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    stack = Stack(settings)
    with StartDisplay(console) as display:
        stack.up(display)
    airflow = AirflowApi(settings, stack.layout)
    await_dags(airflow)
    names = ("url", "pace", "limit", "profile", "source_conn_id")
    conf = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    follower = RunFollower(
        console,
        airflow,
        ReplayerApi(settings, stack.layout),
        GrowingFile(stack.layout.logs_dir / "analytics.out.log"),
    )
    run_id = airflow.trigger(PIPELINE_DAG, conf)
    console.print(f"Run {run_id} of {PIPELINE_DAG}: {airflow.url}/dags/{PIPELINE_DAG}/runs/{run_id}")
    state = follower.follow(run_id)
    if state != "success":
        print_lines(console, follower.failure(run_id).splitlines())
    accounting = follower.accounting(run_id)
    if accounting:
        print_lines(console, [sentence(accounting)])
    console.print(f"Airflow: {airflow.url}  user: {AIRFLOW_USER}  password: in {stack.layout.secrets_file}")
    return 0 if state == "success" else 1


def status(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Show every service, and what needs a look: lag, disk space, replicas, dead letters."""
    services = Stack(settings).status()
    observations = observe(settings) if services["kafka"].healthy and services["namenode"].healthy else []
    if options.json:
        rows: dict[str, object] = {name: service.to_json() for name, service in services.items()}
        print(json.dumps({"services": rows, "watch": [asdict(observation) for observation in observations]}))
    else:
        console.print(status_table(services))
        console.print(watch_table(observations))
    return 0


def verify_command(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Prove by addition that HDFS and windows hold each line of the source once; ends with one JSON line."""
    del options
    accounting = verify(settings)
    seal_replays(accounting, ReplayerApi(settings, Stack(settings).layout).seal)
    print_accounting(console, accounting)
    return 0 if accounting.ok else 1


def audit_command(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Read the bytes again and name the lines that differ; ends with one JSON line."""

    def progress(done: int, parts: int, lines: int) -> None:
        if console.is_terminal:
            console.print(f"{done:,} of {parts:,} parts read, {lines:,} lines", end="\r")

    day = options.date.removeprefix("20") if options.date else None
    try:
        found = audit(settings, day, options.replay, progress)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    print_lines(console, found.details)
    print(json.dumps(found.to_json()), flush=True)
    return 0 if found.ok else 1


def seal(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Seal a day that is over: few large files, a manifest, _SUCCESS; exit status 3: it is not over yet."""
    try:
        report = sealing.report_of(settings, options.date)
    except NotOverError as error:
        console.print(f"Not over yet: {error}")
        return sealing.NOT_OVER
    print(json.dumps(report), flush=True)
    return 0


def forget_day(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Delete the lines of a sealed day from HDFS; its sums stay."""
    with alone(settings, f"the forgetting of {options.date}", sealing.LOCK_WAIT_S):
        sealed = forget(settings, options.date)
    console.print(f"{options.date}: {sealed.lines:,} lines are forgotten, their sums stay")
    return 0


def repair_all(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Repair: lines lost on their way to Kafka are sent again, files on HDFS are mended from the topic."""
    stack = Stack(settings)
    outcome = repair(settings, options.date, lambda replay_id, path: send_again(stack, replay_id, path))
    print_lines(console, outcome.done or ["Nothing was repaired."])
    for sentence_ in outcome.failed:
        print(sentence_, file=sys.stderr)
    return 1 if outcome.failed else 0


def send_again(stack: Stack, replay_id: str, path: Path) -> None:
    """Replay a file of lost lines by the way that is open, and wait until they are acknowledged."""
    profile = stack.status()["flume-agent1"].variant or "durable"
    stack.launch("flume-agent1", profile)
    stack.launch("replayer")
    replayer = ReplayerApi(stack.settings, stack.layout)
    try:
        replayer.submit(replay_id, path.as_uri(), profile)
    except httpx.HTTPError as error:
        raise NotSentError(f"{path} was not sent again: {error}") from None
    deadline = time.monotonic() + REPAIR_TIMEOUT_S
    while (record := replayer.record(replay_id) or {}).get("state") != "done":
        if record.get("state") == "failed" or time.monotonic() > deadline:
            raise NotSentError(f"{path} was not sent again: {record.get('reason') or 'it takes too long'}")
        time.sleep(0.5)


def print_accounting(console: Console, accounting: Accounting) -> None:
    """Print what differs, then the one JSON line."""
    print_lines(console, accounting.details)
    print(json.dumps(accounting.to_json()), flush=True)


def logs(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Follow the log of a service."""
    if options.service is None:
        console.print(f"Which one? make logs SERVICE=…, one of: {', '.join(WITH_LOGS)}")
        return 2
    stack = Stack(settings)
    files = [
        stack.layout.logs_dir / name for name in (f"{options.service}.log", f"{options.service}.out.log")
    ]
    known = [str(path) for path in files if path.exists()]
    if not known:
        raise StackError(f"{options.service} has no log yet: it never ran here")
    follow = ["-F"] if console.is_terminal else []
    return subprocess.run(["tail", "-n", "200", *follow, *known], check=False).returncode


def stop(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Stop everything in order, Flume agents drained first."""
    del options
    stack = Stack(settings)
    if not stack.host.is_running():
        left = stack.host.end_leftovers()
        console.print(
            f"Ended {left} processes that outlived their process host." if left else "Nothing runs."
        )
        return 0

    stack.stop(console.print)
    return 0


def clean(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Stop everything, then delete the state folder: data, logs, secrets."""
    stop(settings, options, console)
    state_dir = Stack(settings).layout.state_dir
    shutil.rmtree(state_dir)
    console.print(f"Deleted {state_dir}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
