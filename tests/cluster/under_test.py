"""A cluster, used through its commands as a person would, and hit through the engine."""

import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from logpipe.hosts.layout import CLUSTER_FOLDER
from logpipe.settings import PROJECT_DIR
from tests.waiting import wait_until

COMMAND_TIMEOUT_S = 1500
HEALTHY_TIMEOUT_S = 300
LINES = 20_000
IN_FLIGHT_LINES = 4_000
PROGRESS = re.compile(r"replay of \S+: +\d+ % ([\d,]+) lines")
TABLE_MARK = "<!-- cluster -->"
LABELS = '{{.Label "com.docker.compose.service"}}|{{.State}}|{{.Networks}}'


@dataclass(frozen=True)
class Row:
    """What became of one fault."""

    case: str
    ended_after_s: float
    lost: int
    doubled: int

    def __str__(self) -> str:
        return f"| {self.case} | {self.ended_after_s:.0f} s | {self.lost} | {self.doubled} |"


def write_table(rows: list[Row], path: Path) -> None:
    """Put the rows below the mark of the cluster's table."""
    head = path.read_text().partition(TABLE_MARK)[0]
    lines = [
        "| case | replay and drain ended after | lost | doubled |",
        "|---|---|---|---|",
        *map(str, rows),
    ]
    path.write_text(f"{head}{TABLE_MARK}\n\n" + "\n".join(lines) + "\n")


class Replay:
    """A `make cluster-run` under way."""

    def __init__(self, process: "subprocess.Popen[str]", output: IO[str]) -> None:
        self._process = process
        self._output = output

    def text(self) -> str:
        """What it has printed so far."""
        self._output.flush()
        return Path(self._output.name).read_text()

    def lines(self) -> int:
        """Lines acknowledged so far."""
        assert self._process.poll() is None, self.text()
        found = PROGRESS.findall(self.text())
        return int(found[-1].replace(",", "")) if found else 0

    def end(self) -> tuple[int, str]:
        """Exit status and output, once it has ended."""
        return self._process.wait(COMMAND_TIMEOUT_S), self.text()


