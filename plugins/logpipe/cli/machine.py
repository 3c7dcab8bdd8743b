"""The commands on this machine's pipeline."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

from rich.console import Console

from logpipe.cli.follow import GrowingFile
from logpipe.cli.target import Reachable, where
from logpipe.cli.terminal import StartDisplay
from logpipe.clients.airflow import Airflow
from logpipe.clients.replayer import Replayer
from logpipe.hosts import configuration
from logpipe.hosts.connections import airflow_of, client
from logpipe.hosts.layout import AIRFLOW_USER
from logpipe.hosts.machine.stack import ServiceStatus, Stack, StackError
from logpipe.hosts.probes import listens
from logpipe.hosts.services import PROCESS_HOST, REPLAYER, encrypt_anew, names
from logpipe.replayer.front_door import check_source
from logpipe.settings import Settings

LISTEN_S = 5.0  # an address that is beyond a network has so long to answer


class MachineTarget(Reachable):
    """All services under the process host."""

    def __init__(self, settings: Settings, console: Console) -> None:
        super().__init__(settings, console)
        self.stack = Stack(settings)

    def airflow(self) -> Airflow:
        """Of this copy."""
        return airflow_of(self.settings, self.stack.layout)

    def page(self) -> str:
        """Airflow's own address."""
        return f"http://{self.settings.host}:{self.settings.airflow_port}"

    def replayers(self) -> list[Replayer]:
        """The one there is."""
        return [client(Replayer, REPLAYER, self.settings, self.stack.layout)]

    def windows(self) -> GrowingFile:
        """The driver's output."""
        return GrowingFile(self.stack.layout.logs_dir / "analytics.out.log")

    def services(self) -> dict[str, ServiceStatus]:
        """Those of the process host."""
        return self.stack.status()

    def sending_profile(self) -> str:
        """Agent 1 and the replayer are started unless they run."""
        profile = self.stack.status()["flume-agent1"].variant or "durable"
        self.stack.launch("flume-agent1", profile)
        self.stack.launch("replayer")
        return profile

    def give_up(self, replay_id: str) -> int:
        """The replayer is started unless it runs."""
        self.must_run()
        self.stack.launch("replayer")
        return super().give_up(replay_id)

    def must_run(self) -> None:
        """At least one broker and one NameNode have to listen, and are asked for the days that they have."""
        settings = self.settings
        for what, name, addresses in (
            ("Kafka", "LOGPIPE_KAFKA_BOOTSTRAP", settings.kafka_bootstrap.split(",")),
            (
                "HDFS",
                "LOGPIPE_WEBHDFS_URL",
                [urlsplit(one).netloc for one in settings.webhdfs_url.split(";")],
            ),
        ):
            if not any(map(_listens, addresses)):
                raise StackError(
                    f"{what} does not run: nothing listens at {', '.join(addresses)} ({name}). `make run` "
                    "starts all and replays a log, `make up` starts all and replays nothing"
                )
        if self.stack.layout.mark() is not None:  # else whoever started them keeps his own
            self.stack.layout.claim(settings.topic, settings.timezone)

    def up(self) -> int:
        """Stores and Airflow."""
        with self.started():
            self._print_where()
        return 0

    def run(self, conf: dict[str, object], run_id: str | None = None) -> int:
        """Replay; also when that fails the services stay."""
        try:
            check_source(str(conf.get("url", self.settings.replay_url)), self.settings)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        status = super().run(conf, run_id)
        if status:
            self.console.print(self.what_goes_on())
        self._print_where()
        return status

    def _print_where(self) -> None:
        layout = self.stack.layout
        self.console.print(where(self.page(), AIRFLOW_USER, layout.secrets_file))
        others = [(user, role) for user, role in self.settings.roles.items() if user != AIRFLOW_USER]
        for user, role in others:
            self.console.print(f"  {role}: user {user}, password in {layout.password_file(user)}")

    @contextmanager
    def started(self) -> Iterator[None]:
        """Everything is started; what was started is stopped again unless all goes well."""
        with ExitStack() as alone:
            alone.enter_context(self.stack.layout.starting_alone(self._say_that_another_starts))
            before = self.stack.running_services()
            try:
                with StartDisplay(self.console) as display:
                    self.stack.up(display)
                alone.close()
                with super().started():
                    yield
            except BaseException:
                self._stop_started(before)
                raise

    def _say_that_another_starts(self) -> None:
        self.console.print(f"Another command starts services in {self.stack.layout.state_dir}: waiting")

    def _stop_started(self, before: set[str]) -> None:
        """After a start that went wrong; nothing is left of it, and what ran before runs on."""
        if self.stack.running_services() - before:
            self.console.print("The start has failed: what it started is stopped.")
            self.stack.stop(self.console.print, but=before)

    def stop(self) -> int:
        """Airflow first, since it brings back what ends; then along the way of the lines."""
        host = self.stack.host
        if host.is_running():
            self.stack.stop(self.console.print)
            return 0
        left = host.end_leftovers()
        self.console.print(
            f"Ended {left} processes that outlived their process host." if left else "Nothing runs."
        )
        return 0

    def rotate(self) -> int:
        """Everything is stopped, and started again with other secrets: each stands in what starts with it."""
        with self.stack.layout.starting_alone(self._say_that_another_starts):
            self._rotate()
        return 0

    def _rotate(self) -> None:
        stack, layout = self.stack, self.stack.layout
        layout.claim(self.settings.topic, self.settings.timezone)
        runs = stack.host.is_running()
        streams = [
            (process.service, process.variant or "")
            for process in (stack.host.client.processes() if runs else ())
            if process.pid and process.service in names("stream")
        ]
        self.stop()
        layout.renew_secrets()
        configuration.write_all(self.settings, layout)
        stack.prepare(encrypt_anew)
        layout.drop_old_keys()
        configuration.write_all(self.settings, layout)
        self.console.print(f"Passwords and keys are other ones now: {layout.secrets_file}")
        if runs:
            with StartDisplay(self.console) as display:
                stack.up(display)
            for service, variant in sorted(streams, key=lambda each: names("stream").index(each[0])):
                stack.launch(service, variant)
            self._print_where()

    def clean(self) -> int:
        """The state folder goes, if it is one."""
        layout = self.stack.layout
        if not layout.state_dir.exists():
            self.console.print(f"{layout.state_dir} is not there: nothing to delete.")
            return 0
        layout.check_own()
        self.stop()
        kept = layout.delete()
        self.console.print(f"Deleted {layout.state_dir}")
        for path in kept:
            self.console.print(
                f"{path} stays: `make cluster-down VOLUMES=1` deletes it with the cluster's data."
            )
        return 0

    def log_names(self) -> list[str]:
        """All services."""
        return list(names("store", "stream", "airflow", "batch"))

    def logs(self, service: str) -> int:
        """Their files, as they grow where somebody looks."""
        folder = self.stack.layout.logs_dir
        files = [folder / name for name in (f"{service}.log", f"{service}.out.log")]
        known = [str(path) for path in files if path.exists()]
        if not known:
            raise StackError(f"{service} has no log yet: it never ran here")
        follow = ["-F"] if self.console.is_terminal else []
        return subprocess.run(["tail", "-n", "200", *follow, *known], check=False).returncode

    def what_goes_on(self) -> str:
        """By name, with the way to end it."""
        if not (running := self.stack.running_services() - {PROCESS_HOST.name}):
            return "Nothing runs."
        listed = ", ".join(sorted(running))
        return f"These go on running: {listed}. `make status` shows them, `make stop` ends them."


def _listens(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return listens(host, int(port), timeout_s=LISTEN_S)
