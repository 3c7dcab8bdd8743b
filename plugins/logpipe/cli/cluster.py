"""The commands behind make: cluster-up, cluster-run, cluster-status, cluster-verify, cluster-down."""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from logpipe import settings as project_settings
from logpipe.accounting.watch import Observation
from logpipe.cli.terminal import StartDisplay, make_console, status_table, watch_table
from logpipe.hosts.cluster.compose import ComposeError
from logpipe.hosts.cluster.stack import Cluster, ClusterError
from logpipe.hosts.layout import AIRFLOW_USER
from logpipe.hosts.machine.stack import ServiceStatus
from logpipe.settings import Settings, SettingsError

INSIDE = ("python", "-m", "logpipe.cli.inside")
Command = Callable[[Settings, argparse.Namespace, Console], int]


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status is 0 when it did what it says."""
    options = parser().parse_args(arguments)
    console = make_console()
    try:
        status: int = options.command(project_settings.load(), options, console)
    except (SettingsError, ComposeError, ClusterError) as error:
        print(f"\n{error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "\nLeft. The cluster and a running replay go on; `make cluster-down` ends them.", file=sys.stderr
        )
        return 130
    return status


def parser() -> argparse.ArgumentParser:
    """Make the command line's parser; ``options.command`` is what runs."""
    made = argparse.ArgumentParser(prog="python -m logpipe.cli.cluster", description=__doc__)
    commands = made.add_subparsers(required=True, metavar="command")

    def add(name: str, command: Command) -> argparse.ArgumentParser:
        sub = commands.add_parser(name, help=command.__doc__, description=command.__doc__)
        sub.set_defaults(command=command)
        return sub

    add("up", up)
    replay = add("run", run)
    replay.add_argument(
        "--url", help="log to replay, plain or gz; default: the bundled one, from the FTP server"
    )
    replay.add_argument("--pace", help="delay:SECONDS, speed:FACTOR or max")
    replay.add_argument("--limit", help="stop after so many lines; default: all")
    replay.add_argument("--profile", choices=("memory", "durable"), help="delivery profile")
    replay.add_argument("--connection", help="Airflow connection with user and password for the log's server")
    add("status", status).add_argument("--json", action="store_true", help="one JSON object")
    add("verify", verify)
    add("repair", repair).add_argument("--date", help="one day, such as 2026-11-23; default: every day")
    add("down", down).add_argument("--volumes", action="store_true", help="delete the data and secrets too")
    return made


def up(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Build the images, start the cluster and wait until every service does its work."""
    del options
    _up(settings, console)
    console.print(_where(settings))
    return 0


def _up(settings: Settings, console: Console) -> Cluster:
    cluster = Cluster(settings)
    with StartDisplay(console) as display:
        cluster.up(display)
    return cluster


def _where(settings: Settings) -> str:
    secrets_file = Cluster(settings).layout.secrets_file
    page = f"http://localhost:{settings.airflow_port}"
    return f"Airflow: {page}  user: {AIRFLOW_USER}  password: in {secrets_file}"


def run(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Start the cluster unless it is up, replay a log and account for every line."""
    cluster = Cluster(settings)
    cluster.compose.check()
    if not cluster.is_up():
        cluster = _up(settings, console)
    names = ("url", "pace", "limit", "profile", "connection")
    chosen = [f"--{name}={getattr(options, name)}" for name in names if getattr(options, name) is not None]
    status = cluster.compose.execute(
        cluster.airflow_container(), *INSIDE, "replay", *chosen, terminal=console.is_terminal
    )
    console.print(_where(settings))
    return status


def status(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Show every service, and what needs a look: lag, disk space, replicas, dead letters."""
    cluster = Cluster(settings)
    cluster.compose.check()
    services = cluster.status()
    streams, watch = _seen_inside(cluster)
    services |= streams
    if options.json:
        rows = {name: service.to_json() for name, service in services.items()}
        print(json.dumps({"services": rows, "watch": watch}))
    else:
        console.print(status_table(services))
        console.print(watch_table([Observation(**row) for row in watch]))
    return 0


def _seen_inside(cluster: Cluster) -> tuple[dict[str, ServiceStatus], list[dict[str, Any]]]:
    """What the streaming services and the watch say, which only the cluster's own network reaches."""
    try:
        container = cluster.airflow_container()
    except ClusterError:
        return {}, []
    answer = cluster.compose.output_of(container, *INSIDE, "status")
    if answer.returncode:
        return {}, [{"name": "streams", "value": "unknown", "warning": answer.stderr.strip()[-300:]}]
    seen = json.loads(answer.stdout.splitlines()[-1])
    streams = {name: ServiceStatus(**row) for name, row in seen["services"].items()}
    return streams, seen["watch"]


def verify(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Compare source, topic, HDFS and windows line by line; ends with one JSON line."""
    del options, console
    cluster = Cluster(settings)
    return cluster.compose.execute(cluster.airflow_container(), *INSIDE, "verify")


def repair(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Mend files on HDFS from the topic, and send again what never reached it."""
    del console
    cluster = Cluster(settings)
    date = [f"--date={options.date}"] if options.date else []
    return cluster.compose.execute(cluster.edge_container(), *INSIDE, "repair", *date)


def down(settings: Settings, options: argparse.Namespace, console: Console) -> int:
    """Stop the streaming services drained, then remove all containers; the data stays unless asked."""
    cluster = Cluster(settings)
    cluster.compose.check()
    if not cluster.containers():
        console.print("Nothing runs.")
    else:
        began = time.monotonic()
        _drain(cluster, console)
        cluster.down(with_volumes=options.volumes)
        console.print(f"cluster: stopped after {time.monotonic() - began:.1f} s")
    if options.volumes and cluster.layout.state_dir.exists():
        shutil.rmtree(cluster.layout.state_dir)
        console.print(f"Deleted {cluster.layout.state_dir}")
    return 0


def _drain(cluster: Cluster, console: Console) -> None:
    """End replays, agents and the windows job in order; what is away already cannot be drained."""
    try:
        code = cluster.compose.execute(cluster.airflow_container(), *INSIDE, "stop")
    except ClusterError as error:
        console.print(f"Nothing is drained: {error}")
    else:
        if code:
            console.print(
                "The streaming services were not drained; they go on where they were at the next start."
            )


if __name__ == "__main__":
    sys.exit(main())
