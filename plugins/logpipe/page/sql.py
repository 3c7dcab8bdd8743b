r"""DuckDB over the pipeline: a view of the windows at a commit, and one of the lines on HDFS.

``windows``: ``window_start`` (UTC), ``dimension``, ``key``, ``lines``, ``sent_bytes``; each window, dimension
and key once. ``latencies``: ``window_start``, ``requests``, ``p50_ms``, ``p95_ms``, ``p99_ms``, of requests
that have a latency (`logpipe.windows.latency`). ``lines``: ``day`` (the folder, ``%y-%m-%d``), ``host``,
``time`` (UTC), ``method``, ``endpoint``, ``status``, ``sent_bytes``, ``referrer``, ``user_agent``, ``line``,
``file``.

A line's bytes are shown as Latin-1, which takes any. Columns are those of regular lines of Combined Log
Format; of others they are empty: the windows job reads these by a longer rule, or by the format of their log.
Ask for days: the files of others are not read.
"""

import re
from typing import Any, cast
from urllib.parse import urlsplit

from logpipe.clients.hdfs import Hdfs
from logpipe.page.store import Snapshot, read_snapshot
from logpipe.settings import Settings
from logpipe.windows.latency import BITS, SHARES

_LONGEST_LINE = 4 << 20


def connect(settings: Settings) -> tuple[Any, Snapshot | None]:
    """A connection with the views, and the commit that ``windows`` is of; None when there is none yet.

    Raises:
        WindowsError: the windows' commits can't be read.
    """
    import duckdb
    from fsspec.implementations.webhdfs import WebHDFS

    hdfs = Hdfs.of(settings)
    snapshot = read_snapshot(settings, hdfs)
    address = urlsplit(settings.webhdfs_url.split(";")[0])
    connection = duckdb.connect(config={"autoinstall_known_extensions": False})
    files = cast(Any, WebHDFS)(
        address.hostname,
        address.port,
        user=None if settings.kerberos_principal else settings.hdfs_user,
        use_https=address.scheme == "https",
        skip_instance_cache=True,
    )
    files.session = hdfs.session
    connection.register_filesystem(files)
    if snapshot is not None and snapshot.files:
        connection.execute(_windows(list(snapshot.files.values())))
        connection.execute(latencies())
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
    return f"webhdfs://{settings.hdfs_logs_dir}/[0-9][0-9]-[0-9][0-9]-[0-9][0-9]/*apache_logs*"


def _lines(settings: Settings) -> str:
    from logpipe.formats.columns import columns_of

    expression = columns_of("combined").expression.replace("'", "''")
    groups = re.findall(r"\(\?P<(\w+)>", expression)
    at = next(name for name in groups if name.startswith("time"))
    return f"""
        CREATE VIEW lines AS
        WITH read AS (
          SELECT column0 AS line, split_part(filename, '/', -2) AS day, split_part(filename, '/', -1) AS file
          FROM read_csv('{_all_lines(settings)}', columns = {{'column0': 'VARCHAR'}}, header = false,
            delim = '\\x00', quote = '', escape = '', encoding = 'latin-1', auto_detect = false,
            strict_mode = false, null_padding = true, max_line_size = {_LONGEST_LINE}, filename = true)),
        parsed AS (
          SELECT *, regexp_extract(coalesce(line, ''), '{expression}', {groups}) AS part FROM read)
        SELECT day, nullif(part.host, '') AS host,
          try_strptime(left(part.{at}, -6), '%d/%b/%Y:%H:%M:%S')
            - to_seconds(try_cast(part.{at}[-5] || '1' AS INT)
                * (try_cast(part.{at}[-4:-3] AS INT) * 3600 + try_cast(part.{at}[-2:] AS INT) * 60)) AS time,
          nullif(part.method, '') AS method, nullif(part.target, '') AS endpoint,
          nullif(part.status, '') AS status,
          try_cast(replace(part.sent_bytes, '-', '0') AS BIGINT) AS sent_bytes,
          nullif(nullif(part.referrer, ''), '-') AS referrer,
          nullif(nullif(part.user_agent, ''), '-') AS user_agent,
          coalesce(line, '') AS line, file
        FROM parsed
        """  # noqa: S608
