"""Stops the lines before a disk is full: a broker whose disk is full may lose what it has acknowledged."""

import shutil

from logpipe.replayer.errors import SinkUnavailableError
from logpipe.settings import Settings


def must_have_room(settings: Settings) -> None:
    """Look at the disks of this machine that lines go to.

    Raises:
        SinkUnavailableError: one of them has less than ``keep_free_mb`` free.
    """
    for folder in settings.store_folders:
        free_mb = shutil.disk_usage(folder).free // 2**20
        if free_mb < settings.keep_free_mb:
            raise SinkUnavailableError(
                f"the disk of {folder} has {free_mb} MB free, expected {settings.keep_free_mb} "
                "(LOGPIPE_KEEP_FREE_MB): make room, and it goes on by itself"
            )