class ClusterUnderTest:
    """One cluster; `command` raises when a command does not do what it says."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        self.project = environment["LOGPIPE_CLUSTER_NAME"]
        self.has_kerberos = environment.get("LOGPIPE_SECURE_HADOOP") == "1"
        self._cut_off: dict[str, str] = {}

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run one command of `logpipe --target cluster` to its end."""
        answer = subprocess.run(
            [sys.executable, "-m", "logpipe.cli", "--target=cluster", *arguments],
            env=self.environment, cwd=PROJECT_DIR, capture_output=True, text=True, timeout=COMMAND_TIMEOUT_S,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert not check or answer.returncode == 0, answer.stdout + answer.stderr
        return answer

    def begin_replay(self, output: Path, pace: str) -> Replay:
        """Start a replay of the bundled log, in the background."""
        file = output.open("w+")
        process = subprocess.Popen(
            [sys.executable, "-m", "logpipe.cli", "--target=cluster", "run", f"--pace={pace}"],
            env=self.environment, cwd=PROJECT_DIR, stdout=file, stderr=subprocess.STDOUT, text=True,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Replay(process, file)

    def account(self) -> dict[str, int]:
        """The last line of `make cluster-verify`."""
        answer = self.command("verify", check=False)
        assert answer.stdout.strip(), answer.stderr
        accounting: dict[str, int] = json.loads(answer.stdout.splitlines()[-1])
        return accounting

    def services(self) -> dict[str, dict[str, object]]:
        """What `make cluster-status JSON=1` prints."""
        services: dict[str, dict[str, object]] = json.loads(self.command("status", "--json").stdout)[
            "services"
        ]
        return services

    @property
    def secrets_dir(self) -> Path:
        """What is mounted into containers."""
        return Path(self.environment["LOGPIPE_STATE_DIR"]) / CLUSTER_FOLDER / "secrets"

    def secret(self, name: str) -> str:
        """One of those that the cluster was made with."""
        known: dict[str, str] = json.loads((self.secrets_dir / "secrets.json").read_text())
        return known[name]

    def docker(self, *arguments: str) -> str:
        """Run one command of the engine's client."""
        answer = subprocess.run(
            ["docker", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.strip()

    def execute(self, service: str, script: str) -> str:
        """Run a shell's script in a service's container."""
        return self.docker("exec", self.container(service), "sh", "-ec", script)

    def container(self, service: str) -> str:
        """Id of a service's container; a NodeManager is known by its id to YARN."""
        return self.docker("ps", "--all", "--quiet", *self._labels(service)) or service

    def _labels(self, service: str = "") -> list[str]:
        labels = [f"com.docker.compose.project={self.project}"]
        labels += [f"com.docker.compose.service={service}"] if service else []
        return [part for label in labels for part in ("--filter", f"label={label}")]

    def container_ids(self) -> list[str]:
        """Ids of all containers of this cluster."""
        return self.docker("ps", "--all", "--quiet", *self._labels()).split()

    def kill(self, service: str) -> None:
        """SIGKILL to everything in a service's container."""
        self.docker("kill", self.container(service))

    def mend(self) -> None:
        """Start what is down and connect what is cut off, as an operator would; wait until all is well."""
        for row in self.docker("ps", "--all", "--format", LABELS, *self._labels()).splitlines():
            service, state, networks = row.split("|")
            if service == "airflow-init":
                continue
            if not networks:
                self.connect(service)
            if state != "running":
                self.docker("start", self.container(service))
            self.await_healthy(service)

    def restart(self, service: str) -> None:
        """Stop and start a container in order."""
        self.docker("restart", self.container(service))
        self.await_healthy(service)

    def await_healthy(self, service: str) -> None:
        """Wait until a container's own check is content."""
        container = self.container(service)

        def healthy() -> bool:
            return self.docker("inspect", "--format", "{{.State.Health.Status}}", container) == "healthy"

        wait_until(healthy, HEALTHY_TIMEOUT_S, 1.0)

    def cut_off(self, service: str, network: str) -> None:
        """Take a container off its only network; its processes run on."""
        self._cut_off[service] = f"{self.project}_{network}"
        self.docker("network", "disconnect", self._cut_off[service], self.container(service))

    def connect(self, service: str) -> None:
        """Bring a container back to its network, under its name."""
        network = self._cut_off.pop(service)
        self.docker("network", "connect", "--alias", service, network, self.container(service))

    def python(self, service: str, text: str, *arguments: str) -> str:
        """Run a program in a service's container; what it prints."""
        answer = subprocess.run(
            ["docker", "exec", "-i", self.container(service), "python", "-", *arguments],
            env=self.environment, input=text, capture_output=True, text=True, timeout=600, check=False,
        )  # fmt: skip
        assert answer.returncode == 0, answer.stderr
        return answer.stdout

    def asks(self, service: str, url: str, *options: str) -> str:
        """What a page of HDFS's or YARN's answers a container that proves who it is, where that is asked."""
        if not self.has_kerberos:
            url = url.replace("https:", "http:")
        proof = "export KRB5_CLIENT_KTNAME=/tmp/.keytab KRB5CCNAME=FILE:/tmp/.tickets; exec"
        curl = f"{proof} curl -fsS --negotiate -u : --cacert /run/secrets/ca.pem"
        return self.execute(service, shlex.join(["sh", "-c", f'{curl} "$@"', "curl", *options, url]))

    def driver(self) -> tuple[str, str]:
        """The NodeManager that hosts the Spark driver, and the driver's YARN container."""
        page = self.asks(
            "airflow-triggerer", "https://resourcemanager:8088/ws/v1/cluster/apps?states=RUNNING"
        )
        logs = next(app["amContainerLogs"] for app in json.loads(page)["apps"]["app"])
        found = re.search(r"//(\w+):\d+/node/containerlogs/(\w+)/", logs)
        assert found, logs
        return found[1], found[2]

    def kill_driver(self) -> None:
        """SIGKILL to the driver's JVM; the node stays."""
        node, yarn_container = self.driver()
        kill = (
            "for process in /proc/[0-9]*; do "
            f"tr '\\0' ' ' < $process/cmdline | grep -Eq '^[^ ]*java .*{yarn_container}' "
            "&& kill -KILL ${process#/proc/}; done; true"
        )
        self.docker("exec", self.container(node), "bash", "-c", kill)
