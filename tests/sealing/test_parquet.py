"""A sealed day as Parquet: DuckDB finds the lines of the day in it, each once, read by its format."""

from collections import Counter
from dataclasses import replace
from datetime import date
from pathlib import Path

import duckdb
import pytest

from logpipe.accounting.audit import ParquetPart
from logpipe.clients.formats import FormatRegistry
from logpipe.contracts.parquet import ParquetDay
from logpipe.contracts.sealed import SealedDay
from logpipe.formats.compiler import compile_format
from logpipe.sealing.__main__ import report_of
from logpipe.sealing.forget import forget
from logpipe.sealing.parquet import write_parquet
from logpipe.sealing.seal import seal
from logpipe.settings import Settings
from tests.sealing.chain_writer import DAY, Pipeline

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

COMBINED = [
    b'h%d - - [10/Mar/2026:12:00:0%d +0100] "GET /%d HTTP/1.1" 200 %d "-" "curl/8"' % (n, n % 10, n, n)
    for n in range(500)
]
ANOTHER = [line.replace(b"GET /", b"GET /another/") for line in COMBINED[:30]]
CADDY = [
    b'{"ts":%d.5,"request":{"remote_ip":"::1","method":"GET","host":"v","uri":"/%d"},"status":404,"size":7,'
    b'"duration":0.25}' % (1_773_140_400 + n, n)
    for n in range(300)
]
BAD = [b"", b"caf\xe9 \x00", b"{}", b'h - - [99/Mar/2026:12:00:00 +0100] "GET / HTTP/1.1" 200 1 "-" "-"']


