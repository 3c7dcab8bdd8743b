"""A service in one's own hands, in place of the process host's: with another environment, to see it die."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from logpipe.hosts.machine.configuration import hdfs_client_environment, service_environment
from logpipe.hosts.machine.layout import PYTHON
from logpipe.hosts.machine.programs import flume_command
from logpipe.settings import PROJECT_DIR
from tests.data_plane import DataPlane
from tests.ports import free_ports
from tests.waiting import wait_until

HALTED = 99  # exit status of an agent that met its instant
SEEN_S = 120.0


class Own:
    """The process; its output goes to a log of its own."""

    def __init__(
        self, plane: DataPlane, name: str, command: tuple[str, ...], environment: dict[str, str]
    ) -> None:
        self.log: Path = plane.stack.layout.logs_dir / f"own-{name}.log"
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, env=os.environ | environment, cwd=PROJECT_DIR, stdout=log, stderr=log
            )

    def state(self) -> str:
        """R, S, T (stopped), Z …; as the kernel says."""
        return Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()[0]

    def end(self, number: signal.Signals) -> None:
        """Send it a signal and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(number)
            self.process.wait(30)


@contextmanager
def instead_of(plane: DataPlane, service: str) -> Iterator[None]:
    """While the process host's service is down; it is back behind that."""
    state = wait_until(lambda: plane.process(service), SEEN_S)
    plane.stack.host.stop_process(state.full_name)
    try:
        yield
    finally:
        plane.stack.host.start_process(state.full_name, wait=False)


@contextmanager
def running(
    plane: DataPlane, name: str, command: tuple[str, ...], environment: dict[str, str]
) -> Iterator[Own]:
    """A process of one's own, killed at the end if it still runs."""
    own = Own(plane, name, command, environment)
    try:
        yield own
    finally:
        own.end(signal.SIGKILL)


def agent2(plane: DataPlane, fault: str) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """What starts an agent 2 that meets a fault: arguments of `running`."""
    port = int(free_ports()["LOGPIPE_AGENT2_METRICS_PORT"])
    settings = plane.settings.model_copy(update={"agent2_metrics_port": port})
    environment = service_environment(settings) | hdfs_client_environment(settings, plane.stack.layout)
    command = flume_command(settings, plane.stack.layout, "durable", 2)
    return "flume-agent2", command, environment | {"LOGPIPE_FAULT": fault}


def replayer(plane: DataPlane, thrift_port: int) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """What starts a replayer that sends to another port: arguments of `running`."""
    settings = plane.settings.model_copy(update={"thrift_port": thrift_port})
    return "replayer", (str(PYTHON), "-m", "logpipe.replayer"), service_environment(settings)
