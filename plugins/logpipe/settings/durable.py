"""Files of the state folder that are replaced as a whole, and outlast a power cut."""

import os
from pathlib import Path


def replace_file(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Write a file so that a kill or a power cut at any instant leaves this or the one before.

    Its folder is not synced: until `sync_folder` a power cut may bring back the one before.

    Args:
        path: of the file; its folder is there, and one writes at a time.
        text: its content.
        mode: who may read it, also while it is written.

    Raises:
        OSError: the disk is full or fails; the one before is left as it was.
    """
    fresh = path.with_name(f".{path.name}.tmp")
    fresh.unlink(missing_ok=True)  # a kill left it, maybe with another mode
    with open(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder outlast a power cut. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
