"""Copies of the records on HDFS, which outlive this machine.

A copy may lag behind the record, and HDFS may be away: neither holds up a replay. Where several hosts may
send, another one goes on from a copy; what was sent since the copy is sent again, with the same keys.
"""

import json
import logging
import threading
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from http.client import HTTPException
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from logpipe.replayer.record import ReplayRecord
from logpipe.settings import Settings

INTERVAL_S = 10.0
_TIMEOUT_S = 10.0

log = logging.getLogger(__name__)


class LedgerError(Exception):
    """HDFS did not take a copy; the message says why."""


class HdfsFolder:
    """Writes small files into a folder of HDFS over WebHDFS, each replaced as a whole."""

    def __init__(self, webhdfs_url: str, user: str, folder: str) -> None:
        self._root = f"{webhdfs_url}/webhdfs/v1"
        self._user = user
        self._folder = folder

    def write(self, name: str, content: bytes) -> None:
        """Write under a temporary name, then rename over the file that was there.

        Raises:
            LedgerError: HDFS is away, in safe mode, or refuses.
        """
        temporary = f"{self._folder}/.{name}.tmp"
        where = self._put(temporary, {"op": "CREATE", "overwrite": "true", "noredirect": "true"})
        self._send(json.loads(where)["Location"], content)
        target = f"{self._folder}/{name}"
        self._put(temporary, {"op": "RENAME", "destination": target, "renameoptions": "OVERWRITE"})

    def read(self, name: str) -> bytes | None:
        """Read a file; None when there is none.

        Raises:
            LedgerError: HDFS is away, or refuses.
        """
        return self._get(f"{self._folder}/{name}", "OPEN")

    def names(self) -> list[str]:
        """List the files; empty when there is no such folder. Raises as `read`."""
        listing = self._get(self._folder, "LISTSTATUS")
        if listing is None:
            return []
        names = [str(row["pathSuffix"]) for row in json.loads(listing)["FileStatuses"]["FileStatus"]]
        return sorted(name for name in names if not name.startswith("."))

    def _get(self, path: str, operation: str) -> bytes | None:
        query = urlencode({"op": operation, "user.name": self._user})
        url = f"{self._root}{quote(path)}?{query}"
        try:
            with urlopen(url, timeout=_TIMEOUT_S) as response:  # noqa: S310 - the scheme is ours
                answer: bytes = response.read()
                return answer
        except HTTPError as error:
            if error.code == HTTPStatus.NOT_FOUND:
                return None
            raise LedgerError(
                f"HDFS refused ({error.code}): {error.read(500).decode(errors='replace')}"
            ) from error
        except (OSError, HTTPException) as error:
            raise LedgerError(f"HDFS at {self._root} does not answer: {error}") from error

    def _put(self, path: str, parameters: dict[str, str]) -> bytes:
        query = urlencode({**parameters, "user.name": self._user})
        return self._send(f"{self._root}{quote(path)}?{query}", b"")

    def _send(self, url: str, content: bytes) -> bytes:
        headers = {"Content-Type": "application/octet-stream"}
        request = Request(url, content, headers, method="PUT")  # noqa: S310 - the scheme is ours
        try:
            with urlopen(request, timeout=_TIMEOUT_S) as response:  # noqa: S310
                answer: bytes = response.read()
                return answer
        except HTTPError as error:
            raise LedgerError(
                f"HDFS refused ({error.code}): {error.read(500).decode(errors='replace')}"
            ) from error
        except (OSError, HTTPException) as error:
            raise LedgerError(f"HDFS at {self._root} does not answer: {error}") from error


def ledger_folder(settings: Settings) -> HdfsFolder:
    """Where the copies are."""
    return HdfsFolder(settings.webhdfs_url, settings.hdfs_user, f"{settings.hdfs_ledger_dir}/replays")


def load_copy(settings: Settings, replay_id: str) -> ReplayRecord | None:
    """The copy of one record; None when there is none.

    Raises:
        LedgerError: HDFS is away, or the copy can't be read.
    """
    text = ledger_folder(settings).read(f"{replay_id}.json")
    try:
        values = None if text is None else json.loads(text)
        return None if values is None else ReplayRecord.from_file(values, values["url"])
    except (KeyError, TypeError, ValueError) as error:
        raise LedgerError(f"The copy of the record of {replay_id} on HDFS can't be read: {error}") from error


def load_copies(settings: Settings) -> list[ReplayRecord]:
    """The copies of all records, oldest first. Raises as `load_copy`."""
    names = ledger_folder(settings).names()
    copies = [load_copy(settings, name.removesuffix(".json")) for name in names if name.endswith(".json")]
    return sorted((copy for copy in copies if copy), key=lambda record: record.started_at)


class Ledger:
    """A thread that copies records: each after a change of its state, running ones every `INTERVAL_S`.

    Args:
        records: gives all records.
    """

    def __init__(self, settings: Settings, records: Callable[[], Iterable[ReplayRecord]]) -> None:
        self._folder = ledger_folder(settings)
        self._records = records
        self._copied: dict[str, str] = {}  # what `updated_at` was at the last copy
        self._wake = threading.Event()
        self._is_away = False
        self._thread = threading.Thread(target=self._run, name="ledger", daemon=True)

    def start(self) -> None:
        """Start; copies all records once, since what was copied before is not known."""
        self._thread.start()

    def wake(self) -> None:
        """Copy what changed now, rather than with the next interval."""
        self._wake.set()

    def _run(self) -> None:
        while True:
            self._copy_changed()
            if self._is_away:
                time.sleep(INTERVAL_S)
            else:
                self._wake.wait(INTERVAL_S)
            self._wake.clear()

    def _copy_changed(self) -> None:
        for record in self._records():
            replay_id = record.spec.replay_id
            if self._copied.get(replay_id) == record.updated_at:
                continue
            try:
                self._folder.write(f"{replay_id}.json", json.dumps(record.to_file(), indent=1).encode())
            except (LedgerError, ValueError, KeyError) as error:
                if not self._is_away:
                    log.warning("Records are not copied to HDFS for now: %s", error)
                self._is_away = True
                return
            if self._is_away:
                log.info("Records are copied to HDFS again")
            self._is_away = False
            self._copied[replay_id] = record.updated_at
