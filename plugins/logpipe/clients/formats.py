"""The registry of formats on HDFS: which identities are read how (`logpipe.contracts.formats`)."""

import uuid

from logpipe.clients.errors import ClientError
from logpipe.clients.hdfs import Hdfs, HdfsExistsError
from logpipe.contracts import formats
from logpipe.contracts.formats import Entry


class FormatConflictError(ClientError):
    """The prefix has another format."""


class FormatRegistry:
    """Entries by prefix. Every method raises `HdfsError` when HDFS does not answer.

    Args:
        hdfs: where they are.
        ledger_dir: the ledger's folder, ``LOGPIPE_HDFS_LEDGER_DIR``.
    """

    def __init__(self, hdfs: Hdfs, ledger_dir: str) -> None:
        self._hdfs = hdfs
        self._folder = formats.folder(ledger_dir)

    def put(self, prefix: str, log: str, format_text: str, addresses: str = "") -> None:
        """Write an entry, once this returns for all readers; one that is there and equal stays as it is.

        Args:
            prefix: a replay's id, or the id of a followed log without a generation.
            log: what people call the log.
            format_text: what `logpipe.formats.compiler.compile_format` takes, and not ``auto``.
            addresses: what became of clients' addresses, as in `Entry`.

        Raises:
            FormatConflictError: the prefix has another entry.
            formats.EntryError: what stands there is no entry.
        """
        wanted, path = Entry(log, format_text, addresses), self._path(prefix)
        scratch = f"{self._folder}/.{formats.file_name(prefix)}.{uuid.uuid4().hex[:8]}"
        if (known := self.get(prefix)) is None:
            self._hdfs.make_folder(self._folder)
            self._hdfs.write(scratch, formats.to_file(wanted))
            try:
                self._hdfs.rename(scratch, path)
                return
            except HdfsExistsError:  # of another process, at the same moment
                self._hdfs.delete(scratch)
                known = self.get(prefix)
        if known != wanted:
            raise FormatConflictError(
                f"{prefix} is read as {known and _told(known)}, not as {_told(wanted)}: ask for the "
                "same, or take another id"
            )

    def get(self, prefix: str) -> Entry | None:
        """The entry of a prefix; None when there is none."""
        content = self._hdfs.read(self._path(prefix))
        return None if content is None else formats.from_file(self._path(prefix), content)

    def load(self) -> dict[str, Entry]:
        """All entries, by prefix."""
        return formats.load(self._hdfs, self._folder)

    def prefixes(self) -> set[str]:
        """The prefixes that have an entry."""
        return set(formats.prefixes_in(self._hdfs, self._folder))

    def drop(self, prefix: str) -> None:
        """Delete an entry, if it is there: whoever calls knows that no line of it will be read any more."""
        self._hdfs.delete(self._path(prefix))

    def _path(self, prefix: str) -> str:
        return f"{self._folder}/{formats.file_name(prefix)}"


def _told(entry: Entry) -> str:
    addresses = f", addresses {entry.addresses}" if entry.addresses else ""
    return f"{entry.format_text!r} of log {entry.log!r}{addresses}"
