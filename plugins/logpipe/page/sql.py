r"""DuckDB over the pipeline: a view of the windows at a commit, and one of the lines on HDFS.

``windows``: ``window_start`` (UTC), ``dimension``, ``key``, ``lines``, ``sent_bytes``; each window, dimension
and key once. ``lines``: ``day`` (the folder, ``%y-%m-%d``), ``host``, ``time`` (UTC), ``method``,
``endpoint``, ``status``, ``sent_bytes``, ``line``, ``file``.

A line's bytes are shown as Latin-1, which takes any. Columns of a line that is not of a log's usual form are
empty: the windows job reads some of these, by a longer rule. Ask for days: the files of others are not read.
"""

from contextlib import closing
from typing import Any, cast
from urllib.parse import urlsplit

from logpipe.clients.hdfs import Hdfs
from logpipe.page.store import Snapshot, read_snapshot
from logpipe.settings import Settings

# As `logpipe.formats` reads regular lines of Combined Log Format.
_LINE = (
    r"^([^ ]+) [^ \[]+ [^ \[]+ "
    r"\[([0-9]{2}/[A-Z][a-z]{2}/[12][0-9]{3}:[0-9:]{8}) ([+-])([0-9]{2})([0-9]{2})\] "
    r'"([A-Z]{1,20}) ([^ "]+)(?: HTTP/[0-9.]+)?" ([0-9]{3}) ([0-9]{1,18}|-)(?: "[^"]*" "[^"]*")?\r?$'
)
_PARTS = "['host', 'at', 'sign', 'hours', 'minutes', 'method', 'endpoint', 'status', 'size']"
_LONGEST_LINE = 4 << 20


def connect(settings: Settings) -> tuple[Any, Snapshot | None]:
    """A connection with the views, and the commit that ``windows`` is of; None when there is none yet.

    Raises:
        WindowsError: the windows' commits can't be read.
    """
    import duckdb
    from fsspec.implementations.webhdfs import WebHDFS

    with closing(Hdfs.of(settings)) as hdfs:
        snapshot = read_snapshot(settings, hdfs)
    address = urlsplit(settings.webhdfs_url.split(";")[0])
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    connection.register_filesystem(
        cast(Any, WebHDFS)(address.hostname, address.port, user=settings.hdfs_user, skip_instance_cache=True)
    )
    if snapshot is not None and snapshot.files:
        connection.execute(_windows(list(snapshot.files.values())))
    if connection.execute("SELECT count(*) FROM glob(?)", [_all_lines(settings)]).fetchone()[0]:
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


def _all_lines(settings: Settings) -> str:
    return f"webhdfs://{settings.hdfs_logs_dir}/[0-9][0-9]-[0-9][0-9]-[0-9][0-9]/*apache_logs*"


def _lines(settings: Settings) -> str:
    return f"""
        CREATE VIEW lines AS
        WITH read AS (
          SELECT column0 AS line, split_part(filename, '/', -2) AS day, split_part(filename, '/', -1) AS file
          FROM read_csv('{_all_lines(settings)}', columns = {{'column0': 'VARCHAR'}}, header = false,
            delim = '\\x00', quote = '', escape = '', encoding = 'latin-1', auto_detect = false,
            strict_mode = false, null_padding = true, max_line_size = {_LONGEST_LINE}, filename = true)),
        parsed AS (
          SELECT *, regexp_extract(coalesce(line, ''), '{_LINE}', {_PARTS}) AS part FROM read)
        SELECT day, nullif(part.host, '') AS host,
          try_strptime(part.at, '%d/%b/%Y:%H:%M:%S')
            - to_seconds(try_cast(part.sign || '1' AS INT)
                * (try_cast(part.hours AS INT) * 3600 + try_cast(part.minutes AS INT) * 60)) AS time,
          nullif(part.method, '') AS method, nullif(part.endpoint, '') AS endpoint,
          nullif(part.status, '') AS status, try_cast(replace(part.size, '-', '0') AS BIGINT) AS sent_bytes,
          coalesce(line, '') AS line, file
        FROM parsed
        """  # noqa: S608
