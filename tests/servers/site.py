"""A server under load whose logs are rotated, and what it wrote, kept by open files.

The load, the rotations and the truth are three things: each may be used without the others.
"""

import os
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self

from tests.web_servers import Server, found, missing, running

LOAD_SCRIPT = Path(__file__).with_name("load.lua")
CONNECTIONS = 20
LOOK_S = 0.005
# As the servers' packages have it; those who still write to a file that is compressed at once are waited for.
REOPEN = "kill -USR1 {pid}"
ROTATIONS = {
    "create": "create",
    "dateext": "create\n  dateext\n  dateformat -%Y%m%d-%s",
    "delaycompress": "create\n  compress\n  delaycompress\n  sharedscripts",
    "compress": "create\n  compress\n  sharedscripts",
    "copytruncate": "copytruncate",
}
PROGRAMS = {"logrotate": "logrotate", "wrk": "wrk"}


def not_installed(*servers: str) -> str:
    """What to say where something that a test needs is missing; empty where all is there."""
    lacking = [missing(server) for server in servers]
    lacking += [
        f"{program} is not installed: apt-get install {package}"
        for program, package in PROGRAMS.items()
        if not found(program)
    ]
    return "; ".join(filter(None, lacking))


class Truth(threading.Thread):
    """Keeps each file that ever stood under a log's name, whatever is done to it afterwards.

    An open file has what a server writes to it also after it was renamed or deleted. (So has a hard link, but
    logrotate leaves a file alone that has two names.) Its inode is not used again as long as it is kept.

    Args:
        logs: the paths under which servers open their logs.
    """

    def __init__(self, logs: Sequence[Path]) -> None:
        super().__init__(name="truth", daemon=True)
        self._known: set[int] = set()
        self._ended = threading.Event()
        self.files: dict[Path, list[BinaryIO]] = {log: [] for log in logs}

    def __enter__(self) -> Self:
        self._look()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self.join()
        for file in chain.from_iterable(self.files.values()):
            file.close()

    def run(self) -> None:
        while not self._ended.wait(LOOK_S):
            self._look()

    def _look(self) -> None:
        for log, files in self.files.items():
            with suppress(FileNotFoundError):
                if log.stat().st_ino in self._known:
                    continue
                file = log.open("rb")
                if (inode := os.fstat(file.fileno()).st_ino) in self._known:  # two were exchanged just now
                    file.close()
                    continue
                self._known.add(inode)
                files.append(file)

    def lines(self, log: Path) -> Iterator[bytes]:
        """What was written to a log so far, in order; a line that has no end yet is left out."""
        for kept in self.files[log]:
            with Path(f"/proc/self/fd/{kept.fileno()}").open("rb") as file:
                yield from (line[:-1] for line in file if line.endswith(b"\n"))

    def total(self) -> Counter[bytes]:
        """All lines of all logs."""
        return Counter(line for log in self.files for line in self.lines(log))


@dataclass
class Load:
    """A load generator that runs: `wrk`, a path of its own for each request."""

    process: subprocess.Popen[str]

    @classmethod
    def begin(cls, server: Server, word: str, requests_per_s: int, duration_s: float) -> Self:
        """Ask for so many a second, as far as the server keeps up.

        Args:
            word: begins the paths; another one for each load.
        """
        wrk = found("wrk")
        assert wrk is not None
        command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{duration_s:.0f}s", "--timeout", "30s"]
        command += ["-s", str(LOAD_SCRIPT), f"http://127.0.0.1:{server.port}/", "--"]
        command += [word, str(round(CONNECTIONS * 1000 / requests_per_s))]
        return cls(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))

    def end(self) -> int:
        """Wait for its end; how many requests were answered."""
        output, _ = self.process.communicate(timeout=7200)
        assert self.process.returncode == 0, output
        return next(int(line.split()[0]) for line in output.splitlines() if " requests in " in line)


@dataclass
class Site:
    """A server, its logs, and logrotate over them.

    Attributes:
        logs: what it writes.
        rotation: of `ROTATIONS`.
    """

    server: Server
    logs: list[Path]
    rotation: str
    rotations: int = 0
    _state: Path = field(init=False)
    _conf: Path = field(init=False)

    def __post_init__(self) -> None:
        folder = self.server.folder.parent
        self._state = folder / f"{self.server.name}.logrotate-state"
        self._conf = folder / f"{self.server.name}.logrotate"
        self.rotates(self.logs)

    def rotates(self, logs: Sequence[Path]) -> None:
        """Have logrotate take these logs only."""
        names = " ".join(map(str, logs))
        script = ""
        if self.rotation != "copytruncate":
            # With a file compressed at once, who still writes to it would lose lines to gzip: nginx' own
            # advice is to wait.
            wait = "; sleep 1" if self.rotation == "compress" else ""
            script = f"postrotate\n    {REOPEN.format(pid=self.server.process.pid)}{wait}\n  endscript"
        self._conf.write_text(
            f"{names} {{\n  rotate 1000\n  missingok\n  {ROTATIONS[self.rotation]}\n  {script}\n}}\n"
        )
        self._conf.chmod(0o600)

    def rotate(self) -> None:
        """One rotation of all its logs."""
        command = [str(found("logrotate")), "--force", "--state", str(self._state), str(self._conf)]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0 and not answer.stderr, answer.stderr  # noqa: PT018
        self.rotations += 1


@contextmanager
def site(name: str, folder: Path, logs: Sequence[str], rotation: str, rolling: str = "") -> Iterator[Site]:
    """A server that runs in a folder below this one, its logs alone in it."""
    from logpipe.formats.presets import NGINX_JSON

    place = folder / name
    place.mkdir(parents=True)
    with running(name, place, NGINX_JSON, logs, rolling or "roll_disabled") as server:
        yield Site(server, [server.log(log) for log in logs], rotation)
