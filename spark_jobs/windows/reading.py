"""How the records of a batch are read: the entries that the driver knows, and the reading in the tasks."""

import time
from collections.abc import Mapping

import polars as pl

from logpipe.contracts import formats
from logpipe.contracts.formats import DEFAULT, Entry
from logpipe.formats.columns import columns_of
from logpipe.formats.compiler import compile_format
from logpipe.formats.fields import FormatError
from windows.errors import WindowsError
from windows.hdfs import Hdfs
from windows.identity import Judged

# A folder's time is in milliseconds: a listing shows all that it tells of once that time has passed.
_SETTLED_S = 0.1


class Formats:
    """The registry's entries, on the driver; looked at again when its folder has changed.

    Args:
        hdfs: where it is.
        folder: of `logpipe.contracts.formats`, with the file system.
    """

    def __init__(self, hdfs: Hdfs, folder: str) -> None:
        self._hdfs = hdfs
        self._folder = folder
        self._entries: dict[str, Entry] = {}
        self._changed_ms = 0
        self._seen_at = 0.0
        self._is_settled = False

    def entries(self) -> Mapping[str, Entry]:
        """All entries, by prefix. Ask once the batch's end is known: those of its lines are there by then.

        Raises:
            HdfsError: HDFS does not answer.
            WindowsError: an entry can't be read.
        """
        try:
            changed_ms = self._hdfs.modified_ms(self._folder)
        except FileNotFoundError:
            return {}
        now = time.monotonic()
        if changed_ms != self._changed_ms:
            self._changed_ms, self._seen_at, self._is_settled = changed_ms, now, False
        if not self._is_settled:
            self._entries = self._load()
            self._is_settled = now - self._seen_at >= _SETTLED_S
        return self._entries

    def _load(self) -> dict[str, Entry]:
        try:
            found = formats.load(self._hdfs, self._folder, self._entries)
        except formats.EntryError as error:
            raise WindowsError(str(error)) from None
        for prefix, entry in found.items():
            try:
                compile_format(entry.format_text)
            except FormatError as error:
                raise WindowsError(
                    f"The format of {prefix} in {self._folder} can't be read: {error}; start the version of "
                    "the job that knows it"
                ) from None
        return found


def read_lines(judged: Judged, entries: Mapping[str, Entry]) -> pl.DataFrame:
    """Add what the lines say: columns of `logpipe.formats.fields.Parsed`, and ``log``.

    Of these columns there are the core's and ``reason``, and of the others those that a format of the lines
    has. Lines without identity are read as `logpipe.contracts.formats.DEFAULT`. The order may change.
    """
    records = judged.counted
    entry_by_replay = {
        replay: formats.entry_of(replay, entries)._replace(addresses="")  # which changes nothing here
        for _, replay in judged.marks
        if entries
    }
    used = {DEFAULT, *entry_by_replay.values()} if judged.anonymous.lines else set(entry_by_replay.values())
    if len(used) < 2:
        entry = used.pop() if used else DEFAULT
        read = _read(records, entry.format_text)
        return read.with_columns(log=pl.lit(entry.log)) if entry.log else read
    texts = sorted({entry.format_text for entry in used})
    of_replay = pl.DataFrame(
        [(replay, texts.index(text), log or None) for replay, (log, text, _) in entry_by_replay.items()],
        schema={"replay": pl.String, "format": pl.Int64, "log": pl.String},
        orient="row",
    )
    marked = (
        records.with_columns(replay=judged.replays)
        .join(of_replay, on="replay", how="left", maintain_order="left")
        .with_columns(pl.col("format").fill_null(texts.index(DEFAULT.format_text) if DEFAULT in used else -1))
    )
    parts = [
        _read(part.drop("replay", "format"), texts[int(number)])
        for (number,), part in marked.partition_by("format", as_dict=True).items()
    ]
    return pl.concat(parts, how="diagonal")


def _read(records: pl.DataFrame, format_text: str) -> pl.DataFrame:
    return records.hstack(columns_of(format_text).parse(records["value"]))
