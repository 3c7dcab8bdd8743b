"""A disk that a test may fill."""

import contextlib
import shutil
import subprocess
from pathlib import Path

import pytest


class SmallDisk:
    """A file system of its own, small enough to be filled: for root on Linux only."""

    def __init__(self, place: Path, size_mb: int) -> None:
        self._place = place
        self._filler = place / "filler"
        place.mkdir(parents=True)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m,mode=700", "tmpfs", str(place)]
        mounted = subprocess.run(mount, capture_output=True, text=True, check=False)
        if mounted.returncode:
            pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")

    def fill(self, keep_mb: int = 0) -> None:
        """Take what is free but for so much."""
        with contextlib.suppress(OSError), self._filler.open("wb", buffering=0) as file:
            while shutil.disk_usage(self._place).free >> 20 >= keep_mb:
                file.write(bytes(1 << 16))

    def free(self) -> None:
        """Give it back."""
        self._filler.unlink()

    def unmount(self) -> None:
        """Take the file system away."""
        subprocess.run(["umount", "-l", str(self._place)], check=True)
