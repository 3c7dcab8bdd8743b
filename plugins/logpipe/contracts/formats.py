"""How the lines of each replay and each followed log are read, told on HDFS before the first one is sent.

``<ledger>/formats/<prefix>.json`` is an entry: ``{"version": 1, "log": "…", "format": "…"}``, and with
``"addresses": "…"`` where clients' addresses were treated. A prefix is a replay's id, or the id of a followed
log, whose generations are ``<prefix>.g<number>``; one with treated addresses has its own. An entry does not
change under its name. What has none is read as `DEFAULT`.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from logpipe.identity import credited_to
from logpipe.settings.unreadable import UNREADABLE

VERSION = 1
_SUFFIX = ".json"
_GENERATION = re.compile(r"(.+)\.g[1-9][0-9]*")


class Entry(NamedTuple):
    """How lines are read, and which log they are of.

    Attributes:
        log: what people call the log; empty: it has no name, and no rows of its own in the windows.
        format_text: what `logpipe.formats.compiler.compile_format` takes.
        addresses: what became of clients' addresses: ``shorten``, or ``hash:`` and the name of the key;
            empty: they are as the server wrote them.
    """

    log: str
    format_text: str
    addresses: str = ""


DEFAULT = Entry("", "combined")


class EntryError(ValueError):
    """An entry that is not what this version writes; the message names the file."""


class Listed(Protocol):
    """An entry of a folder."""

    @property
    def name(self) -> str:
        """Without the folder."""

    @property
    def modified_ms(self) -> int:
        """When it was last changed."""


class Files(Protocol):
    """Where entries are: `logpipe.clients.hdfs.Hdfs`, or the windows job's own way to HDFS."""

    def list(self, path: str) -> Collection[Listed]:
        """The entries of a folder; none when it is not there."""

    def read(self, path: str) -> bytes | None:
        """A file whole; None when it is not there."""


def folder(ledger_dir: str) -> str:
    """Where the entries are."""
    return f"{ledger_dir}/formats"


def file_name(prefix: str) -> str:
    """The file of a prefix's entry."""
    return f"{prefix}{_SUFFIX}"


def to_file(entry: Entry) -> bytes:
    """An entry as it is kept."""
    values = {"version": VERSION, "log": entry.log, "format": entry.format_text}
    if entry.addresses:
        values["addresses"] = entry.addresses
    return json.dumps(values, separators=(",", ":")).encode()


def from_file(path: str, content: bytes) -> Entry:
    """An entry of its file's content.

    Raises:
        EntryError: it is none, or of another version.
    """
    try:
        values = json.loads(content)
        if values["version"] == VERSION:
            return Entry(str(values["log"]), str(values["format"]), str(values.get("addresses", "")))
    except UNREADABLE:
        pass
    raise EntryError(
        f"{path} holds {content[:200]!r}, expected a format of version {VERSION}: start the version that "
        "wrote it"
    )


def load(files: Files, path: str, known: Mapping[str, Entry] | None = None) -> dict[str, Entry]:
    """All entries of a folder, by prefix.

    Args:
        files: where it is.
        path: of the folder.
        known: entries that were read before; their files are not read again.

    Raises:
        EntryError: a file is no entry.
        OSError, ClientError: HDFS does not answer, in the words of ``files``.
    """
    found: dict[str, Entry] = {}
    for prefix in prefixes_in(files, path):
        file = f"{path}/{file_name(prefix)}"
        if known is not None and prefix in known:
            found[prefix] = known[prefix]
        elif (content := files.read(file)) is not None:
            found[prefix] = from_file(file, content)
    return found


def prefixes_in(files: Files, path: str) -> list[str]:
    """The prefixes that have an entry; what is still being written begins with a dot."""
    names = [listed.name for listed in files.list(path)]
    return [name.removesuffix(_SUFFIX) for name in names if name[0] != "." and name.endswith(_SUFFIX)]


def prefixes(replay_id: str) -> tuple[str, ...]:
    """Under which prefixes the entry of an identity may stand, in order.

    ``repair-<k>+`` is no part of it. A followed log's is without the generation; a replay's id may look like
    one.
    """
    own = credited_to(replay_id)
    generation = _GENERATION.fullmatch(own)
    return (own, generation[1]) if generation else (own,)


def entries_of(
    replay_ids: Iterable[str], has_anonymous: bool, entries: Mapping[str, Entry]
) -> frozenset[Entry]:
    """How lines are read of which is known only that they are of some replays, or of none."""
    found = {entry_of(replay_id, entries) for replay_id in replay_ids}
    return frozenset(found | {DEFAULT} if has_anonymous or not found else found)


def entry_of(replay_id: str, entries: Mapping[str, Entry]) -> Entry:
    """How the lines of a replay, a repair or a generation are read."""
    return next((entries[prefix] for prefix in prefixes(replay_id) if prefix in entries), DEFAULT)
