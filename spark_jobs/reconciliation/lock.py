"""One reconciliation at a time: the HDFS lease of a file, held open for appending.

The NameNode gives a file's lease to one writer. A holder that was killed loses it after a minute by itself;
where it can be seen that its processes are gone, at once.
"""

import json
import os
import socket
import time
from types import TracebackType
from typing import Any

import psutil

from reconciliation.errors import LockedError, ReconcileError
from reconciliation.hdfs import LogFiles, java_errors
from windows.hdfs import HdfsError

TAKE_OVER_S = 90.0
_BUSY = "AlreadyBeingCreatedException"
_RECOVERING = "RecoveryInProgressException"
_POLL_S = 0.2


def _machine() -> str:
    """Tells this process space from every other."""
    try:
        return f"{socket.gethostname()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> float | None:
    """When a live process started; None when there is none of this number."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


class Lock:
    """A context: inside it no other reconciliation changes the directory.

    Raises:
        LockedError: another one runs; the message says where.
    """

    def __init__(self, hdfs: LogFiles, path: str) -> None:
        self._hdfs = hdfs
        self._path = path
        self._stream: Any = None

    def __enter__(self) -> "Lock":
        self._hdfs.make_folder(self._path.rpartition("/")[0])
        self._hdfs.create_new(self._path)
        end = time.monotonic() + TAKE_OVER_S
        while self._stream is None:
            try:
                self._stream = self._hdfs.append(self._path)
            except HdfsError as error:
                if error.kind not in (_BUSY, _RECOVERING):
                    raise
                if error.kind == _BUSY:
                    self._refuse_if_alive()
                if time.monotonic() > end:
                    raise LockedError(
                        f"{self._path} was not freed {TAKE_OVER_S:.0f} s after its owner's death: run again"
                    ) from None
                time.sleep(_POLL_S)
        try:
            self._write(json.dumps(self._owner()))
        except HdfsError as error:
            raise LockedError(f"Another reconciliation took {self._path} in this moment ({error})") from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        with java_errors():
            self._stream.close()

    def confirm(self) -> None:
        """Make sure that the lock is still held: another may have taken it while this process was stopped.

        Raises:
            ReconcileError: it is lost.
        """
        try:
            self._write("")
        except HdfsError as error:
            raise ReconcileError(
                f"The lock {self._path} was lost ({error}): another reconciliation took over; run again"
            ) from None

    def _write(self, text: str) -> None:
        with java_errors():
            self._stream.write(bytearray(f"{text}\n".encode()))
            self._stream.hflush()

    def _owner(self) -> dict[str, object]:
        pids = [os.getpid(), int(self._hdfs.jvm.java.lang.ProcessHandle.current().pid())]
        return {"machine": _machine(), "processes": {str(pid): _started(pid) for pid in pids}}

    def _refuse_if_alive(self) -> None:
        """Recover the lease of an owner whose processes are gone."""
        lines = [line for line in self._hdfs.read_text(self._path).splitlines() if line]
        owner: dict[str, Any] = json.loads(lines[-1]) if lines else {"machine": "another machine"}
        if owner["machine"] != _machine():
            raise LockedError(
                f"Another reconciliation holds {self._path} (on {owner['machine'].split()[0]}): wait for its "
                "end; when it was killed, HDFS frees the lock a minute later"
            )
        driver, *jvm = (
            started is not None and _started(int(pid)) == started
            for pid, started in owner["processes"].items()
        )
        if driver:
            pid = next(iter(owner["processes"]))
            raise LockedError(f"The reconciliation with pid {pid} holds {self._path}: wait for its end")
        if not any(jvm):  # a JVM outlives its driver for a moment, and may be in the middle of a step
            self._hdfs.recover_lease(self._path)
