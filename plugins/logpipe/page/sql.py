r"""DuckDB over the pipeline: a view of the windows at a commit, and one of the lines on HDFS.

``windows``: ``window_start`` (UTC), ``dimension``, ``key``, ``lines``, ``sent_bytes``; each window, dimension
and key once. ``latencies``: ``window_start``, ``requests``, ``p50_ms``, ``p95_ms``, ``p99_ms``, of requests
that have a latency (`logpipe.windows.latency`). ``lines``: ``day`` (the folder, ``%y-%m-%d``), ``host``,
``time`` (UTC), ``method``, ``endpoint``, ``status``, ``sent_bytes``, ``vhost``, ``referrer``, ``user_agent``,
``latency_us``, ``tls_protocol``, ``content_type``, ``log``, ``malformed`` (the reason), ``line``, ``file``.

A line is read as the windows job reads it, by the formats of the replays that its file's manifest names. Its
bytes are shown as Latin-1, which takes any. Ask for days: the files of others are not read.
"""

import threading
import time
from datetime import UTC, datetime
from typing import Any, cast

import polars as pl
import pyarrow as pa
from fsspec import AbstractFileSystem
from fsspec.spec import AbstractBufferedFile

from logpipe.accounting.chain import ChainReader
from logpipe.accounting.read_as import entries_of_file, logs_of
from logpipe.clients.hdfs import Entry as Listed
from logpipe.clients.hdfs import Hdfs
from logpipe.contracts import formats
from logpipe.contracts.formats import Entry
from logpipe.formats.columns import SCHEMA, read_by
from logpipe.page.store import Snapshot, read_snapshot
from logpipe.settings import Settings
from logpipe.windows.latency import BITS, SHARES

_LONGEST_LINE = 4 << 20
_CR, _NUL = "\u010d", "\u0100"  # stand for these bytes, and are none that a line may have
_KNOWN_S = 5.0  # a file in use may get lines of another replay
_SCHEMA = SCHEMA | {"log": pl.String}
_TEXTS = [name for name, of in SCHEMA.items() if of is pl.String and name != "reason"]


class _Files(AbstractFileSystem):
    """HDFS as DuckDB asks for it, by the client: each question finds the NameNode that is active."""

    protocol = "webhdfs"
    cachable = False

    def __init__(self, hdfs: Hdfs) -> None:
        super().__init__()
        self.hdfs = hdfs

    def ls(self, path: str, detail: bool = True, **_: Any) -> list[Any]:
        """The entries of a folder; of a file, itself."""
        path = self._strip_protocol(path)
        found = [_row(f"{path}/{entry.name}".rstrip("/"), entry) for entry in self.hdfs.list(path)]
        return found if detail else [row["name"] for row in found]

    def info(self, path: str, **_: Any) -> dict[str, Any]:
        """One file or folder."""
        path = self._strip_protocol(path)
        entry = self.hdfs.status(path)
        if entry is None:
            raise FileNotFoundError(path)
        return _row(path, entry)

    def modified(self, path: str) -> datetime:
        """When it was last written."""
        return datetime.fromtimestamp(self.info(path)["modified_ms"] / 1000, UTC)

    def _open(self, path: str, mode: str = "rb", **named: Any) -> "_File":
        return _File(self, path, mode, **named)


class _File(AbstractBufferedFile):
    def _fetch_range(self, start: int, end: int) -> bytes:
        return b"".join(self.fs.hdfs.blocks(self.path, start, end - start))


class _Texts(_Files):
    """The same files as DuckDB's CSV reader takes any bytes: each as a character of UTF-16.

    A line ends at a newline alone, and the reader would end it at a CR as well, and a column at a NUL: these
    two are other characters, `_lines` puts them back.
    """

    protocol = "lines"

    def ls(self, path: str, detail: bool = True, **named: Any) -> list[Any]:
        """The entries of a folder, with the sizes that are read."""
        return [_widened(row) if detail else row for row in super().ls(path, detail, **named)]

    def info(self, path: str, **named: Any) -> dict[str, Any]:
        """One file or folder, with the size that is read."""
        return _widened(super().info(path, **named))

    def _open(self, path: str, mode: str = "rb", **named: Any) -> "_File":
        return _TextFile(self, path, mode, **named)


