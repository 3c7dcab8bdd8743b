"""docker-compose, whichever of its two generations is there."""

import contextlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from logpipe.settings import PROJECT_DIR

COMPOSE_FILE = PROJECT_DIR / "docker" / "docker-compose.yml"
NEEDED_COMPOSE = (1, 29)
TAIL_LINES = 20


class ComposeError(Exception):
    """The engine or compose is missing or refused; the message says which, and what to do."""


class Compose:
    """One project of docker-compose.

    Args:
        project: its name; a second cluster on the same engine needs another one.
        environment: what the compose file takes from the environment.
    """

    def __init__(self, project: str, environment: dict[str, str]) -> None:
        self.project = project
        self._environment = (
            {"DOCKER_BUILDKIT": "1", "COMPOSE_DOCKER_CLI_BUILD": "1"} | os.environ | environment
        )

    def check(self) -> None:
        """Look whether an engine answers and compose is there.

        Raises:
            ComposeError: names everything that is missing.
        """
        problems = []
        if not shutil.which("docker"):
            problems.append("docker is not on PATH: install it (Debian: apt-get install docker.io)")
        else:
            answer = self._run(["docker", "version", "--format", "{{.Server.Version}}"])
            if answer.returncode:
                problems.append(
                    f"No Docker engine answers ({(answer.stderr or answer.stdout).strip()[-200:]}): "
                    "start dockerd, or let DOCKER_HOST name one"
                )
        try:
            command = self.command()
        except ComposeError as error:
            problems.append(str(error))
        else:
            answer = self._run([*command, "version", "--short"])
            found = re.search(r"(\d+)\.(\d+)", answer.stdout)
            if answer.returncode or not found:
                problems.append(f"`{' '.join(command)} version` failed: {answer.stderr.strip()[-200:]}")
            elif (int(found[1]), int(found[2])) < NEEDED_COMPOSE:
                problems.append(f"{command[0]} is version {found[0]}, expected 1.29 or newer")
        if problems:
            raise ComposeError("\n".join(problems))

    def command(self) -> list[str]:
        """The command that is compose here: the plugin of docker, or the older program.

        Raises:
            ComposeError: there is neither.
        """
        if shutil.which("docker") and not self._run(["docker", "compose", "version"]).returncode:
            return ["docker", "compose"]
        if shutil.which("docker-compose"):
            return ["docker-compose"]
        raise ComposeError(
            "There is neither `docker compose` nor docker-compose: install one "
            "(Debian: apt-get install docker-compose)"
        )

    def _project_command(self) -> list[str]:
        return [*self.command(), "-p", self.project, "-f", str(COMPOSE_FILE)]

    def _run(self, command: list[str], log: Path | None = None) -> subprocess.CompletedProcess[str]:
        with contextlib.ExitStack() as stack:
            output = stack.enter_context(log.open("w")) if log else subprocess.PIPE
            return subprocess.run(
                command,
                stdout=output,
                stderr=subprocess.STDOUT if log else subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                text=True,
                check=False,
                env=self._environment,
            )

    def do(self, *arguments: str, log: Path | None = None) -> str:
        """Run one command of compose to its end; give what it printed, unless that goes to a log.

        Raises:
            ComposeError: it failed; the message ends with its last lines.
        """
        answer = self._run([*self._project_command(), *arguments], log)
        if answer.returncode:
            text = log.read_text(errors="replace") if log else answer.stderr + answer.stdout
            tail = "\n".join(text.splitlines()[-TAIL_LINES:])
            more = f"\nAll of its output: {log}" if log else ""
            raise ComposeError(
                f"compose {arguments[0]} failed with exit code {answer.returncode}:\n{tail}{more}"
            )
        return answer.stdout or ""

    def attach(self, *arguments: str, told: str | None = None) -> int:
        """Run one command of compose, its output going where ours goes; give its exit status.

        Args:
            arguments: of compose.
            told: what it reads from its input, which no list of processes shows; None: ours.
        """
        return subprocess.run(
            [*self._project_command(), *arguments],
            check=False,
            env=self._environment,
            input=None if told is None else told.encode(),
        ).returncode

    def execute(self, service: str, *command: str, terminal: bool = False, told: str | None = None) -> int:
        """Run a command in a service's container, its output going where ours goes; give its exit status."""
        has_terminal = terminal and told is None
        return self.attach("exec", *([] if has_terminal else ["-T"]), service, *command, told=told)

    def output_of(self, service: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in a service's container and keep what it prints."""
        return self._run([*self._project_command(), "exec", "-T", service, *command])

    def docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a command of the engine's own client."""
        return self._run(["docker", *arguments])

    def services(self) -> list[str]:
        """Names of all services of the compose file."""
        return self.do("config", "--services").split()
