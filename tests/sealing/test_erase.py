"""An address is replaced in sealed days and in the windows; lines stay as many, and the proofs stay true."""

import base64
import json
import re
import signal
import subprocess
import sys
from collections import Counter

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from logpipe.accounting.days import DaysReader
from logpipe.accounting.verify import chain_reader
from logpipe.clients.kafka import Kafka
from logpipe.digest import Digest
from logpipe.replayer.addresses import AddressKeys, hashed
from logpipe.sealing.erase import Eraser, erase
from logpipe.sealing.forget import NotSealedError
from logpipe.sealing.parquet import write_parquet
from logpipe.sealing.repair import repair
from logpipe.sealing.rewrite import LinesGoneError
from logpipe.sealing.seal import seal
from logpipe.settings import parse
from logpipe.windows.commit import ERASED_FILE, FOOTER_KEY
from logpipe.windows.erase import ErasedTopic
from tests.sealing.chain_writer import DAY, Pipeline, next_day

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

ADDRESS = "203.0.113.7"
STEPS = (
    "file-written", "written", "committed", "old-out", "new-in", "exchanged",
    "windows-file", "windows-looked", "letters",

)  # fmt: skip
DYING_ERASURE = """
import os, signal, sys
from logpipe.sealing.erase import erase
from logpipe.settings import load
def reached(step):
    if step == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)
erase(load(), sys.argv[2], reached=reached)
"""


def log_lines(host: str, count: int) -> list[bytes]:
    text = '{} - - [10/Mar/2026:12:00:{:02} +0000] "GET /{} HTTP/1.1" 200 5 "-" "from {}"'
    return [text.format(host, n % 60, n, host).encode() for n in range(count)]


def erased(lines: list[bytes]) -> list[bytes]:
    return [re.sub(rb"203\.0\.113\.7\b", b"erased", line) for line in lines]


def sealed_day(pipeline: Pipeline) -> list[bytes]:
    """A day with a person's lines among others', in two partitions; gives all lines."""
    mine, others = log_lines(ADDRESS, 9), log_lines("203.0.113.70", 20)
    pipeline.send(mine[:5] + others, replay="a")
    pipeline.send(mine[5:], partition=1, replay="b")
    pipeline.link(10)
    pipeline.link(25)
    pipeline.link(4, partition=1)
    seal(pipeline.settings, DAY, target_bytes=1_000)
    return mine + others


def write_windows(pipeline: Pipeline) -> None:
    """A file by date and one of the log, with a commit in its footer."""
    rows = pa.table(
        {
            "dimension": ["host", "host", "endpoint"],
            "key": [ADDRESS, "203.0.113.70", f"/of/{ADDRESS}"],
            "lines": [9, 20, 1],
        }
    )
    settings = pipeline.settings
    for path, table in (
        (f"{settings.hdfs_windows_dir}/date=2026-03-10/000000000001-000000000002-t0.parquet", rows),
        (
            f"{settings.hdfs_checkpoint_dir}/windows/commits.1/000000000003.parquet",
            rows.replace_schema_metadata({FOOTER_KEY: b"a commit"}),
        ),
    ):
        made = pa.BufferOutputStream()
        pq.write_table(table, made)
        pipeline.hdfs.write(path, made.getvalue().to_pybytes())


def window_keys(pipeline: Pipeline, path: str) -> tuple[list[str], bytes | None]:
    file = pq.ParquetFile(pa.BufferReader(pipeline.hdfs.read(path)))
    return file.read()["key"].to_pylist(), (file.metadata.metadata or {}).get(FOOTER_KEY)


def assert_erased(pipeline: Pipeline, lines: list[bytes]) -> None:
    """All lines are there, the address in none; sums of what was sent are kept, and tell the difference."""
    assert pipeline.lines() == Counter(erased(lines))
    sealed = pipeline.sealed()
    assert pipeline.sealed().to_json() == pipeline.manifest()
    assert sealed.digest == Digest.of(lines)
    held = sum((file.text for file in sealed.files), start=Digest())
    assert held == Digest.of(erased(lines))
    assert held + sealed.erased == sealed.digest
    assert sum(each.before.lines for each in sealed.erasures) == 9
    assert ADDRESS not in json.dumps(sealed.to_json())
    assert pipeline.names(f"{pipeline.root}/_sealing") == []
    assert pipeline.aside() == []
    reader = chain_reader(pipeline.settings)
    assert DaysReader(reader).read(reader.chains()).problems == ()
    assert repair(pipeline.settings, DAY).failed == []
    assert pipeline.lines() == Counter(erased(lines)), "a repair brings nothing back"


def parquet_bytes(pipeline: Pipeline) -> bytes:
    """All that stands in the folder of Parquet, uncompressed."""
    folder, found = pipeline.settings.hdfs_parquet_dir, []
    for day in pipeline.names(folder):
        for name in pipeline.names(f"{folder}/{day}"):
            content = pipeline.hdfs.read(f"{folder}/{day}/{name}")
            table = pq.read_table(pa.BufferReader(content)) if name.endswith(".parquet") else content
            found.append(f"{day}/{name} {table}".encode())
            if name.endswith(".parquet"):
                found += [str(row).encode() for row in table.to_pylist()]
    return b"\n".join(found)


