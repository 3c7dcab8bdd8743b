"""The file of the pipeline's connections, as Airflow asks it."""

import os
from typing import Any

from airflow.secrets.local_filesystem import LocalFilesystemBackend


class ConnectionsFile(LocalFilesystemBackend):
    """Reads the file again when it is another one; Airflow's own reads it twice for each question.

    A supervision asks a few times a second, and each reading makes and encrypts all connections anew.
    """

    _read: tuple[tuple[int, int], dict[str, Any]] | None = None

    @property
    def _local_connections(self) -> dict[str, Any]:
        seen = os.stat(self.connections_file)
        version = seen.st_ino, seen.st_mtime_ns
        if self._read is None or self._read[0] != version:
            found = super()._local_connections
            for connection in found.values():  # else Airflow warns at each question that '_' is no scheme
                connection._prenormalized_conn_type = connection.conn_type.replace("_", "-")
            self._read = version, found
        return self._read[1]