class _TextFile(_File):
    def _fetch_range(self, start: int, end: int) -> bytes:
        first = start // 2
        text = super()._fetch_range(first, (end + 1) // 2).decode("latin-1")
        wide = text.replace("\r", _CR).replace("\0", _NUL).encode("utf-16-le")
        return wide[start - 2 * first : end - 2 * first]


def _widened(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"size": 2 * row["size"]}


def _row(path: str, entry: Listed) -> dict[str, Any]:
    kind = "directory" if entry.is_folder else "file"
    return {"name": path, "size": entry.length_bytes, "type": kind, "modified_ms": entry.modified_ms}


def connect(settings: Settings) -> tuple[Any, Snapshot | None]:
    """A connection with the views, and the commit that ``windows`` is of; None when there is none yet.

    Raises:
        WindowsError: the windows' commits can't be read.
    """
    import duckdb

    hdfs = Hdfs.of(settings)
    snapshot = read_snapshot(settings, hdfs)
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    connection.register_filesystem(_Files(hdfs))
    connection.register_filesystem(_Texts(hdfs))
    if snapshot is not None and snapshot.files:
        connection.execute(_windows(list(snapshot.files.values())))
        connection.execute(latencies())
    if connection.execute("SELECT count(*) FROM glob(?)", [_all_lines(settings)]).fetchall()[0][0]:
        kinds = {pl.String: "VARCHAR", pl.Int64: "BIGINT"}
        row = duckdb.struct_type({name: kinds[cast(Any, of)] for name, of in _SCHEMA.items()})
        connection.create_function(
            "parsed_line",
            _Parser(settings),
            ["VARCHAR", "VARCHAR"],
            row,
            type="arrow",
            null_handling="special",
        )
        connection.execute(_lines(settings))
    return connection, snapshot


def _windows(files: list[str]) -> str:
    names = ", ".join(f"'webhdfs://{path}'" for path in files)
    return f"""
        CREATE VIEW windows AS
        SELECT epoch_ms(epoch_ms(window_start)) AS window_start, dimension, key,
               sum(lines)::BIGINT AS lines, sum(sent_bytes)::BIGINT AS sent_bytes
        FROM read_parquet([{names}], union_by_name = true) GROUP BY ALL
        """  # noqa: S608 - names of files


def latencies() -> str:
    """Makes the view ``latencies`` of ``windows``."""
    middle_us = f"least_us + ((1::BIGINT << greatest(0, length(bin(least_us)) - {BITS})) - 1) / 2"
    shares = ", ".join(
        f"min({middle_us}) FILTER (reached >= {share} * requests) / 1000 AS {name}_ms"
        for name, share in SHARES.items()
    )
    return f"""
        CREATE VIEW latencies AS
        WITH counted AS (
          SELECT window_start, key::BIGINT AS least_us, lines FROM windows
          WHERE dimension = 'latency'),
        summed AS (
          SELECT *, sum(lines) OVER (PARTITION BY window_start ORDER BY least_us) AS reached,
                 sum(lines) OVER (PARTITION BY window_start) AS requests FROM counted)
        SELECT window_start, any_value(requests)::BIGINT AS requests, {shares}
        FROM summed GROUP BY window_start
        """  # noqa: S608 - parts of ours


def _all_lines(settings: Settings) -> str:
    return f"lines://{settings.hdfs_logs_dir}/[0-9][0-9]-[0-9][0-9]-[0-9][0-9]/*apache_logs*"


def _lines(settings: Settings) -> str:
    texts = ", ".join(f"part.{name} AS {'endpoint' if name == 'target' else name}" for name in _TEXTS)
    return f"""
        CREATE VIEW lines AS
        WITH read AS (
          SELECT replace(replace(coalesce(column0, ''), '{_CR}', chr(13)), '{_NUL}', chr(0)) AS line,
            split_part(filename, '/', -2) AS day, split_part(filename, '/', -1) AS file
          FROM read_csv('{_all_lines(settings)}', columns = {{'column0': 'VARCHAR'}}, header = false,
            delim = '\\x00', quote = '', escape = '', encoding = 'utf-16', auto_detect = false,
            strict_mode = false, null_padding = true, max_line_size = {_LONGEST_LINE}, filename = true)),
        parsed AS (SELECT *, parsed_line(line, day || '/' || file) AS part FROM read)
        SELECT day, epoch_ms(part.time_ms) AS time, part.sent_bytes AS sent_bytes, {texts},
          part.latency_us AS latency_us, part.log AS log, part.reason AS malformed, line, file
        FROM parsed
        """  # noqa: S608


class _Parser:
    """Reads lines for the view; the formats of files, and the registry, are asked for as they are met."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hdfs = Hdfs.of(settings)
        self._reader = ChainReader(self._hdfs, settings.hdfs_logs_dir)
        self._entries: dict[str, Entry] = {}
        self._of_file: dict[str, tuple[float, frozenset[Entry]]] = {}
        self._lock = threading.Lock()

    def __call__(self, lines: pa.ChunkedArray, files: pa.ChunkedArray) -> pa.Array:
        """Columns of lines; ``files`` are days and names."""
        found = pl.DataFrame({"line": pl.from_arrow(lines), "file": pl.from_arrow(files)}).with_row_index(
            "at"
        )
        parsed = [self._read(file, own) for (file,), own in found.group_by("file")]
        return pl.concat(parsed).sort("at").select(*_SCHEMA).to_struct("part").to_arrow()

    def _read(self, file: Any, lines: pl.DataFrame) -> pl.DataFrame:
        entries = self._entries_of(str(file))
        raw = pl.Series([line.encode("latin-1") for line in lines["line"]], dtype=pl.Binary)
        read = read_by({entry.format_text for entry in entries}, raw)
        logs = logs_of(entries)
        log = pl.col("format").replace_strict(logs, default=None, return_dtype=pl.String)
        missing = [pl.lit(None, of).alias(name) for name, of in SCHEMA.items() if name not in read.columns]
        return read.with_columns(*missing, log=log, at=lines["at"]).select("at", *_SCHEMA)

    def _entries_of(self, file: str) -> frozenset[Entry]:
        with self._lock:
            until_s, entries = self._of_file.get(file, (0.0, frozenset()))
            if until_s < time.monotonic():
                folder = formats.folder(self._settings.hdfs_ledger_dir)
                self._entries = formats.load(self._hdfs, folder, self._entries)
                entries = entries_of_file(
                    self._reader, f"{self._settings.hdfs_logs_dir}/{file}", self._entries
                )
                self._of_file[file] = time.monotonic() + _KNOWN_S, entries
            return entries
