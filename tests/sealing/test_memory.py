"""Lines of profile memory: the chain says what HDFS should have, and sealing writes them anew."""

from collections import Counter

import pytest

from logpipe.sealing.seal import seal
from tests.sealing.chain_writer import DAY, next_day
from tests.sealing.test_seal import numbered

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FIRST, SECOND = "apache_logs.1742000000000.log", "apache_logs.1742000000001.log"


def content(lines: list[bytes]) -> bytes:
    return b"".join(line + b"\n" for line in lines)


def test_files_of_memory_that_are_what_the_topic_holds_are_replaced(pipeline):
    lines = numbered(20)
    pipeline.send(lines)
    pipeline.send(numbered(5, "durable"), replay="a")
    pipeline.link(20, kind="memory")
    pipeline.link(25)
    pipeline.put(FIRST, content(lines[10:]))
    pipeline.put(SECOND, content(lines[:10]))
    sealed = seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(lines + numbered(5, "durable"))
    assert (sealed.lines, sealed.anonymous.lines, sealed.unconfirmed) == (25, 20, "")
    assert sealed.memory_files == (FIRST, SECOND)
    assert pipeline.aside() == []


def test_files_of_memory_that_are_something_else_are_put_aside(pipeline):
    lines = numbered(20)
    pipeline.send(lines)
    pipeline.link(20, kind="memory")
    pipeline.put(FIRST, content(lines[:15]))
    seal(pipeline.settings, DAY)
    assert pipeline.lines() == Counter(lines)
    assert pipeline.aside() == [FIRST]


def test_a_link_over_two_days_gives_each_its_lines(pipeline):
    pipeline.send(numbered(6), hour=23)
    pipeline.send(numbered(4, "later"), day=next_day(), hour=1)
    pipeline.link(10, kind="memory")
    pipeline.put(FIRST, content(numbered(6)))
    pipeline.put(FIRST, content(numbered(4, "later")), day=next_day())
    assert seal(pipeline.settings, DAY).lines == 6
    assert len(pipeline.links()) == 1
    assert seal(pipeline.settings, next_day()).lines == 4
    assert pipeline.lines() == Counter(numbered(6))
    assert pipeline.lines(next_day()) == Counter(numbered(4, "later"))
    assert pipeline.aside() == pipeline.aside(next_day()) == []


def test_files_of_memory_stay_where_retention_took_the_records(pipeline):
    pipeline.send(numbered(20))
    pipeline.send(numbered(5, "durable"), replay="a")
    pipeline.link(20, kind="memory")
    pipeline.link(25)
    pipeline.put(FIRST, content(numbered(19)) + b"no line end")
    pipeline.forget_before(0, 12)
    sealed = seal(pipeline.settings, DAY)
    assert "offsets 0 to 20 are not there" in sealed.unconfirmed
    assert pipeline.lines() == Counter([*numbered(19), b"no line end", *numbered(5, "durable")])
    assert (sealed.lines, sealed.memory_files) == (25, (FIRST,))
    assert pipeline.aside() == []
    assert seal(pipeline.settings, DAY) == sealed