@pytest.fixture
def sealed(pipeline: Pipeline) -> Settings:
    """A day of two logs with formats of their own, and lines that no format reads."""
    pipeline.send(COMBINED + BAD, replay="a")
    pipeline.send(CADDY, replay="site.f2.g7", partition=1)
    pipeline.send(ANOTHER[:20], replay="b", partition=1)
    pipeline.send(ANOTHER[20:21], partition=1)
    FormatRegistry(pipeline.hdfs, pipeline.settings.hdfs_ledger_dir).put("site.f2", "/s.log", "caddy")
    pipeline.link(len(COMBINED) // 2)
    pipeline.link(len(COMBINED + BAD))
    pipeline.link(len(CADDY), partition=1)
    pipeline.link(len(CADDY) + 20, partition=1)
    pipeline.link(len(CADDY) + 21, partition=1)
    return pipeline.settings.model_copy(update={"sealed_parquet": True})


def download(pipeline: Pipeline, settings: Settings, folder: Path) -> str:
    """The Parquet files as a reader finds them; gives their pattern."""
    for entry in pipeline.hdfs.list(settings.hdfs_parquet_dir):
        assert entry.name == f"date={DAY}"
        (folder / entry.name).mkdir(parents=True, exist_ok=True)
        for name in pipeline.names(f"{settings.hdfs_parquet_dir}/{entry.name}"):
            content = pipeline.hdfs.read(f"{settings.hdfs_parquet_dir}/{entry.name}/{name}")
            (folder / entry.name / name).write_bytes(content or b"")
    return f"{folder}/date=*/*.parquet"


def test_a_sealed_day_is_read_as_parquet(pipeline: Pipeline, sealed: Settings, tmp_path: Path) -> None:
    seal(sealed, DAY, target_bytes=30_000)
    assert report_of(sealed, DAY)["status"] == "sealed"
    pattern = download(pipeline, sealed, tmp_path / "parquet")
    query = duckdb.connect()
    query.execute(f"SET TimeZone = 'UTC'; CREATE VIEW days AS FROM read_parquet('{pattern}')")
    columns = (
        "host, epoch_ms(time), method, endpoint, status, sent_bytes, vhost, referrer, user_agent, latency_us"
    )
    good = query.execute(
        f"SELECT log, {columns} FROM days WHERE malformed IS NULL AND line IS NULL"
    ).fetchall()
    combined, caddy = compile_format("combined"), compile_format("caddy")
    expected = [(None, *combined.parse_line(line)[:10]) for line in (*COMBINED, *ANOTHER[:21])]
    expected += [("/s.log", *caddy.parse_line(line)[:10]) for line in CADDY]
    assert Counter(good) == Counter(expected)
    assert {row[0] for row in query.execute("SELECT DISTINCT date FROM days").fetchall()} == {DAY}
    bad = query.execute("SELECT line FROM days WHERE malformed IS NOT NULL").fetchall()
    assert Counter(line for (line,) in bad) == Counter(BAD)
    places = query.execute("SELECT file, line_number FROM days").fetchall()
    held = [
        (name, number)
        for name in pipeline.names(pipeline.folder())
        if name.startswith("apache_logs")
        for number in range(1, 1 + (pipeline.hdfs.read(f"{pipeline.folder()}/{name}") or b"").count(b"\n"))
    ]
    assert Counter(places) == Counter(held)
    assert len(pipeline.names(f"{sealed.hdfs_parquet_dir}/date={DAY}")) > 3
    whose = query.execute(
        "SELECT replay, replays, count(*), bool_and(coalesce(endpoint LIKE '/another/%', false)), "
        "bool_and(coalesce(log = '/s.log', false)) FROM days GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    assert whose == [
        ("a", ["a"], len(COMBINED + BAD), False, False),
        ("b", ["b"], 20, True, False),
        ("site.f2.g7", ["site.f2.g7"], len(CADDY), False, True),
        (None, [None], 1, True, False),
    ]


def test_where_a_range_has_lines_of_several_they_are_named(
    pipeline: Pipeline, sealed: Settings, tmp_path: Path
) -> None:
    """Also a manifest of a day that was sealed before ranges were told: then those of the day."""
    pipeline.send(ANOTHER[:10], replay="b")
    pipeline.send(ANOTHER[10:12])
    pipeline.send(COMBINED[:3], replay="a", first_number=len(COMBINED + BAD) + 1)
    first = len(COMBINED + BAD)
    pipeline.link(first + 15)
    seal(sealed, DAY, target_bytes=30_000)
    write_parquet(sealed, DAY, pipeline.sealed())
    pattern = download(pipeline, sealed, tmp_path / "parquet")
    query = "SELECT replay, replays, count(*) FROM read_parquet(?) GROUP BY ALL ORDER BY ALL"
    found = duckdb.connect().execute(query, [pattern]).fetchall()
    assert (None, ["a", "b", None], 15) in found
    assert ("a", ["a"], first) in found
    before = pipeline.sealed()
    parts = tuple(
        replace(part, members=tuple(replace(member, replays=None) for member in part.members))
        for part in before.parts
    )
    old = replace(before, parts=parts)
    assert SealedDay.from_json(old.to_json()) == old
    pipeline.hdfs.delete(f"{sealed.hdfs_parquet_dir}/date={DAY}")
    write_parquet(sealed, DAY, old)
    pattern = download(pipeline, sealed, tmp_path / "old")
    found = duckdb.connect().execute(query, [pattern]).fetchall()
    assert found == [(None, ["a", "b", "site.f2.g7", None], before.lines)]


def test_it_is_written_whole_once_and_goes_with_the_lines(pipeline: Pipeline, sealed: Settings) -> None:
    report_of(pipeline.settings, DAY)
    folder = f"{sealed.hdfs_parquet_dir}/date={DAY}"
    assert pipeline.hdfs.status(sealed.hdfs_parquet_dir) is None, "it was not asked for"

    def die(step: str) -> None:
        if step == "part-1.parquet":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_parquet(sealed, DAY, pipeline.sealed(), reached=die)
    assert pipeline.hdfs.status(folder) is None
    report_of(sealed, DAY)
    assert pipeline.names(sealed.hdfs_parquet_dir) == [f"date={DAY}"]
    written = pipeline.hdfs.list(folder)
    report_of(sealed, DAY)
    assert pipeline.hdfs.list(folder) == written, "a second time changes nothing"
    must_count(pipeline, sealed, folder)
    half = f"{sealed.hdfs_parquet_dir}/_{DAY.isoformat()}.0123/part-1"
    pipeline.hdfs.write(half, b"what a kill left")
    forget(pipeline.settings, DAY)
    assert pipeline.hdfs.status(folder) is None
    assert pipeline.hdfs.status(half) is None


def must_count(pipeline: Pipeline, settings: Settings, folder: str) -> None:
    """The audit's reading finds each row, and tells of one that is missing."""
    day = pipeline.sealed()
    rows = {name: 1 for name in pipeline.names(folder) if name.startswith("part")}
    told = ParquetDay.of(day, rows | {"part-1.parquet": day.lines + 1 - len(rows)})
    assert ParquetPart(folder, told, day).read(settings).wrong == ()
    (path, *others) = [f"{folder}/{name}" for name in rows]
    content = pipeline.hdfs.read(path)
    assert content is not None
    pipeline.hdfs.write(path, pipeline.hdfs.read(others[0]) if others else content[:-9], overwrite=True)
    assert "Parquet of the day" in ParquetPart(folder, told, day).read(settings).wrong[0]
    assert date.fromisoformat(folder[-10:]) == DAY
