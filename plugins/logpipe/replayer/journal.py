"""Records on disk: one JSON file a replay, replaced atomically, and the sums of those that were folded."""

import fcntl
import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from logpipe.replayer.record import ReplayRecord
from logpipe.replayer.sums import Sums
from logpipe.replayer.urls import Login
from logpipe.settings.durable import replace_file, sync_folder
from logpipe.settings.unreadable import UNREADABLE

log = logging.getLogger(__name__)

_LOGIN_SUFFIX = ".login"  # user and password for the source's server; mode 600
SUMS_FILE = "sums.json"


class JournalBusyError(Exception):
    """Another replayer works with the same folder: both would send the same lines."""


class Journal:
    """The folder ``replays`` in the state folder, held by one process at a time.

    Raises:
        JournalBusyError: another process holds it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = (folder / ".lock").open("w")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise JournalBusyError(
                f"{folder} is in use by another replayer: stop that one, or set LOGPIPE_STATE_DIR"
            ) from None

    def close(self) -> None:
        """Let another process hold the folder; the process's end does so too."""
        self._lock.close()

    def save(self, record: ReplayRecord) -> None:
        """Write a record so that a kill or a power cut at any instant leaves this or the one before.

        The file is synced, the folder is not (it would cost five times as much): after a power cut the
        record may be an older one, which repeats lines with the same keys and loses none.

        Raises:
            OSError: the disk is full or fails; the record before is left as it was.
        """
        text = json.dumps(record.to_file(), indent=1)
        replace_file(self._folder / f"{record.spec.replay_id}.json", text)

    def save_new(self, record: ReplayRecord) -> None:
        """Write the first record of a replay, or one with another login, and sync the folder too."""
        spec = record.spec
        secret = self._folder / f"{spec.replay_id}{_LOGIN_SUFFIX}"
        if spec.login:
            replace_file(secret, json.dumps(asdict(spec.login)), mode=0o600)
        else:
            secret.unlink(missing_ok=True)
        self.save_synced(record)

    def save_synced(self, record: ReplayRecord) -> None:
        """Write a record as `save` does, and sync the folder: no power cut brings back the one before."""
        self.save(record)
        sync_folder(self._folder)

    def load(self) -> tuple[list[ReplayRecord], dict[str, str]]:
        """All records of this folder, see `load_records`."""
        return load_records(self._folder)

    def fold(self, records: Sequence[ReplayRecord]) -> None:
        """Add records to the sums and delete them; a kill in between is made good by the next call.

        Raises:
            OSError: the disk is full or fails.
            ValueError: the sums can't be read.
        """
        sums = load_sums(self._folder)
        self._delete(sums.folded)
        if records:
            sums = sums.with_folded(records)
            replace_file(self._folder / SUMS_FILE, json.dumps(sums.to_json(), indent=1))
            sync_folder(self._folder)
            self._delete(sums.folded)

    def sums(self) -> Sums:
        """The sums of this folder, see `load_sums`."""
        return load_sums(self._folder)

    def _delete(self, replay_ids: Sequence[str]) -> None:
        folded = set(replay_ids)
        for suffix in (_LOGIN_SUFFIX, ".json"):
            for path in self._folder.glob(f"*{suffix}"):
                if path.name.removesuffix(suffix) in folded:
                    path.unlink()
        sync_folder(self._folder)


def load_sums(folder: Path) -> Sums:
    """The sums of the records that were folded; empty when none was.

    Raises:
        ValueError: they can't be read; the message names the file.
    """
    path = folder / SUMS_FILE
    try:
        return Sums.from_json(json.loads(path.read_text()))
    except FileNotFoundError:
        return Sums()
    except (OSError, *UNREADABLE) as error:
        raise ValueError(f"the sums {path} can't be read ({type(error).__name__}: {error})") from error


def load_records(folder: Path) -> tuple[list[ReplayRecord], dict[str, str]]:
    """All records, oldest first, and for each file that can't be read its replay id and the reason.

    Needs no hold of the folder: a record is replaced as a whole. Whoever adds them to the sums reads these
    after the records, and leaves out the records that are in them.
    """
    records = []
    unreadable = {}
    for path in sorted(folder.glob("*.json")):
        if path.name == SUMS_FILE:
            continue
        try:
            records.append(_load_one(path))
        except FileNotFoundError:
            continue  # folded meanwhile
        except (OSError, *UNREADABLE) as error:
            reason = f"the record {path} can't be read ({type(error).__name__}: {error})"
            log.error("%s: repair or remove it", reason)
            unreadable[path.stem] = reason
    records.sort(key=lambda record: record.started_at)
    return records, unreadable


def _load_one(path: Path) -> ReplayRecord:
    values: dict[str, Any] = json.loads(path.read_text())
    secret = path.with_name(path.stem + _LOGIN_SUFFIX)
    login = Login.from_json(json.loads(secret.read_text())) if secret.exists() else None
    return ReplayRecord.from_file(values, login)