@pytest.mark.parametrize("is_kept_up", [True, False])
def test_parquet_of_the_day_does_not_keep_it(pipeline, is_kept_up):
    """Neither what was finished, nor what a kill left half written."""
    sealed_day(pipeline)
    settings = pipeline.settings.model_copy(update={"sealed_parquet": True})
    write_parquet(settings, DAY, pipeline.sealed())
    half = f"{settings.hdfs_parquet_dir}/_{DAY.isoformat()}.0123/part-1"
    pipeline.hdfs.write(half, ADDRESS.encode())
    assert ADDRESS.encode() in parquet_bytes(pipeline)
    assert erase(settings if is_kept_up else pipeline.settings, ADDRESS).lines == {"26-03-10": 9}
    found = parquet_bytes(pipeline)
    assert re.search(rb"203\.0\.113\.7\b", found) is None
    assert (b"erased" in found) == is_kept_up
    assert pipeline.hdfs.status(half) is None


def test_an_address_is_replaced_and_the_manifest_tells(pipeline):
    lines = sealed_day(pipeline)
    assert erase(pipeline.settings, ADDRESS).lines == {"26-03-10": 9}
    assert_erased(pipeline, lines)
    assert erase(pipeline.settings, ADDRESS, DAY).lines == {"26-03-10": 0}, "a second time changes nothing"
    assert len(pipeline.sealed().erasures) == 1
    assert erase(pipeline.settings, "203.0.113.70").lines == {"26-03-10": 20}
    assert len(pipeline.sealed().erasures) == 2
    assert sum((file.text for file in pipeline.sealed().files), start=pipeline.sealed().erased) == Digest.of(
        lines
    )


def test_windows_and_lines_that_were_set_aside(pipeline):
    write_windows(pipeline)
    letters = pipeline.settings.state_dir / "dead_letters" / "a.jsonl"
    letters.parent.mkdir(parents=True)
    kept = {"line_number": 2, "prefix_base64": base64.b64encode(b"other").decode()}
    mine = {"line_number": 1, "prefix_base64": base64.b64encode(ADDRESS.encode() + b" x").decode()}
    foreign = ["no JSON", "[" * 20_000, '"a text"', '{"prefix_base64": 1}', '[{"prefix_base64": ""}]']
    letters.write_text("\n".join([json.dumps(mine), json.dumps(kept), *foreign, ""]))
    found = erase(pipeline.settings, ADDRESS)
    assert (found.rows, found.letters) == (4, 1)
    settings, keys = pipeline.settings, ["erased", "203.0.113.70", "/of/erased"]
    by_date = f"{settings.hdfs_windows_dir}/date=2026-03-10/000000000001-000000000002-t0.parquet"
    assert window_keys(pipeline, by_date) == (keys, None)
    of_log = f"{settings.hdfs_checkpoint_dir}/windows/commits.1/000000000003.parquet"
    assert window_keys(pipeline, of_log) == (keys, b"a commit")
    first, second, *others = letters.read_text().splitlines()
    assert base64.b64decode(json.loads(first)["prefix_base64"]) == b"erased x"
    assert (json.loads(second), others) == (kept, foreign), "what is no letter of ours stays"
    (told,) = json.loads(pipeline.hdfs.read(f"{settings.hdfs_windows_dir}/{ERASED_FILE}"))
    assert told["rows"] == 4
    assert erase(pipeline.settings, ADDRESS).rows == 0


def window_record(*keys: str) -> bytes:
    rows = [{"key": key, "lines": 3, "sent_bytes": 5} for key in keys]
    return json.dumps(
        {"window_start": "2026-03-10T12:00:00Z", "dimension": "host", "since": 1, "step": 1, "rows": rows}
    ).encode()


