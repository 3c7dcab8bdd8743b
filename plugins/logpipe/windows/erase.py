"""Takes keys out of the windows: rows stay, and count under another key.

Files of the windows are what the steps in their names added, for ever: here each that holds such a key is
put in place again, by one rename that overwrites, with the same rows under other keys. Their sums, and the
commit in a footer, stay. The job may be folding or merging what it has read before. So this marks that it
has erased (`ERASED_FILE`), and looks again until nothing is found since; and the job looks for the mark when
it has written a file, before it puts it in place (`windows.folds.DateFiles.check_erased`): what it had read
before the mark it drops, what it has put in place by then is found. What lines add after the beginning is
new, and stays.


In the compacted topics that the job writes, a record that has it is written once more, under its own key and
without it; Kafka forgets the one before when it compacts.
"""

import io
import json
import logging
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from logpipe.clients.errors import UnreachableError
from logpipe.clients.hdfs import Hdfs, HdfsAbsentError
from logpipe.clients.kafka import Kafka, TopicError
from logpipe.settings import Settings
from logpipe.settings.unreadable import UNREADABLE
from logpipe.windows.commit import EPOCH_NAME, ERASED_FILE, FOOTER_KEY, STEP_NAME, Commit, WindowsError
from logpipe.windows.reader import WindowStore

SCRATCH = "_erasing"  # in the windows folder; there while an erasure is not finished
_PASSES = 10
_NEVER_MS = (1 << 63) - 1  # Kafka's default of max.compaction.lag.ms

log = logging.getLogger(__name__)

Reached = Callable[[str], None]


class _GoneError(Exception):
    """A file that was listed is gone: its rows stand in another one."""


def erase_keys(settings: Settings, erased: Callable[[str], str], reached: Reached) -> int:
    """Replace keys in all files of the windows.

    Args:
        settings: whose windows.
        erased: gives the key to count under, for most keys the same.
        reached: told about each file that was looked through, each time that all were, and about the end.

    Returns:
        Rows whose key was replaced.

    Raises:
        WindowsError: files change faster than they are looked through.
        HdfsError: HDFS does not answer or refuses.
    """
    with closing(Hdfs.of(settings)) as hdfs:
        eraser = _Eraser(hdfs, settings, erased)
        rows = 0
        is_due, is_marked = hdfs.status(eraser.scratch) is not None, False
        for _ in range(_PASSES):
            found = eraser.look(reached)
            rows += found or 0
            reached("windows-looked")
            if found == 0 and (is_marked or not is_due):
                break
            is_due = True
            if found or not is_marked:
                _mark(hdfs, settings, found or 0)
                is_marked = True
        else:
            raise WindowsError(
                f"Files in {settings.hdfs_windows_dir} change faster than they are looked through"
            )
        hdfs.delete(eraser.scratch)
        if settings.hdfs_console_file:
            hdfs.delete(settings.hdfs_console_file)
        reached("windows-marked")
        return rows


class _Eraser:
    """Replaces keys in the files of one store; those that only steps of later lines have made stay."""

    def __init__(self, hdfs: Hdfs, settings: Settings, erased: Callable[[str], str]) -> None:
        self._hdfs = hdfs
        self._store = WindowStore(hdfs, settings.hdfs_checkpoint_dir, settings.hdfs_windows_dir)
        self._commits = f"{settings.hdfs_checkpoint_dir}/windows"
        self._erased = erased
        self.scratch = f"{settings.hdfs_windows_dir}/{SCRATCH}"
        self._newest = max((step for step, _ in self._log()), default=0)

    def look(self, reached: Reached) -> int | None:
        """Rows whose key was replaced; None if files went away meanwhile, and others may have their rows."""
        found, is_whole = 0, True
        for path in list(self._files()):
            try:
                found += self._replace(path)
            except _GoneError:
                is_whole = False
            reached("windows-file")
        return found if is_whole or found else None

    def _log(self) -> list[tuple[int, str]]:
        """The steps of the newest log, and their files."""
        names = [entry.name for entry in self._hdfs.list(self._commits)]
        epochs = [int(match[1]) for name in names if (match := EPOCH_NAME.fullmatch(name))]
        if not epochs:
            return []
        folder = f"{self._commits}/commits.{max(epochs)}"
        names = [entry.name for entry in self._hdfs.list(folder)]
        return [
            (int(match[1]), f"{folder}/{name}")
            for name in names
            if name.endswith(".parquet") and (match := STEP_NAME.fullmatch(name))
        ]

    def _files(self) -> Iterator[str]:
        """Those that the job has not put in place yet; those by date, also what does not count; the log."""
        for entry in self._hdfs.list(f"{self._commits}/uncommitted"):
            folder = f"{self._commits}/uncommitted/{entry.name}"
            yield from (f"{folder}/{each.name}" for each in self._hdfs.list(folder))
        for file in self._store.all_date_files():
            if file.first <= self._newest or not self._newest:
                yield f"{self._store.windows_dir}/{file.path}"
        yield from (path for _, path in self._log())

    def _replace(self, path: str) -> int:
        """Rows of one file whose key was replaced.

        Raises:
            _GoneError: it is not there any more.
        """
        content = self._hdfs.read(path)
        if content is None:
            raise _GoneError
        try:
            source = pq.ParquetFile(pa.BufferReader(content))
        except pa.ArrowInvalid:
            if "/uncommitted/" in path:  # the job writes it just now, and looks for the mark afterwards
                return 0
            raise
        if self._is_of_later_lines(path, source):
            return 0
        keys = (batch["key"] for batch in source.iter_batches(columns=["key"]))
        rows: int = sum(pc.sum(_other(each, self._erased)[1]).as_py() or 0 for each in keys)
        if not rows:
            return 0
        made = io.BytesIO()
        with pq.ParquetWriter(made, source.schema_arrow, compression="zstd") as writer:
            for batch in source.iter_batches():
                keys, _ = _other(batch["key"], self._erased)
                writer.write_batch(
                    batch.set_column(batch.schema.get_field_index("key"), batch.schema.field("key"), keys)
                )
        staged = f"{self.scratch}/{path.rpartition('/')[2]}"
        self._hdfs.write(staged, made.getvalue(), overwrite=True)
        if self._hdfs.status(path) is None:
            raise _GoneError
        try:
            self._hdfs.rename(staged, path, overwrite=True)
        except HdfsAbsentError:  # its folder is another one since a driver took over
            raise _GoneError from None
        return rows

    def _is_of_later_lines(self, path: str, source: pq.ParquetFile) -> bool:
        """Whether a file of the log has only what lines added since this began."""
        step = STEP_NAME.fullmatch(path.rpartition("/")[2])
        if step is None or int(step[1]) <= self._newest:
            return False
        return Commit.from_json(source.metadata.metadata[FOOTER_KEY]).kind == "batch"


