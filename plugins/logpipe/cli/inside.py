"""What needs the cluster's own network: ``python -m logpipe.cli.inside``, run in one of its containers.

All commands but ``repair``, which belongs on an edge host, run in a container of Airflow.
"""

import argparse
import http.client
import json
import os
import sys
import time
import xmlrpc.client
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

import httpx

from logpipe import settings as project_settings
from logpipe.accounting.source import SourceGoneError
from logpipe.accounting.verify import verify
from logpipe.accounting.watch import observe
from logpipe.accounting.windows import WindowsError
from logpipe.cli.follow import RunFollower, await_dags, sentence
from logpipe.cli.machine import print_accounting
from logpipe.cli.terminal import make_console, print_lines
from logpipe.clients.hdfs import HdfsError
from logpipe.clients.kafka import TopicError
from logpipe.hosts.cluster.yarn_application import DriverOutput, application
from logpipe.hosts.layout import Layout
from logpipe.hosts.machine.airflow_api import PIPELINE_DAG, AirflowApi, AirflowApiError
from logpipe.hosts.machine.process_host import ProcessHost, ProcessHostError, ProcessState
from logpipe.hosts.machine.replayer_api import ReplayerApi
from logpipe.hosts.machine.stack import ServiceStatus
from logpipe.hosts.services import EDGE_HOSTS, SERVICES
from logpipe.sealing.__main__ import ERRORS as SEALING_ERRORS
from logpipe.sealing.lost import NotSentError
from logpipe.sealing.repair import repair
from logpipe.settings import Settings

AIRFLOW_HOST = "airflow-api-server"
STOP_DAG = "stop_pipeline"
STOP_TIMEOUT_S = 150.0
STREAMS = {service.name: service for service in SERVICES if service.kind == "stream" and service.on_cluster}
EXPECTED_ERRORS = (
    AirflowApiError, TopicError, HdfsError, SourceGoneError, WindowsError, httpx.HTTPError, *SEALING_ERRORS,
)  # fmt: skip


def at(host: str) -> Settings:
    """The settings of the services on one host of the cluster."""
    return project_settings.parse(host=host)


class FleetRecords:
    """The records of replays, from whichever edge host knows most."""

    def __init__(self, layout: Layout) -> None:
        self._hosts = [ReplayerApi(at(host), layout) for host in EDGE_HOSTS]

    def record(self, replay_id: str) -> dict[str, Any] | None:
        """A replay's record; None while no replayer answers or knows it."""
        known = [record for host in self._hosts if (record := host.record(replay_id)) is not None]
        return max(known, key=lambda record: (record["lines"], record["state"] == "done"), default=None)


def replay(settings: Settings, options: argparse.Namespace) -> int:
    """Replay a log and follow it; ends when every line is in HDFS and in the windows."""
    console = make_console()
    layout = Layout.of(settings)
    airflow = AirflowApi(at(AIRFLOW_HOST), layout)
    await_dags(airflow)
    names = ("url", "pace", "limit", "profile", "source_conn_id")
    conf = {name: getattr(options, name) for name in names if getattr(options, name) is not None}
    follower = RunFollower(console, airflow, FleetRecords(layout), DriverOutput(settings))
    run_id = airflow.trigger(PIPELINE_DAG, conf)
    page = os.environ.get("AIRFLOW__API__BASE_URL", airflow.url)
    console.print(f"Run {run_id} of {PIPELINE_DAG}: {page}/dags/{PIPELINE_DAG}/runs/{run_id}")
    state = follower.follow(run_id)
    if state != "success":
        print_lines(console, follower.failure(run_id).splitlines())
    accounting = follower.accounting(run_id)
    if accounting:
        print_lines(console, [sentence(accounting)])
    return 0 if state == "success" else 1


def account(settings: Settings, options: argparse.Namespace) -> int:
    """Prove by addition that HDFS and windows hold each line of the source once; ends with one JSON line."""
    del options
    accounting = verify(settings)
    print_accounting(make_console(), accounting)
    return 0 if accounting.ok else 1


def status(settings: Settings, options: argparse.Namespace) -> int:
    """Print one JSON line: the streaming services, and what needs a look."""
    del options
    services = streams(settings) | {"analytics": windows_job(settings)}
    print(
        json.dumps(
            {
                "services": {name: asdict(service) for name, service in services.items()},
                "watch": [asdict(observation) for observation in observe(settings)],
            }
        )
    )
    return 0