def test_what_the_compacted_topics_keep_is_written_anew(pipeline):
    """The newest record of a key, with its headers, in its partition; not one that something replaces."""
    settings = pipeline.settings
    windows, letters = settings.windows_topic, settings.dead_letters_topic
    for topic in (windows, letters):
        pipeline.kafka.create_topic(topic, 2, cleanup_policy="compact", max_compaction_lag_ms="3600000")
    producer = Producer({"bootstrap.servers": settings.kafka_bootstrap})
    mine, other = window_record(ADDRESS, "203.0.113.70", f"/of/{ADDRESS}"), window_record("203.0.113.70")
    for key, value, partition in (
        ("w1", mine, 0), ("w2", mine, 1), ("w3", other, 0), ("w2", other, 1), ("w4", mine, 1),
        ("w4", None, 1), ("w5", f"no JSON of {ADDRESS}".encode(), 0),
    ):  # fmt: skip
        producer.produce(windows, value, key, partition)
    producer.produce(letters, f"x {ADDRESS}".encode(), "0:7", 1, headers=[("reason", b"format")])
    producer.produce(letters, b"", "0:8", 1, headers=[("reason", b"empty")])
    assert producer.flush(30) == 0
    done = erase(settings, ADDRESS)
    assert done.topics == [ErasedTopic(windows, 1, 0, 3_600_000), ErasedTopic(letters, 1, 0, 3_600_000)]
    newest = {each.key: each for each in Kafka.of(settings).records(windows)}
    changed = json.loads(newest[b"w1"].value)
    assert [row["key"] for row in changed["rows"]] == ["erased", "203.0.113.70", "/of/erased"]
    assert (changed | {"rows": []}, newest[b"w1"].partition) == (json.loads(mine) | {"rows": []}, 0)
    assert {key: each.value for key, each in newest.items() if key != b"w1"} == {
        b"w2": other, b"w3": other, b"w4": b"", b"w5": f"no JSON of {ADDRESS}".encode(),
    }  # fmt: skip
    *_, letter = Kafka.of(settings).records(letters, with_headers=True)
    assert (letter.key, letter.value, letter.partition) == (b"0:7", b"x erased", 1)
    assert letter.headers == (("reason", b"format"),)
    assert [topic.records for topic in erase(settings, ADDRESS).topics] == [0, 0]


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_erasure_is_gone_on_with_by_the_next(pipeline, step):
    lines = sealed_day(pipeline)
    write_windows(pipeline)
    command = [sys.executable, "-c", DYING_ERASURE, step, ADDRESS]
    died = subprocess.run(command, env=pipeline.environment(), timeout=120, check=False)
    assert died.returncode == -signal.SIGKILL
    erase(pipeline.settings, ADDRESS)
    assert_erased(pipeline, lines)
    assert erase(pipeline.settings, ADDRESS).rows == 0
    told = pipeline.hdfs.read(f"{pipeline.settings.hdfs_windows_dir}/{ERASED_FILE}")
    # What a killed one had replaced, only its folder tells.
    marked = {"windows-file": 2, "windows-looked": 0}.get(step, 4)
    assert sum(each["rows"] for each in json.loads(told or b"")) == marked


def test_a_day_that_is_not_sealed_is_told_or_refused(pipeline):
    sealed_day(pipeline)
    pipeline.send(log_lines(ADDRESS, 3), day=next_day())
    pipeline.link(28)
    with pytest.raises(NotSealedError, match="make seal DATE=2026-03-11"):
        erase(pipeline.settings, ADDRESS, next_day())
    assert erase(pipeline.settings, ADDRESS).open_lines == {"26-03-11": 3}
    assert pipeline.lines(next_day()) == Counter(log_lines(ADDRESS, 3))


def test_a_damaged_day_is_mended_first(pipeline):
    sealed_day(pipeline)
    name = pipeline.sealed().files[0].name
    content = pipeline.hdfs.read(f"{pipeline.folder()}/{name}")
    pipeline.put(name, content[:-2] + b"!\n")
    with pytest.raises(LinesGoneError, match=r"make repair DATE=2026-03-10"):
        erase(pipeline.settings, ADDRESS)
    assert pipeline.sealed().erasures == ()
    assert repair(pipeline.settings, DAY).failed == []
    assert erase(pipeline.settings, ADDRESS).lines == {"26-03-10": 9}


@pytest.mark.parametrize(
    ("address", "line", "expected"),
    [
        ("1.2.3.4", b"1.2.3.4 11.2.3.4 1.2.3.45 1.2.3.4.5 1.2.3.4:80 ::ffff:1.2.3.4, /1.2.3.4.", None),
        ("2001:db8::1", b"2001:DB8::1 2001:db8:0:0:0:0:0:1 2001:db8::12 [2001:db8::1]:80", None),
        (
            "Host.example.org",
            b"host.example.org HOST.EXAMPLE.ORG. a.host.example.org host.example.org.uk",
            None,
        ),
        ("alyssa", b"alyssa - alyssa", b"erased - alyssa"),
    ],
)
def test_what_is_the_address_and_what_only_looks_like_it(tmp_path, address, line, expected):
    made = Eraser(address, parse(state_dir=tmp_path)).line(line)
    assert made == (
        expected
        or {
            "1": b"erased 11.2.3.4 1.2.3.45 1.2.3.4.5 erased:80 ::ffff:erased, /erased.",
            "2": b"erased erased 2001:db8::12 [erased]:80",
            "H": b"erased erased. a.host.example.org host.example.org.uk",
        }[address[0]]
    )


def test_what_keys_made_of_it_is_found_too(tmp_path):
    settings = parse(state_dir=tmp_path)
    keys = AddressKeys.of(settings)
    lines = [hashed(b"1.2.3.4", keys.key(keys.rotate())) + b" x" for _ in range(2)]
    assert [Eraser("1.2.3.4", settings).line(line) for line in lines] == [b"erased x"] * 2
    assert Eraser(lines[0].split()[0].decode(), settings).line(lines[0]) == b"erased x"
    with pytest.raises(ValueError, match="no address and no host name"):
        Eraser("a b", settings)