def _other(keys: "pa.Array", erased: Callable[[str], str]) -> "tuple[pa.Array, pa.Array]":
    """Keys as they are to be, and which of them differ."""
    encoded = keys.dictionary_encode()
    plain = encoded.dictionary.to_pylist()
    others = pa.array([None if key is None else erased(key) for key in plain], pa.string())
    made = others.take(encoded.indices)
    return made, pc.fill_null(pc.not_equal(made, keys), False)


def _mark(hdfs: Hdfs, settings: Settings, rows: int) -> None:
    """Tell those who keep copies of the files that these are other ones now."""
    path = f"{settings.hdfs_windows_dir}/{ERASED_FILE}"
    staged = f"{settings.hdfs_windows_dir}/{SCRATCH}/{ERASED_FILE}"
    known = json.loads(hdfs.read(path) or "[]")
    known.append({"at": datetime.now(UTC).isoformat(timespec="seconds"), "rows": rows})
    hdfs.write(staged, json.dumps(known).encode(), overwrite=True)
    hdfs.rename(staged, path, overwrite=True)


@dataclass(frozen=True, slots=True)
class ErasedTopic:
    """What became of a compacted topic.

    Attributes:
        topic: its name.
        records: that were written anew.
        left: records that hold it still, since nobody here may write the topic.
        compacted_within_ms: so long what was there before may stay; None: Kafka does not say.
    """

    topic: str
    records: int
    left: int
    compacted_within_ms: int | None


def erase_records(
    settings: Settings, erased: Callable[[str], str], line: Callable[[bytes], bytes]
) -> list[ErasedTopic]:
    """Write records anew in the topics of windows and of lines that did not parse, where they are there.

    Args:
        settings: whose topics.
        erased: as for `erase_keys`.
        line: a line as it is to be.

    Raises:
        TopicError: Kafka does not answer, or a topic cannot be read.
    """
    topics: dict[str, Callable[[bytes], bytes]] = {
        settings.windows_topic: partial(_rows, erased),
        settings.dead_letters_topic: line,
    }
    reader = Kafka.of(settings)
    return [
        _erase_topic(settings, reader, topic, change)
        for topic, change in topics.items()
        if reader.describe(topic) is not None
    ]


def _erase_topic(
    settings: Settings, reader: Kafka, topic: str, change: Callable[[bytes], bytes]
) -> ErasedTopic:
    """Look, write, and look at what came since then, until that holds nothing."""
    lag_ms = int(reader.config(topic).get("max.compaction.lag.ms", _NEVER_MS))
    within_ms = lag_ms if lag_ms < _NEVER_MS else None
    offsets = reader.offsets(topic).offsets
    records = 0
    while True:
        found: dict[tuple[int, bytes | None], int] = {}
        for record in reader.records(topic, offsets):
            place = record.partition, record.key
            if change(record.value) != record.value:
                found[place] = record.offset
            else:  # a later one, or none, has the key now
                found.pop(place, None)
        if not found:
            return ErasedTopic(topic, records, 0, within_ms)
        first = {number: min(at for (part, _), at in found.items() if part == number) for number, _ in found}
        wanted = (
            replace(record, value=change(record.value))
            for record in reader.records(
                topic, {number: (at, offsets[number][1]) for number, at in first.items()}, with_headers=True
            )
            if found.get((record.partition, record.key)) == record.offset
        )
        try:
            records += Kafka.of(settings, role="windows").put(topic, wanted)
        except TopicError as error:
            if isinstance(error, UnreachableError):
                raise
            log.warning("%s is not written: %s", topic, error)
            return ErasedTopic(topic, records, len(found), within_ms)
        offsets = {number: (offsets[number][1], end) for number, end in reader.offsets(topic).ends.items()}


def _rows(erased: Callable[[str], str], value: bytes) -> bytes:
    """A record of windows without a key; what is none of ours stays."""
    try:
        record = json.loads(value)
        keys = [row["key"] for row in record["rows"]]
        others = [erased(key) for key in keys]
        if others == keys:
            return value
        for row, key in zip(record["rows"], others, strict=True):
            row["key"] = key
    except UNREADABLE:
        return value
    return json.dumps(record, separators=(",", ":"), ensure_ascii=False).encode()
