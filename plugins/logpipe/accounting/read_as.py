"""By which formats the lines of a file on HDFS are read: those of the replays that its manifest names."""

from collections.abc import Mapping

from logpipe.accounting.chain import ChainReader
from logpipe.contracts import formats
from logpipe.contracts.chain import FILE_NAME, IN_USE_NAME, Link, link_name
from logpipe.contracts.formats import DEFAULT, Entry


def entries_of_file(reader: ChainReader, path: str, entries: Mapping[str, Entry]) -> frozenset[Entry]:
    """How the lines of a file may have to be read: `logpipe.formats.columns.read_by` takes the texts.

    Args:
        reader: of the chains.
        path: of the file, in a day's folder; in use, or under its final name.
        entries: the registry.

    Raises:
        HdfsError, ChainError: HDFS, or what stands on it, cannot be read.
    """
    if not entries:
        return frozenset({DEFAULT})
    day, name = path.rsplit("/", 2)[-2:]
    final, in_use = FILE_NAME.fullmatch(name), IN_USE_NAME.fullmatch(name)
    link: Link | None = None
    if final:
        link = reader.link(int(final[1]), link_name(int(final[2]), int(final[3])))
    elif in_use and (chain := reader.chains().get(int(in_use[1]))):
        link = chain.open
    sums = link or reader.sealed(day)
    if sums is None:
        return frozenset({DEFAULT})
    return formats.entries_of(sums.replays, bool(sums.anonymous.lines), entries)


def logs_of(entries: frozenset[Entry]) -> dict[str, str | None]:
    """Of each format the log whose lines are read by it; None: several, or one without a name."""
    found: dict[str, set[str]] = {}
    for entry in entries:
        found.setdefault(entry.format_text, set()).add(entry.log)
    return {text: min(logs) or None if len(logs) == 1 else None for text, logs in found.items()}
