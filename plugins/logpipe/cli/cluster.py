"""The commands on the cluster of containers, from the machine with the engine.

Most of them are run by the same command line within the cluster: only its own network reaches the services.
"""

import json
import time
from datetime import date
from typing import Any

from rich.console import Console

from logpipe.accounting.watch import Observation
from logpipe.cli.target import where
from logpipe.cli.terminal import StartDisplay, print_status
from logpipe.clients.airflow import new_run_id
from logpipe.hosts.cluster.credentials import ADDRESS_KEYS
from logpipe.hosts.cluster.stack import Cluster, ClusterError
from logpipe.hosts.layout import AIRFLOW_USER
from logpipe.hosts.machine.stack import ServiceStatus
from logpipe.hosts.services import EDGE_HOSTS, streams
from logpipe.replayer.addresses import AddressKeys
from logpipe.settings import Settings

INSIDE = ("logpipe", "--target=inside")
EDGE_LOGS_DIR = "/data/logs"
EDGE_PROGRAMS = [service.name for service, _ in streams() if service.on_cluster]
LOG_LINES = "200"
_KILLED = 137  # what the engine says of a command whose container has ended
_SHOWN_TIMES, _AGAIN_S = 10, 10.0


class ClusterTarget:
    """All containers, and through them the services that run in them."""

    def __init__(self, settings: Settings, console: Console) -> None:
        self.settings = settings
        self.console = console
        self.cluster = Cluster(settings)

    def _in_airflow(self, *command: str) -> int:
        return self._within(self.cluster.airflow_container(), command)

    def _on_edge(self, *command: str, told: str | None = None) -> int:
        """Where there is memory to read lines, and a replayer that sends again what was lost."""
        return self._within(self.cluster.edge_container(), command, told)

    def _within(self, container: str, command: tuple[str, ...], told: str | None = None) -> int:
        compose = self.cluster.compose
        return compose.execute(container, *INSIDE, *command, terminal=self.console.is_terminal, told=told)

    def up(self) -> int:
        """Images, containers, all healthy; containers that were started are stopped unless all goes well."""
        self.cluster.compose.check()
        before = self._running()
        try:
            with StartDisplay(self.console) as display:
                self.cluster.up(display)
        except BaseException:
            if started := self._running() - before:
                self.console.print("The start has failed: the containers that it started are stopped.")
                self.cluster.compose.do("stop", *sorted(started))
            raise
        self._print_where()
        return 0

    def _running(self) -> set[str]:
        return {each.service for each in self.cluster.containers() if each.state == "running"}

    def _print_where(self) -> None:
        page = f"http://localhost:{self.settings.airflow_port}"
        self.console.print(where(page, AIRFLOW_USER, self.cluster.layout.secrets_file))

    def run(self, conf: dict[str, object], run_id: str | None = None) -> int:
        """Start the cluster unless it is up; follow the replay from within.

        A part of Airflow ends when its database is away, and with its container what shows the run there: it
        is shown on from another one.
        """
        self.cluster.compose.check()
        if not self.cluster.is_up():
            self.up()
        connection = conf.pop("source_conn_id", None)
        run_id = run_id or new_run_id()
        replay = ("replay", *_options(**conf, connection=connection), f"--run-id={run_id}")
        times = _SHOWN_TIMES
        while (status := self._in_airflow(*replay)) == _KILLED and (times := times - 1):
            self.console.print(f"The container that showed run {run_id} is gone: showing it from another one")
            time.sleep(_AGAIN_S)
        self._print_where()
        return status

    def status(self, *, as_json: bool) -> int:
        """Containers from the engine; streaming services and the watch from within."""
        self.cluster.compose.check()
        services = self.cluster.status()
        streams, follows, watch = self._seen_inside()
        print_status(self.console, services | streams, watch, follows, as_json=as_json)
        return 0

    def _seen_inside(self) -> tuple[dict[str, ServiceStatus], list[dict[str, Any]], list[Observation]]:
        try:
            container = self.cluster.airflow_container()
        except ClusterError:
            return {}, [], []
        answer = self.cluster.compose.output_of(container, *INSIDE, "status", "--json")
        if answer.returncode:
            return {}, [], [Observation("streams", "unknown", answer.stderr.strip()[-300:])]
        seen = json.loads(answer.stdout.splitlines()[-1])
        streams = {name: ServiceStatus(**row) for name, row in seen["services"].items()}
        return streams, seen["follows"], [Observation(**row) for row in seen["watch"]]

    def follow(self, log: str, format_text: str, start: str, olddir: str, addresses: str | None) -> int:
        """Start the cluster unless it is up; a log of the edge hosts."""
        self.cluster.compose.check()
        if not self.cluster.is_up():
            self.up()
        asked = ("--format", format_text, "--from", start, "--olddir", olddir)
        return self._in_airflow("follow", *_options(addresses=addresses), *asked, "--", log)

    def unfollow(self, log: str) -> int:
        """From within."""
        return self._in_airflow("unfollow", "--", log)

    def verify(self) -> int:
        """From within."""
        return self._in_airflow("verify")

    def audit(self, day: date | None, replay: str | None) -> int:
        """From within."""
        return self._on_edge("audit", *_options(date=day, replay=replay))

    def sql(self, query: str | None) -> int:
        """From within."""
        return self._on_edge("sql", *(["--", query] if query else []))

    def seal(self, day: date) -> int:
        """From within."""
        return self._on_edge("seal", str(day))

    def report(self, day: date | None) -> int:
        """From within."""
        return self._on_edge("report", *_options(date=day))

    def forget(self, day: date) -> int:
        """From within."""
        return self._on_edge("forget", str(day))

    def erase(self, address: str, day: date | None) -> int:
        """On an edge host, which is told the address where no list of processes shows it."""
        return self._on_edge("erase", *_options(date=day), "--", "-", told=address + "\n")

    def rotate_key(self) -> int:
        """Here, where the containers' secrets come from."""
        name = AddressKeys(self.cluster.secrets_dir / ADDRESS_KEYS).rotate()
        self.console.print(
            f"Key {name} is made: `make cluster-down`, then `make cluster-up`, hand it to the replayers"
        )
        return 0

    def give_up(self, replay_id: str) -> int:
        """From within."""
        return self._on_edge("forget", *_options(replay=replay_id))

    def repair(self, day: date | None) -> int:
        """From within."""
        return self._on_edge("repair", *_options(date=day))

    def log_names(self) -> list[str]:
        """Containers, and the programs on the edge hosts."""
        return [*self.cluster.compose.services(), *EDGE_PROGRAMS]

    def logs(self, service: str) -> int:
        """A container's by the engine; a program's from the edge host where it runs."""
        follows = self.console.is_terminal
        compose = self.cluster.compose
        if service not in EDGE_PROGRAMS:
            return compose.attach(
                "logs", "--no-color", f"--tail={LOG_LINES}", *(["--follow"] if follows else []), service
            )
        variant = self._seen_inside()[0].get(service)
        host = variant.variant.rpartition("@")[2] if variant else ""
        if host not in EDGE_HOSTS:
            raise ClusterError(
                f"{service} runs on neither of {', '.join(EDGE_HOSTS)}: `make cluster-status` shows what does"
            )
        tail = ["tail", "-n", LOG_LINES, *(["-F"] if follows else []), f"{EDGE_LOGS_DIR}/{service}.log"]
        return compose.execute(host, *tail, terminal=follows)

    def stop(self) -> int:
        """The streaming services drained, then all containers; the data stays."""
        self._down(with_volumes=False)
        return 0

    def clean(self) -> int:
        """The data in the engine's volumes, and the cluster's part of the state folder."""
        layout = self.cluster.layout
        if layout.state_dir.exists():
            layout.check_own()
        self._down(with_volumes=True)
        if layout.state_dir.exists():
            layout.delete()
            self.console.print(f"Deleted {layout.state_dir}")
        return 0

    def _down(self, *, with_volumes: bool) -> None:
        self.cluster.compose.check()
        if self.cluster.containers():
            self._drain()
        else:
            self.console.print("Nothing runs.")
            if not with_volumes:
                return
        began = time.monotonic()
        self.cluster.down(with_volumes=with_volumes)
        self.console.print(f"cluster: stopped after {time.monotonic() - began:.1f} s")

    def _drain(self) -> None:
        """End replays, agents and the windows job in order; what is away already cannot be drained."""
        try:
            status = self._in_airflow("stop")
        except ClusterError as error:
            self.console.print(f"Nothing is drained: {error}")
        else:
            if status:
                self.console.print(
                    "The streaming services were not drained; they go on where they were at the next start."
                )

    def what_goes_on(self) -> str:
        """Containers, and with them the replay."""
        if not (running := self._running()):
            return "No container of the cluster runs."
        return (
            f"The cluster ({len(running)} containers) and a running replay go on; `make cluster-status` "
            "shows them, `make cluster-down` ends them."
        )


def _options(**values: object) -> list[str]:
    """As the command line within takes them: no value is ever taken for an option of its own."""
    return [f"--{name}={value}" for name, value in values.items() if value is not None]