def streams(settings: Settings) -> dict[str, ServiceStatus]:
    """The agents and the replayer, each on the edge host where it runs."""
    layout = Layout.of(settings)
    found: dict[str, ServiceStatus] = {}
    for host in EDGE_HOSTS:
        for state in _states(host, layout):
            if state.service not in STREAMS or (state.service in found and not state.pid):
                continue
            found[state.service] = ServiceStatus(
                state=state.state,
                pid=state.pid or None,
                healthy=bool(state.pid) and STREAMS[state.service].is_ready(at(host)),
                variant="@".join(filter(None, (state.variant, host))) if state.pid else "",
                uptime_s=state.uptime_s,
            )
    away = ServiceStatus(state="unknown", pid=None, healthy=False)
    return {service: found.get(service, away) for service in STREAMS}


def _states(host: str, layout: Layout) -> list[ProcessState]:
    try:
        return ProcessHost(at(host), layout).states()
    except (OSError, http.client.HTTPException, xmlrpc.client.Error, ProcessHostError):
        return []


def windows_job(settings: Settings) -> ServiceStatus:
    """The windows job's application on YARN."""
    try:
        found = application(settings)
    except httpx.HTTPError:
        return ServiceStatus(state="unknown", pid=None, healthy=False)
    if found is None:
        return ServiceStatus(state="stopped", pid=None, healthy=False)
    runs = found["state"] == "RUNNING"
    return ServiceStatus(
        state=found["state"].lower(),
        pid=None,
        healthy=runs,
        variant=found["id"],
        uptime_s=found["elapsedTime"] // 1000 if runs else 0,
    )


def stop(settings: Settings, options: argparse.Namespace) -> int:
    """Stop replays, agents and the windows job, each drained, with the DAG that does so."""
    del options
    console = make_console()
    airflow = AirflowApi(at(AIRFLOW_HOST), Layout.of(settings))
    run_id = airflow.trigger(STOP_DAG, {})
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while (state := airflow.run_state(STOP_DAG, run_id)) not in ("success", "failed"):
        if time.monotonic() > deadline:
            print(f"{STOP_DAG} has not ended after {STOP_TIMEOUT_S:.0f} s", file=sys.stderr)
            return 1
        time.sleep(1)
    for task in airflow.task_states(STOP_DAG, run_id):
        console.print(f"{task.task_id}: {task.state} after {task.duration_s or 0:.1f} s")
    return 0 if state == "success" else 1


def repair_all(settings: Settings, options: argparse.Namespace) -> int:
    """Mend files on HDFS from the topic; this host's replayer sends again what never reached it."""
    replayer = ReplayerApi(settings, Layout.of(settings))
    agents = ProcessHost(settings, Layout.of(settings)).states()
    profile = next((agent.variant for agent in agents if agent.service == "flume-agent1" and agent.pid), "")

    def send(replay_id: str, path: Path) -> None:
        try:
            replayer.submit(replay_id, path.as_uri(), profile or "durable")
        except httpx.HTTPError as error:
            raise NotSentError(f"{path} was not sent again: {error}") from None
        while (record := replayer.record(replay_id) or {"state": "running"})["state"] == "running":
            time.sleep(1)
        if record["state"] != "done":
            raise NotSentError(f"{path} was not sent again: {record.get('reason')}")

    outcome = repair(settings, date.fromisoformat(options.date) if options.date else None, send)
    for sentence_ in [*outcome.done, *outcome.failed] or ["Nothing was repaired."]:
        print(sentence_, flush=True)
    return 1 if outcome.failed else 0


def main() -> int:
    """Run one command; the result is the exit status."""
    made = argparse.ArgumentParser(prog="python -m logpipe.cli.inside", description=__doc__)
    commands = made.add_subparsers(required=True, metavar="command")
    for name, command in (
        ("replay", replay), ("verify", account), ("status", status), ("stop", stop), ("repair", repair_all)
    ):  # fmt: skip
        sub = commands.add_parser(name, help=command.__doc__)
        sub.set_defaults(command=command)
        if command is replay:
            for option, kind in (("url", str), ("pace", str), ("limit", int), ("profile", str)):
                sub.add_argument(f"--{option}", type=kind)
            sub.add_argument("--connection", dest="source_conn_id")
        if command is repair_all:
            sub.add_argument("--date")
    options = made.parse_args()
    try:
        code: int = options.command(project_settings.load(), options)
    except EXPECTED_ERRORS as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    return code


if __name__ == "__main__":
    sys.exit(main())
