"""Verify after fifty Julys: what it reads does not grow with what there was."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import httpx
import pytest

from logpipe.accounting.chain import own
from logpipe.contracts.chain import FLOOR_ATTRIBUTE, Link, Mark, Totals
from logpipe.contracts.sealed import SealedFile
from logpipe.digest import Digest
from logpipe.replayer.sums import Sums
from tests.accounting.pipeline import DAY, PARTITIONS, Pipeline, nasa_lines

pytestmark = [pytest.mark.integration, pytest.mark.timeout(580)]

JULY = Digest(1_891_714, 205_242_368 - 1_891_714, 0x1234_5678_9ABC_DEF0)
JULYS = 50
LINKS_TODAY = 12  # of each partition; the day is not sealed
LINKS_A_DAY = 288  # one each 300 s
SECONDS = 10  # 2 s where nobody else works; the number of requests is what must not grow


@contextmanager
def counted_requests(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of HDFS."""
    asked: list[str] = []
    send = httpx.Client.send

    def counting(self: httpx.Client, request: httpx.Request, **more: Any) -> httpx.Response:
        asked.append(f"{request.method} {request.url.path} {request.url.params.get('op')}")
        return send(self, request, **more)

    with monkeypatch.context() as patch:
        patch.setattr(httpx.Client, "send", counting)
        yield asked


def write_history(pipeline: Pipeline, julys: int, *, folded: bool) -> None:
    """So many replays of July, one a day, each day sealed; the older half is folded away, and forgotten."""
    totals = Totals()
    for number in range(julys):
        day = f"{date(2026, 3, 10) - timedelta(days=julys - number):%y-%m-%d}"
        replay = f"july-{number:03d}"
        record = replace(
            pipeline.record(replay, []),
            digest=JULY,
            sealed_at="2026-03-10T00:00:00+00:00",
        )
        path = pipeline.settings.state_dir / "replays" / f"{replay}.json"
        path.write_text(json.dumps(record.to_file()))
        is_old = folded and number < julys // 2
        if is_old:
            path.unlink()
        files = () if is_old else (SealedFile("apache_logs-1.log", 0, JULY, 0),)
        pipeline.seal(day, JULY, files, forgotten_at="2026-04-11T00:30:00+00:00" if is_old else "")
        if not is_old:
            pipeline.hdfs.write(f"{pipeline.logs}/{day}/apache_logs-1.log", b"")
        totals += Totals(records=JULY.lines, digest=JULY)
    if folded:
        sums_of = Sums(Digest(), 0)
        for _ in range(julys // 2):
            sums_of = replace(sums_of, digest=sums_of.digest + JULY, replays=sums_of.replays + 1)
        (pipeline.settings.state_dir / "replays" / "sums.json").write_text(json.dumps(sums_of.to_json()))
    today(pipeline, totals)


def today(pipeline: Pipeline, before: Totals, links: int = LINKS_TODAY) -> None:
    """A replay of today, in many links behind what was sealed."""
    lines = nasa_lines(links * PARTITIONS * 10)
    for partition in range(PARTITIONS):
        mine = lines[partition::PARTITIONS]
        totals = before if partition == 0 else Totals()
        found = Digest()
        for number in range(links):
            some = mine[number * 10 : number * 10 + 10]
            found += Digest.of(some)
            link = Link(
                kind="lines", topic=pipeline.name, topic_id=pipeline.topic_id, partition=partition, epoch=0,
                first=number * 10, next_epoch=0, next=number * 10 + 10, day=DAY, attempt=f"{number:08x}",
                digest=Digest.of(some), text=Digest.of(some), replays={"today": Digest.of(some)},
                marks={"today": Mark(number + 1, 1, found)},
            )  # fmt: skip
            totals += own(link)
            link = replace(link, totals=totals)
            pipeline._written = some
            pipeline.put(link)
        first = pipeline.links[-links]
        chain = f"{pipeline.logs}/_chain/{partition}"
        pipeline.hdfs.set_attribute(chain, FLOOR_ATTRIBUTE, first.name.encode())
        pipeline.produce([(partition, b"today:%d" % number, line) for number, line in enumerate(mine, 1)])
    pipeline.record("today", lines)
    digest = before.digest + Digest.of(lines)
    pipeline.count(lines=digest.lines, line_bytes=digest.size_bytes, hash_sum=digest.hash_sum)


@pytest.mark.parametrize("folded", [False, True], ids=["records kept", "records folded"])
def test_fifty_julys_cost_what_one_costs(make_pipeline, monkeypatch, capsys, folded) -> None:
    asked: dict[int, int] = {}
    for julys in (2, JULYS):
        pipeline = make_pipeline(f"state-{julys}")
        write_history(pipeline, julys, folded=folded)
        first = pipeline.exact()
        assert first.source == julys * JULY.lines + LINKS_TODAY * PARTITIONS * 10
        assert first.hdfs == first.windows == first.source
        started = time.monotonic()
        with counted_requests(monkeypatch) as requests:
            pipeline.exact()
        seconds = time.monotonic() - started
        asked[julys] = len(requests)
        with capsys.disabled():
            print(f"\n{julys} Julys: {len(requests)} requests, {seconds:.2f} s")
        assert seconds < SECONDS
    assert asked[JULYS] == asked[2]


@pytest.mark.parametrize("links", [LINKS_TODAY, pytest.param(2 * LINKS_A_DAY, marks=pytest.mark.slow)])
def test_links_of_days_under_way_cost_no_requests(make_pipeline, monkeypatch, capsys, links) -> None:
    asked = []
    for number in (3, links):
        pipeline = make_pipeline(f"state-{number}")
        today(pipeline, Totals(), number)
        started = time.monotonic()
        with counted_requests(monkeypatch) as requests:
            pipeline.exact()
        asked.append(len(requests))
        with capsys.disabled():
            print(
                f"\n{number} links a partition: {len(requests)} requests, {time.monotonic() - started:.2f} s"
            )
    assert asked[0] == asked[1]
