"""Load: replays of logs whose lines tell which replay they belong to, and what must become of them."""

import gzip
import threading
from functools import cache
from pathlib import Path

from logpipe.hosts.machine.ftp.server import FILES_DIR
from tests.data_plane import DataPlane
from tests.faults.checker import Expected

PACED = "speed:1500"  # the bundled log in about half a minute
EVERY_S = 6.0


@cache
def bundled_lines() -> list[bytes]:
    """The bundled log."""
    (path,) = FILES_DIR.glob("*.gz")
    return gzip.decompress(path.read_bytes()).split(b"\n")[:-1]


class Load(Expected):
    """Replays of one data plane, and every line that they, and others, have sent.

    Each line begins with its replay, so none stands in for another's.
    """

    def __init__(self, plane: DataPlane, folder: Path) -> None:
        super().__init__()
        self._plane = plane
        self._folder = folder
        folder.mkdir()

    def write(self, name: str, copies: int = 1) -> Path:
        """Write a log of so many times the bundled lines, marked; its lines are expected from now on."""
        lines = [
            b"%b.%d.%b" % (name.encode(), copy, line) for copy in range(copies) for line in bundled_lines()
        ]
        path = self._folder / f"{name}.log"
        path.write_bytes(b"".join(line + b"\n" for line in lines))
        self.lines.update(lines)
        return path

    def replay(self, pace: str, copies: int = 1, url: str = "") -> str:
        """Begin a replay; returns its id. With ``url`` its lines are expected already."""
        name = self._plane.next_replay
        replay_id = self._plane.submit(pace, url or self.write(name, copies).as_uri())
        self.replays.append(replay_id)
        return replay_id

    def keep_on(self, enough: threading.Event) -> None:
        """Two paced replays at once, and beside them again and again one as fast as it goes."""
        for _ in range(2):
            self.replay(PACED)
        while True:
            self.replay("max")
            if enough.wait(EVERY_S):
                return
