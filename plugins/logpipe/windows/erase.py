"""Takes keys out of the windows: rows stay, and count under another key.

Files of the windows are what the steps in their names added, for ever: here each that holds such a key is
put in place again, by one rename that overwrites, with the same rows under other keys. Their sums, and the
commit in a footer, stay. The job may fold or merge what it had read before: so this looks again until nothing
is found, and whoever asks a second time is told whether it stayed so.
"""

import io
import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from logpipe.clients.hdfs import Hdfs, HdfsAbsentError
from logpipe.settings import Settings
from logpipe.windows.commit import EPOCH_NAME, ERASED_FILE, WindowsError
from logpipe.windows.reader import WindowStore

SCRATCH = "_erasing"  # in the windows folder
_PASSES = 10

Reached = Callable[[str], None]


def erase_keys(settings: Settings, erased: Callable[[str], str], reached: Reached) -> int:
    """Replace keys in all files of the windows.

    Args:
        settings: whose windows.
        erased: gives the key to count under, for most keys the same.
        reached: told about each file that was replaced, and about the end.

    Returns:
        Rows whose key was replaced.

    Raises:
        WindowsError: files change faster than they are looked through.
        HdfsError: HDFS does not answer or refuses.
    """
    hdfs = Hdfs.of(settings)
    store = WindowStore(hdfs, settings.hdfs_checkpoint_dir, settings.hdfs_windows_dir)
    scratch = f"{settings.hdfs_windows_dir}/{SCRATCH}"
    rows = 0
    try:
        for _ in range(_PASSES):
            found = 0
            for path in list(_files(hdfs, store, settings)):
                found += _replace(hdfs, path, scratch, erased)
                reached("windows-file")
            rows += found
            if not found:
                break
        else:
            raise WindowsError(
                f"Files in {settings.hdfs_windows_dir} change faster than they are looked through"
            )
        if rows:
            _mark(hdfs, settings, rows)
        hdfs.delete(scratch)
        reached("windows-marked")
        return rows
    finally:
        hdfs.close()


def _files(hdfs: Hdfs, store: WindowStore, settings: Settings) -> Iterator[str]:
    """Files by date, those that do not count any more too, and those of the newest log."""
    yield from (f"{store.windows_dir}/{file.path}" for file in store.all_date_files())
    commits = f"{settings.hdfs_checkpoint_dir}/windows"
    epochs = [int(match[1]) for entry in hdfs.list(commits) if (match := EPOCH_NAME.fullmatch(entry.name))]
    if epochs:
        folder = f"{commits}/commits.{max(epochs)}"
        yield from (
            f"{folder}/{entry.name}" for entry in hdfs.list(folder) if entry.name.endswith(".parquet")
        )


def _replace(hdfs: Hdfs, path: str, scratch: str, erased: Callable[[str], str]) -> int:
    """Rows of one file whose key was replaced; a file that went meanwhile has none."""
    content = hdfs.read(path)
    if content is None:
        return 0
    source = pq.ParquetFile(pa.BufferReader(content))
    keys = (batch["key"] for batch in source.iter_batches(columns=["key"]))
    rows: int = sum(pc.sum(_other(each, erased)[1]).as_py() or 0 for each in keys)
    if not rows:
        return 0
    made = io.BytesIO()
    with pq.ParquetWriter(made, source.schema_arrow, compression="zstd") as writer:
        for batch in source.iter_batches():
            keys, _ = _other(batch["key"], erased)
            writer.write_batch(
                batch.set_column(batch.schema.get_field_index("key"), batch.schema.field("key"), keys)
            )
    staged = f"{scratch}/{path.rpartition('/')[2]}"
    hdfs.write(staged, made.getvalue(), overwrite=True)
    if hdfs.status(path) is None:
        return 0
    try:
        hdfs.rename(staged, path, overwrite=True)
    except HdfsAbsentError:  # its folder is another one since a driver took over
        return rows  # so that it is looked for again
    return rows


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
